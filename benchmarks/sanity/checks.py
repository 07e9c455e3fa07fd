"""The first four checks: maps that know nothing, randomised networks, worse maps, other seeds."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from quantus.helpers.model.pytorch_model import PyTorchModel
from torch import nn

from benchmarks.methods import METHODS
from benchmarks.sanity import changed_maps
from benchmarks.sanity.case import Case, gae, means
from benchmarks.sanity.changed_maps import DEGRADATIONS, Remembered
from benchmarks.sanity.statistics import against, rank_correlation, verdict
from gae_metric import Contrastiveness
from gae_metric.explainers.gradients import ExplainFunc

#: Baselines whose maps know nothing of the network.
_BASELINES = ("Constant", "Random", "Brightness")
#: Methods of the settings whose maps are made worse: all but plain gradients, which are at 0.
_SPOILT = 2


def explainers(case: Case) -> dict[str, Remembered]:
    """Return the methods of the settings, each of which remembers its maps."""
    return {name: Remembered(METHODS[name].bind()) for name in case.settings.methods}


def baselines(case: Case, methods: dict[str, Remembered]) -> pd.DataFrame:
    """Score maps that know nothing of the network and, for comparison, those of the methods.

    Returns
    -------
    DataFrame
        A row per method: means of GAE's parts, GAE's standard error, and the largest GAE of an
        image.
    """
    functions: dict[str, ExplainFunc] = {
        **{name: METHODS[name].bind() for name in _BASELINES if name in METHODS},
        "Brightness": changed_maps.brightness,
        **methods,
    }
    rows = []
    for name, explain in functions.items():
        scores = gae(case, explain)
        row = {"method": name, "baseline": name in _BASELINES, **means(scores)}
        rows.append({**row, "largest": float(scores["gae"].max())})
    return pd.DataFrame(rows)


def cascade(model: nn.Module, stages: int, seed: int) -> Iterator[tuple[int, int, nn.Module]]:
    """Randomise a network from the top, layer by layer (Adebayo et al. 2018), by Quantus.

    Parameters
    ----------
    model
        Left as it is.
    stages
        How many points of the cascade are wanted, the last of which is the whole network.
    seed
        Of the weights.

    Yields
    ------
    Number of layers that are randomised, number of all, and the network: the same object every
    time, which changes with the next. A layer is a module that can reset its parameters;
    parameters outside of any (class tokens, position embeddings) stay.
    """
    total = sum(hasattr(module, "reset_parameters") for module in model.modules())
    wanted = {round(total * (k + 1) / stages) for k in range(stages)}
    wrapped = PyTorchModel(model, channel_first=True, softmax=False)
    layers = wrapped.get_random_layer_generator(order="top_down", seed=seed)
    for count in range(1, total + 1):
        with torch.random.fork_rng():  # Quantus seeds the global generator
            _, changed = next(layers)
        if count in wanted:
            yield count, total, changed.eval()


def randomisation(case: Case) -> pd.DataFrame:
    """Explain networks with random layers, and score the maps on the trained one.

    Returns
    -------
    DataFrame
        A row per method and stage: layers randomised, means of GAE's parts, GAE's change from the
        trained network's maps with p of the signed-rank test, and in how the means go.
    """
    settings = case.settings
    tables = []
    for name in settings.methods:
        explain = METHODS[name].bind()
        scores, shares, layers = [gae(case, explain)], [0.0], [0]
        for count, total, network in cascade(case.model, settings.stages, settings.seed):
            scores.append(gae(case, changed_maps.of_network(explain, network)))
            shares.append(count / total)
            layers.append(count)
        tables.append(_trend({"method": name, "share": shares, "layers": layers}, shares, scores))
    return pd.concat(tables, ignore_index=True)


def degradation(case: Case, methods: dict[str, Remembered]) -> pd.DataFrame:
    """Score maps that are made worse on purpose.

    Returns
    -------
    DataFrame
        A row per method, kind and strength, as :func:`randomisation` gives them. Channels are
        shuffled where maps have several.
    """
    tables = []
    for name in list(methods)[:_SPOILT]:
        explain = methods[name]
        unspoilt = gae(case, explain)
        for kind, how in DEGRADATIONS.items():
            if how.channels and explain.channels == 1:
                continue
            scores = [unspoilt]
            for strength in how.strengths:
                given = explain, how, strength, case.classes, case.settings.seed
                scores.append(gae(case, changed_maps.degraded(*given)))
            strengths = [0.0, *how.strengths]
            columns = {"method": name, "kind": kind, "strength": strengths}
            tables.append(_trend(columns, strengths, scores))
    return pd.concat(tables, ignore_index=True)


def _trend(
    columns: dict[str, Any], strengths: Sequence[float], scores: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """Return a row for each of some scores, and how they go from the first, unspoilt ones."""
    rows = []
    for part in scores:
        change, p = against(part["gae"], scores[0]["gae"])
        rows.append({**means(part), "change": change, "p": p})
    found: pd.DataFrame = pd.DataFrame(columns).join(pd.DataFrame(rows))
    found["rho"] = rank_correlation(strengths, [row["GAE"] for row in rows])
    found["verdict"] = verdict([part["gae"] for part in scores])
    return found


def seeds(case: Case, methods: dict[str, Remembered]) -> pd.DataFrame:
    """Repeat GAE with the mosaics of other seeds.

    Only contrastiveness depends on them (eq. 17, 18), so local consistency is computed once.

    Returns
    -------
    DataFrame
        A row per method and seed: means of C and GAE, and GAE's standard error.
    """
    rows: list[dict[str, Any]] = []
    for name, explain in methods.items():
        consistency = gae(case, explain)["local_consistency"]
        for seed in range(case.settings.mosaic_seeds):
            metric, size = Contrastiveness(seed, disable_warnings=True), case.settings.batch_size
            drawn = metric(case.model, case.x, case.y, explain_func=explain, batch_size=size)
            scores = consistency * drawn
            row = {"method": name, "seed": seed, "GAE": scores.mean()}
            rows.append({**row, "standard_error": scores.sem()})
    return pd.DataFrame(rows)
