"""What comes out badly, found in the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.sanity import meta
from benchmarks.sanity.results import Found
from benchmarks.sanity.trends import ALPHA

#: A mean GAE that counts as 0.
ZERO = 0.005
#: A consistency below this is bad.
HALF = 0.5
#: A share of GAE that the worst maps should not keep.
KEPT = 0.2


def complaints(found: Sequence[Found]) -> list[str]:
    """Return a sentence for everything that is not as it should be."""
    return [
        line
        for one in found
        for part in (_baselines, _randomisation, _degradation, _seeds, _meta)
        for line in part(one)
    ]


def _baselines(one: Found) -> Iterator[str]:
    table = one.tables["baselines"]
    for row in table[table["baseline"]].itertuples():
        if float(row.GAE) > ZERO:
            yield f"{one.network}: {row.method} maps score {row.GAE:.3f}, not 0."


def _randomisation(one: Found) -> Iterator[str]:
    for method, part in one.tables["randomisation"].groupby("method", sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        if float(first["GAE"]) <= ZERO:
            yield (
                f"{one.network}: {method} scores {first['GAE']:.3f} on the trained network, so "
                "randomised layers can lower nothing."
            )
        elif last["change"] >= 0 or last["p"] >= ALPHA:
            yield (
                f"{one.network}: {method}'s GAE does not fall clearly when all layers are "
                f"randomised ({first['GAE']:.3f} to {last['GAE']:.3f}, p = {last['p']:.2g})."
            )
        elif last["GAE"] > KEPT * first["GAE"]:
            yield (
                f"{one.network}: maps of a network whose layers are all random keep "
                f"{last['GAE'] / first['GAE']:.0%} of {method}'s GAE."
            )
        if first["GAE"] > ZERO and str(part["verdict"].iloc[0]).startswith("rises"):
            yield f"{one.network}, layers randomised: {method}'s GAE {part['verdict'].iloc[0]}."


def _degradation(one: Found) -> Iterator[str]:
    table = one.tables["degradation"]
    for (method, kind), part in table.groupby(["method", "kind"], sort=False):
        trend = str(part["verdict"].iloc[0])
        if float(part["GAE"].iloc[0]) <= ZERO:
            yield f"{one.network}: {method} scores 0 to begin with, so {kind} can lower nothing."
        elif trend == "unchanged" or trend.startswith("rises"):
            values = " → ".join(f"{value:.3f}" for value in part["GAE"])
            word = "stays the same" if trend == "unchanged" else trend
            yield f"{one.network}, {kind}: {method}'s GAE {word} ({values})."
        elif part["GAE"].iloc[-1] > KEPT * part["GAE"].iloc[0]:
            share = part["GAE"].iloc[-1] / part["GAE"].iloc[0]
            yield f"{one.network}, {kind}: at its strongest, {method}'s GAE keeps {share:.0%}."


def _seeds(one: Found) -> Iterator[str]:
    table = one.tables["seeds"].pivot_table(index="seed", columns="method", values="GAE")
    orders = {tuple(row.sort_values(ascending=False).index) for _, row in table.iterrows()}
    if len(orders) > 1:
        yield f"{one.network}: the order of the methods is not the same with every seed of mosaics."


def _meta(one: Found) -> Iterator[str]:
    table = meta.summary(one.tables["meta"])
    for row in table[table["metric"] == "GAE"].itertuples():
        low = [
            f"{name} {getattr(row, name):.2f}"
            for name in ("IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR")
            if float(getattr(row, name)) < HALF
        ]
        if low:
            yield f"{one.network}, {row.place} perturbed: GAE's {', '.join(low)}."
    for place, part in table.groupby("place", sort=False):
        ours = float(part.loc[part["metric"] == "GAE", "MC"].iloc[0])
        others = part[~part["metric"].isin(["GAE", "LC", "C"])]
        ahead = others[others["MC"] > ours]
        better = [f"{row.metric} ({row.MC:.3f})" for row in ahead.itertuples()]
        if better:
            yield (
                f"{one.network}, {place} perturbed: {', '.join(better)} more consistent than GAE "
                f"({ours:.3f})."
            )
