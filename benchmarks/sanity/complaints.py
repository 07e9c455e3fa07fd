"""What comes out badly, found in the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import pandas as pd

from benchmarks.sanity import meta
from benchmarks.sanity.results import Found
from benchmarks.sanity.trends import ALPHA

#: A network's results, by the names of the checks.
Tables: TypeAlias = "dict[str, pd.DataFrame]"

#: A mean GAE that counts as 0.
ZERO = 0.005
#: A consistency below this is bad.
HALF = 0.5
#: A share of GAE that the worst maps should not keep.
KEPT = 0.2


def complaints(found: Sequence[Found]) -> list[str]:
    """Return a sentence for everything that is not as it should be."""
    parts = (_baselines, _randomisation, _degradation, _seeds, _meta)
    return [f"{one.network}{line}" for one in found for part in parts for line in part(one.tables)]


def _baselines(tables: Tables) -> Iterator[str]:
    table = tables["baselines"]
    for row in table[table["baseline"] & (table["GAE"] > ZERO)].itertuples():
        yield f": {row.method} maps score {row.GAE:.3f}, not 0."


def _randomisation(tables: Tables) -> Iterator[str]:
    for method, part in tables["randomisation"].groupby("method", sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        if float(first["GAE"]) <= ZERO:
            yield (
                f": {method} scores {first['GAE']:.3f} on the trained network, so "
                "randomised layers can lower nothing."
            )
        elif last["change"] >= 0 or last["p"] >= ALPHA:
            yield (
                f": {method}'s GAE does not fall clearly when all layers are "
                f"randomised ({first['GAE']:.3f} to {last['GAE']:.3f}, p = {last['p']:.2g})."
            )
        elif last["GAE"] > KEPT * first["GAE"]:
            yield (
                f": maps of a network whose layers are all random keep "
                f"{last['GAE'] / first['GAE']:.0%} of {method}'s GAE."
            )
        if first["GAE"] > ZERO and str(part["verdict"].iloc[0]).startswith("rises"):
            yield f", layers randomised: {method}'s GAE {part['verdict'].iloc[0]}."


def _degradation(tables: Tables) -> Iterator[str]:
    table = tables["degradation"]
    for (method, kind), part in table.groupby(["method", "kind"], sort=False):
        trend = str(part["verdict"].iloc[0])
        if float(part["GAE"].iloc[0]) <= ZERO:
            yield f": {method} scores 0 to begin with, so {kind} can lower nothing."
        elif trend == "unchanged" or trend.startswith("rises"):
            values = " → ".join(f"{value:.3f}" for value in part["GAE"])
            word = "stays the same" if trend == "unchanged" else trend
            yield f", {kind}: {method}'s GAE {word} ({values})."
        elif part["GAE"].iloc[-1] > KEPT * part["GAE"].iloc[0]:
            share = part["GAE"].iloc[-1] / part["GAE"].iloc[0]
            yield f", {kind}: at its strongest, {method}'s GAE keeps {share:.0%}."


def _seeds(tables: Tables) -> Iterator[str]:
    table = tables["seeds"].pivot_table(index="seed", columns="method", values="GAE")
    orders = {tuple(row.sort_values(ascending=False).index) for _, row in table.iterrows()}
    if len(orders) > 1:
        yield ": the order of the methods is not the same with every seed of mosaics."


def _meta(tables: Tables) -> Iterator[str]:
    table = meta.summary(tables["meta"])
    for row in table[table["metric"] == "GAE"].itertuples():
        low = [
            f"{name} {getattr(row, name):.2f}"
            for name in ("IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR")
            if float(getattr(row, name)) < HALF
        ]
        if low:
            yield f", {row.place} perturbed: GAE's {', '.join(low)}."
    for place, part in table.groupby("place", sort=False):
        ours = float(part.loc[part["metric"] == "GAE", "MC"].iloc[0])
        others = part[~part["metric"].isin(["GAE", "LC", "C"])]
        ahead = others[others["MC"] > ours]
        better = [f"{row.metric} ({row.MC:.3f})" for row in ahead.itertuples()]
        if better:
            yield (
                f", {place} perturbed: {', '.join(better)} more consistent than GAE ({ours:.3f})."
            )
