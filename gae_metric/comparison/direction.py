"""Whether higher or lower scores of a metric are better."""

from collections.abc import Iterable, Mapping
from typing import get_args

from gae_metric._names import DIRECTIONS, OTHER_NAMES, Better, plain
from gae_metric.errors import check_spelling

#: The parts of GAE, and the paper's abbreviations.
_PARTS: dict[str, Better] = {
    "ROAD MoRF": "lower",
    **dict.fromkeys(("LC_R", "LC_F", "lc_robustness", "lc_faithfulness"), "higher"),
    **dict.fromkeys((*OTHER_NAMES, "LocalRobustness", "LocalFaithfulness"), "higher"),
    **dict.fromkeys(("ROAD LeRF", "AOPC", "ABPC"), "higher"),
}


def directions(
    metrics: Iterable[str], better: Better | Mapping[str, Better] | None
) -> dict[str, Better]:
    """Find out which way each metric is read.

    Parameters
    ----------
    metrics
        Names.
    better
        ``"higher"`` or ``"lower"`` for all metrics or by name. The others are looked up among this
        package's and Quantus's metrics, whatever the case, spaces and punctuation of the name.

    Raises
    ------
    ValueError
        If a direction is neither, or a metric is not known.

    Examples
    --------
    >>> directions(["GAE", "Local Lipschitz Estimate", "mine"], {"mine": "lower"})
    {'GAE': 'higher', 'Local Lipschitz Estimate': 'lower', 'mine': 'lower'}
    """
    metrics = list(metrics)
    given = {} if better is None else better
    if not isinstance(given, Mapping):
        given = dict.fromkeys(metrics or [""], given)
    wrong = [value for value in given.values() if value not in get_args(Better)]
    if wrong:
        raise ValueError(f'better: expected "higher" or "lower", got {wrong[0]!r}')
    check_spelling(set(given) - set(metrics), metrics)
    others = {plain(name): value for name, value in given.items()}
    found: dict[str, Better] = {}
    for metric in metrics:
        direction = given.get(metric) or others.get(plain(metric)) or _known().get(plain(metric))
        if direction is None:
            raise ValueError(
                f"better: whether higher or lower scores are better is not known for {metric!r}; "
                f'say so with better={{{metric!r}: "higher"}} or "lower"'
            )
        found[metric] = direction
    return found


def _known() -> dict[str, Better]:
    # Imported here, so that statistics alone need no model, no Quantus and no torch.
    import quantus
    from quantus.helpers.enums import ScoreDirection

    known: dict[str, Better] = {}
    for group in quantus.AVAILABLE_METRICS.values():
        for name, metric in group.items():
            if isinstance(metric.score_direction, ScoreDirection):
                for each in (name, metric.name, metric.__name__):
                    known[plain(each)] = metric.score_direction.value
    return known | {plain(name): value for name, value in (DIRECTIONS | _PARTS).items()}
