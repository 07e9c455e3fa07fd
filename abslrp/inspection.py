"""What an explanation computes, as a table that a person can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch.nn.functional as F
from torch import nn

from abslrp.arguments import check_model
from abslrp.batch import Batch
from abslrp.forward import Pass, Settings, logits_of
from abslrp.plan.accounts import Account, Custom, Diagonal, Product, Routing, Split
from abslrp.plan.factors import Factor, Line
from abslrp.tape import Call, Value
from abslrp.tape.modes import leaving_nothing

__all__ = ["table"]


@leaving_nothing
def table(
    model: nn.Module, inputs: Any, model_kwargs: Mapping[str, Any] | None = None, **options: Any
) -> pd.DataFrame:
    """Return what an explanation of a model computes, call by call, from the logits to the input.

    Parameters
    ----------
    model
        In evaluation mode.
    inputs, model_kwargs
        As in :func:`abslrp.explain`.
    **options
        ``rules``, ``conserve``, ``output`` of :func:`abslrp.explain`.

    Returns
    -------
    pandas.DataFrame
        One row a call, columns ``call`` (the ATen operator), ``module`` (the class that called
        it), ``shape`` (of its output), ``rule`` (what its rule says: factors, T for a transposed
        product), ``computed`` (what is multiplied once factors are joined and what cancels is
        dropped; "totals" where they are restored; "-" where nothing is computed yet), and
        ``kept`` (bytes that its output takes beside those of other calls).

    Notes
    -----
    Cost: one explanation of the predicted classes, with one start.

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> found = abslrp.plan(model.eval(), torch.rand(2, 4))
    >>> found[["call", "rule"]].values.tolist()[1:]
    [['aten.relu', '1'], ['aten.linear', '|v0| T(1/|v1| R)']]
    >>> found["kept"].tolist()  # a rectifier's two values are kept as one
    [24, 64, 0]
    """
    check_model(model)
    batch = Batch.of(model, inputs, model_kwargs)
    run = Pass(Settings(**options), signed=False)
    run.tape.trace = True
    try:
        logits, leaves = logits_of(model, batch, run)
        calls = list(run.tape.calls)
        names = {value: f"v{index}" for index, value in enumerate(_values(calls))}
        seen: set[int] = set()
        rows = {call: _row(call, names, seen) for call in reversed(calls)}
        done: dict[Call, list[str]] = {call: [] for call in calls}

        def note(call: Call, what: str, factors: Sequence[Factor]) -> None:
            done[call].append(what if what == "totals" else _product(factors, names))

        start = F.one_hot(logits.tensor.argmax(1), logits.shape[1]).to(logits.dtype)
        for _ in run.relevance(logits, [start[None]], leaves, keep=True, done=note):
            pass
    finally:
        run.forget()
    found: pd.DataFrame = pd.DataFrame(
        [[*row[:4], "; ".join(done[call]) or "-", row[4]] for call, row in rows.items()],
        columns=["call", "module", "shape", "rule", "computed", "kept"],
    )
    return found


def _values(calls: Sequence[Call]) -> list[Value]:
    inputs = [value for call in calls for value in call.inputs]
    outputs = [value for call in calls for value in call.outputs if value is not None]
    return list(dict.fromkeys([*inputs, *outputs]))


def _row(call: Call, names: dict[Value, str], seen: set[int]) -> list[Any]:
    said = "none: no rule" if call.account is None else _said(call.account, names)
    kept = 0
    for value in call.outputs:
        held = None if value is None else value.held
        storage = None if held is None else held.untyped_storage()
        if storage is not None and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept += storage.nbytes()
    return [call.name, call.module, tuple(call.output.shape), said, kept]


def _said(account: Account, names: dict[Value, str]) -> str:
    if isinstance(account, Diagonal):
        return _product(account.factors, names)
    if isinstance(account, Product):
        before = _product(account.before, names)
        return f"{_product(account.after, names)} T({before} R)"
    if isinstance(account, Split):
        if callable(account.parts):
            return "split"
        parts = "; ".join(_said(one, names) for one in account.parts)
        return f"{_product(account.before, names)} to each of: {parts}"
    if isinstance(account, Routing):
        return "moved"
    return "by a function" if isinstance(account, Custom) else "constant"


def _product(factors: Sequence[Factor], names: dict[Value, str]) -> str:
    return " ".join(_factor(one, names) for one in factors) or "1"


def _factor(factor: Factor, names: dict[Value, str]) -> str:
    source = factor.value
    if source is None:
        return "c" if factor.kind == "constant" else "f"
    v = f"line({names[source.value]})" if isinstance(source, Line) else names[source]
    forms = {
        "positive": f"{v}+", "negative": f"(-{v})+", "magnitude": f"|{v}|", "above": f"[{v} > 0]",
        "inverse": f"1/|{v}|", "is": v,
    }  # fmt: skip
    return forms[factor.kind]
