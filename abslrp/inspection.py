"""What an explanation computes, as a table that a person can read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from abslrp.arguments import check_choice, check_model
from abslrp.batch import Batch
from abslrp.classes import maps_of, with_target
from abslrp.forward import Pass, Settings, logits_of
from abslrp.losses import place_of, reason
from abslrp.plan.accounts import Account, Custom, Diagonal, Product, Routing, Split
from abslrp.plan.factors import Factor, Line
from abslrp.tape import Call, Value
from abslrp.tape.modes import leaving_nothing

if TYPE_CHECKING:
    import pandas as pd


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
        it), ``path`` (of that module in the model), ``shape`` (of its output), ``rule`` (what its
        rule says: factors, T for a transposed product), ``computed`` (what is multiplied once
        factors are joined and what cancels is dropped; "totals" where they are restored; "-" where
        nothing is computed yet), and ``kept`` (bytes that its output takes beside those of other
        calls).

    Raises
    ------
    ValueError
        As :func:`abslrp.explain`.

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
    return _frame(
        (call, {**row, "computed": "; ".join(done[call]) or "-"}) for call, row in rows.items()
    )


def _frame(rows: Iterable[tuple[Call, Mapping[str, Any]]]) -> pd.DataFrame:
    """Return a table with a row for each call, and where it was made."""
    import pandas as pd

    return pd.DataFrame(
        {"call": call.name, "module": call.module, "path": call.path, **row} for call, row in rows
    )


@dataclass(frozen=True)
class Audit:
    """What became of relevance, as :func:`abslrp.audit` returns it.

    Attributes
    ----------
    table
        One row per call, from the output to the inputs.
    arrived, lost
        Shares of a sample's relevance, the mean over samples.
    summary
        Where most of what is lost went, in words.
    """

    table: pd.DataFrame
    arrived: float
    lost: float
    summary: str

    def __str__(self) -> str:
        return self.summary


def audit(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    *,
    target: Callable[[Any], Tensor] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Audit:
    """Say what becomes of a target's relevance, call by call: where it is lost, or not finite.

    Parameters
    ----------
    model, inputs, targets, target, model_kwargs
        As in :func:`abslrp.explain`; one target for each sample, or K.
    **options
        ``rules``, ``conserve``, ``output``, ``attention``, ``relevance_at``, ``samples``,
        ``on_unknown`` of :func:`abslrp.explain`.

    Returns
    -------
    Audit
        Its table has columns ``call`` (the ATen operator), ``module``, ``path``, ``site``,
        ``received`` and ``sent`` (means over samples of shares of the start), ``lost`` (what was
        received and not sent), ``to_constants`` (what of it was of constants to which elements
        were moved) and ``finite``.

    Raises
    ------
    ValueError
        As :func:`abslrp.explain`, or if an option is none of these.
    UnknownOperationError
        As :func:`abslrp.explain`.

    Notes
    -----
    Cost: one explanation with one start by the definition, ``accelerate=False``.

    Examples
    --------
    A class token is a constant, which takes a part with it:

    >>> import torch, abslrp
    >>> class Tokens(torch.nn.Linear):
    ...     def forward(self, x):
    ...         token = torch.ones(len(x), 1, 2)
    ...         return super().forward(torch.cat([token, x], 1)).sum(1)
    >>> model = Tokens(2, 2).eval().requires_grad_(False)
    >>> for parameter in model.parameters():
    ...     _ = parameter.fill_(1)
    >>> found = abslrp.audit(model, torch.ones(1, 3, 2), 0)
    >>> found.table[["call", "lost"]].round(6).values.tolist()
    [['aten.sum', 0.0], ['aten.linear', 0.0], ['aten.cat', 0.25]]
    >>> print(found)  # doctest: +ELLIPSIS
    Of a sample's relevance 75.0 % arrives. 25.0 % is lost at aten.cat in Tokens, called at ...
    """
    check_model(model)
    for name in options:
        check_choice("options", name, *_OPTIONS)
    settings = Settings(**{**options, "accelerate": False, "audits": True, "flows": []})
    batch, classes = with_target(Batch.of(model, inputs, model_kwargs), targets, target)
    maps_of(model, batch, classes, None, settings)
    flows = settings.flows or []
    weight = sum(flow.started.numel() for flow in flows)
    rows = []
    for number, flow in enumerate(flows):
        for passage in flow.passages:
            sides = passage.taken, passage.given
            taken, given = (float(flow.share(one).sum()) / weight for one in sides)
            lost = taken - given
            row = {"flow": number, "site": passage.call.site, "received": taken, "sent": given}
            row |= {"lost": lost, "to_constants": lost * passage.moves, "finite": passage.finite}
            rows.append((passage.call, row))
    every = _frame(rows)
    # A call of all samples is one row, of which the n-th at a place is the n-th of another pass.
    keys = ["call", "module", "path", "site"]
    nth = every.groupby(["flow", *keys]).cumcount()
    kinds = dict.fromkeys(["received", "sent", "lost", "to_constants"], "sum") | {"finite": "all"}
    every = every.groupby([*keys, nth], sort=False).agg(kinds).reset_index(keys)
    arrived = sum(float((flow.arrived / flow.started).sum()) for flow in flows) / weight
    most: Any = every.nlargest(3, "lost") if settings.conserved else every.iloc[:0]
    words = [
        f"{row.lost:.1%} is lost at {place_of(row, row.call)}: {reason(row.to_constants > 0)}."
        for row in most[most["lost"] > 1e-3].itertuples()
    ]
    summary = " ".join([f"Of a sample's relevance {arrived:.1%} arrives.", *words])
    return Audit(every, arrived, float(every["lost"].sum()), summary.replace("%", " %"))


#: Options of :func:`abslrp.explain` that do not say where relevance starts.
_OPTIONS = ("rules", "conserve", "output", "attention", "relevance_at", "samples", "on_unknown")


def _values(calls: Sequence[Call]) -> list[Value]:
    inputs = [value for call in calls for value in call.inputs]
    outputs = [value for call in calls for value in call.outputs if value is not None]
    return list(dict.fromkeys([*inputs, *outputs]))


def _row(call: Call, names: dict[Value, str], seen: set[int]) -> dict[str, Any]:
    said = "none: no rule" if call.account is None else _said(call.account, names)
    kept = 0
    for value in call.outputs:
        storage = None if value is None else value.tensor.untyped_storage()
        if storage is not None and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept += storage.nbytes()
    return {"shape": tuple(call.output.shape), "rule": said, "computed": "-", "kept": kept}


def _said(account: Account, names: dict[Value, str]) -> str:
    if isinstance(account, Diagonal):
        return _product(account.factors, names)
    if isinstance(account, Product):
        return f"{_product(account.after, names)} T({_product(account.before, names)} R)"
    if isinstance(account, Split):
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
        "inverse": f"1/|{v}|", "is": v, "computed": f"f({v})",
    }  # fmt: skip
    return forms[factor.kind]
