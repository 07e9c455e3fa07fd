"""What an explanation computes, as a table that a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import nn

from abslrp.arguments import as_input, check_model
from abslrp.forward import Pass, Settings, logits_of
from abslrp.plan.accounts import Account, Custom, Diagonal, Product, Routing, Split
from abslrp.plan.factors import Factor, Line
from abslrp.tape import Call, Value
from abslrp.tape.modes import leaving_nothing

__all__ = ["table"]


@leaving_nothing
def table(model: nn.Module, inputs: Any, **options: Any) -> pd.DataFrame:
    """Return what an explanation of a model computes, call by call, from the logits to the input.

    Parameters
    ----------
    model
        In evaluation mode.
    inputs
        (B, ...) floating-point array or tensor.
    **options
        ``rules``, ``conserve``, ``output`` of :func:`abslrp.explain`.

    Returns
    -------
    pandas.DataFrame
        One row a call, columns ``call`` (the ATen operator), ``module`` (the class that called
        it), ``shape`` (of its output), ``relevance`` (what is computed: factors, T for a
        transposed product), and ``bytes`` (of its output).

    Notes
    -----
    Cost: one forward pass.

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> found = abslrp.plan(model.eval(), torch.rand(2, 4))
    >>> found[["call", "relevance"]].values.tolist()[1]
    ['aten.relu', '1']
    """
    check_model(model)
    x = as_input(model, inputs)
    run = Pass(Settings(**options), signed=False)
    run.tape.trace = True
    try:
        logits_of(model, x, run)
        names = {value: f"v{index}" for index, value in enumerate(_values(run.tape.calls))}
        rows = [_row(call, names) for call in reversed(run.tape.calls)]
    finally:
        run.forget()
    found: pd.DataFrame = pd.DataFrame(
        rows, columns=["call", "module", "shape", "relevance", "bytes"]
    )
    return found


def _values(calls: Sequence[Call]) -> list[Value]:
    inputs = [value for call in calls for value in call.inputs]
    outputs = [value for call in calls for value in call.outputs if value is not None]
    return list(dict.fromkeys([*inputs, *outputs]))


def _row(call: Call, names: dict[Value, str]) -> list[Any]:
    output = call.output
    held = output.held
    size = 0 if held is None else held.element_size() * held.numel()
    said = "none: no rule" if call.account is None else _said(call.account, names)
    return [call.name, call.module, tuple(output.shape), said, size]


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
