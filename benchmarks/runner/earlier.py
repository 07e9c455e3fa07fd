"""What earlier runs left in a folder: what may not be replaced, and what is of other settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from benchmarks.runner.collected import finished_plan, readable
from benchmarks.runner.identity import differences
from benchmarks.runner.shards import Shard
from benchmarks.runner.store import Store
from gae_metric.errors import InputError


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
        f"{len(plan['shards'])} shards this run would not have: {_short(reasons)}. --replace "
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
                others[_short(differences(told["settings"], settings)) or "block"] += 1
    for what, count in others.items():
        say(f"shards of other settings, which are left alone: {count}: {what}")


def _short(reasons: Iterable[str]) -> str:
    listed = list(reasons)
    return ", ".join(listed[:6]) + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
