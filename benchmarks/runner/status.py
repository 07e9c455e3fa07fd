"""What a folder of results holds: what is there, missing, damaged, and of other settings."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_files import folders_of
from benchmarks.runner.collected import collect, finished_plan, latest_plan, newer, readable
from benchmarks.runner.identity import differences
from benchmarks.runner.shards import Shard
from benchmarks.runner.store import Store
from gae_metric.errors import InputError
from gae_metric.metrics.attribution_metric import named


def refuse_to_replace(store: Store, shards: Sequence[Shard]) -> None:
    """Refuse to replace finished results but by more of the same."""
    try:
        plan = finished_plan(store.root)
    except InputError:  # damaged: nothing that could be lost
        return
    keys = {shard.key for shard in shards}
    lost = [one for one in plan["shards"] if one["key"] not in keys] if plan else []
    if not plan or not lost:
        return
    now = {(shard.model, shard.method): shard.settings for shard in shards}
    reasons: dict[str, None] = {}
    for one in lost:
        model, method = one["model"], one["method"]
        if (model, method) not in now:
            reasons[f"this run has no {method or 'predictions'} of {model}"] = None
        else:
            before = plan.get("settings", {}).get(model, {}).get(method, {})
            reasons |= dict.fromkeys(differences(before, now[model, method]) or ["block"])
    raise InputError(
        f"output: {str(store.root)!r} holds finished results, {len(lost)} of whose "
        f"{len(plan['shards'])} shards this run would not have: {named(reasons, 6)}. --replace "
        "replaces them once the run is finished; --output names another folder"
    )


def look_through(store: Store, shards: Sequence[Shard], say: Callable[[str], None]) -> None:
    """Put damaged shards aside, and say how many are of other settings, and of which."""
    keys = {shard.key for shard in shards}
    now = {(shard.model, shard.method): shard.settings for shard in shards}
    others: Counter[str] = Counter()
    for key in store.shards():
        if store.damaged(key):
            say(f"damaged, put aside and computed anew where it is needed: {store.put_aside(key)}")
            continue
        if key in keys:
            continue
        with readable(store.root):
            told = store.facts(key)
            place = told["shard"]["model"], told["shard"]["method"]
            if (settings := now.get(place)) is not None:
                others[named(differences(told["settings"], settings), 6) or "block"] += 1
    for what, count in others.items():
        say(f"shards of other settings, which are left alone: {count}: {what}")


def status(root: str | Path) -> tuple[list[str], bool]:
    """Describe a folder of results; nothing that it names is read or imported.

    Returns
    -------
    tuple
        Lines, and whether all is there and whole.

    Raises
    ------
    InputError
        If there is no run in it.
    """
    (folder,) = folders_of([Path(root)])
    plan = latest_plan(folder)
    lines, whole, under_way = [], True, newer(folder)
    try:
        finished = finished_plan(folder) is not None
        lines += ["finished results:", *_made(collect(folder).facts)] if finished else []
    except InputError as error:
        finished, whole, lines = False, False, [str(error)]
    if finished and not under_way and not (folder / "shards").is_dir():
        return lines, True
    store, facts, damaged = Store(folder), [], []
    places: dict[str, Counter[str]] = defaultdict(Counter)
    with readable(root):
        for shard in plan["shards"]:
            key, state = shard["key"], "missing"
            if store.has(key):
                state, told = "there", store.facts(key)
                facts.append(told | {"host": told["where"].get("host", "")})
            elif store.damaged(key):
                state = "damaged"
                damaged.append(f"  damaged: {store.path(key)}")
            places[f"{shard['model']}, {shard['method'] or 'predictions'}"][state] += 1
    counts = sum(places.values(), Counter())
    lines.append(f"{'a newer run' if under_way else 'shards'}: {_listed(counts)}")
    lines += [f"  {place}: {_listed(own)}" for place, own in places.items() if {*own} != {"there"}]
    whole &= not damaged and (set(counts) == {"there"} or (finished and not under_way))
    return [*lines, *damaged, *_made(facts)], whole


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _made(facts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Say by whom and with which versions."""
    return dict.fromkeys(
        f"  made on {one.get('host') or 'an unnamed host'}, git {str(one.get('revision'))[:12]}"
        f"{' with changes' if one.get('changed') else ''}: "
        + ", ".join(f"{name} {version}" for name, version in one.get("versions", {}).items())
        for one in facts
    )
