"""One forward pass of a model on the tape, and relevance for every start."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from abslrp.ablations import Attention, RelevanceAt, ablate, check
from abslrp.arguments import lacks_batch_axis, no_batch_axis
from abslrp.outputs import Output, check_output, select_logits
from abslrp.plan.propagation import Conserve, LostSamplesError, Propagation, RangeError, forget
from abslrp.plan.routes import by_gradient
from abslrp.refusals import UnknownOperationError, no_rule
from abslrp.registry import RuleSet, public_name, rule_set
from abslrp.tape import Call, Place, Tape, Value

Starts: TypeAlias = "Callable[[Tensor], list[Tensor]]"
"""From logits (B, N) to one (S, B, N) of starts for each map that is wanted."""


@dataclass(frozen=True)
class Settings:
    """How relevance is propagated, wherever it starts: options of :func:`abslrp.explain`."""

    rules: str | RuleSet = "absLRP"
    conserve: Conserve = "operation"
    on_unknown: Literal["error", "warn"] = "error"
    output: Output = None
    attention: Attention = None
    relevance_at: RelevanceAt = "input"
    accelerate: bool = True
    warned: set[str] = field(default_factory=set, compare=False)
    """What was warned of already."""

    def __post_init__(self) -> None:
        check(self.attention, self.relevance_at)
        check_output(self.output)
        if self.conserve not in ("operation", "argument", None):
            raise ValueError(
                f"conserve: expected 'operation', 'argument' or None, got {self.conserve!r}"
            )
        if self.on_unknown not in ("error", "warn"):
            raise ValueError(f"on_unknown: expected 'error' or 'warn', got {self.on_unknown!r}")
        _ = self.table

    @property
    def table(self) -> RuleSet:
        """The rule set."""
        return rule_set(self.rules) if isinstance(self.rules, str) else self.rules

    @property
    def conserved(self) -> Conserve:
        """What is restored: nothing where the rule set conserves by itself."""
        return self.conserve if self.table.conserves else None


class Pass:
    """One forward pass, and what relevance becomes on the way back.

    Parameters
    ----------
    settings
        Options.
    signed
        Whether a start may be negative.
    """

    def __init__(self, settings: Settings, *, signed: bool) -> None:
        self.settings = settings
        self.signed = signed
        self.tape = Tape(settings.table)

    @contextlib.contextmanager
    def running(self) -> Iterator[Tape]:
        """Note what a model does inside."""
        with torch.inference_mode(False), _eager(), self.tape.running():
            yield self.tape

    def relevance(
        self,
        logits: Value,
        starts: Sequence[Tensor],
        wanted: Sequence[Value],
        *,
        keep: bool = False,
    ) -> Iterator[list[Tensor | None]]:
        """Yield relevance (S, *shape) of the wanted values for each (S, B, N) of starts.

        Nothing is kept of what only the last start needs, unless ``keep`` says so.
        """
        with torch.inference_mode(False):
            for index, start in enumerate(starts):
                kept = keep or index + 1 < len(starts)
                accelerate = self.settings.accelerate
                try:
                    found = self._run(logits, start, wanted, accelerate=accelerate, keep=kept)
                except RangeError:
                    if not kept:
                        raise
                    found = self._run(logits, start, wanted, accelerate=False, keep=True)
                yield found

    def _run(
        self, logits: Value, start: Tensor, wanted: Sequence[Value], *, accelerate: bool, keep: bool
    ) -> list[Tensor | None]:
        run = Propagation(
            self.settings.conserved,
            signed=self.signed,
            accelerate=accelerate,
            keep=keep,
            unknown=self._unknown,
        )
        return run.run(self.tape.calls, logits, start, wanted)

    def _unknown(self, call: Call, relevance: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Refuse a call without a rule, or use its gradient."""
        message = no_rule(call, self.settings.table)
        if self.settings.on_unknown == "error":
            raise UnknownOperationError(message)
        if message not in self.settings.warned:
            self.settings.warned.add(message)
            warnings.warn(f"{message} Its gradient is used.", stacklevel=2)
        return by_gradient(call, lambda value: value.tensor)(relevance)

    def forget(self) -> None:
        """Let go of everything, so that no cycle keeps it."""
        while self.tape.calls:
            forget(self.tape.calls.pop())
        for value in self.tape.inputs:
            value.uses.clear()


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Run what was compiled as it was written."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is None or "torch._dynamo" not in __import__("sys").modules:
        yield
        return
    with stance("force_eager"):
        yield


def propagate(
    model: nn.Module,
    x: Tensor,
    starts: Starts,
    merge: Callable[[Tensor], Tensor],
    settings: Settings,
    *,
    signed: bool,
) -> Tensor:
    """Relevance of an input for every start.

    Parameters
    ----------
    model
        In evaluation mode.
    x
        (B, ...), on the model's device.
    starts
        From the logits to K tensors (S, B, N) of relevance.
    merge
        From the maps of one of them, (S, B, ...), to what is kept of them, (..., B, ...): the
        axis of the samples is the last before the input's own.
    settings
        Options.
    signed
        Whether a start may be negative.

    Returns
    -------
    (K, ..., B, ...).
    """
    try:
        return _propagate_batch(model, x, starts, merge, settings, signed)
    except RangeError:
        by_rule = replace(settings, accelerate=False)
        return propagate(model, x, starts, merge, by_rule, signed=signed)
    except LostSamplesError as error:
        call = error.call
        if call is not None and not call.ruled and settings.on_unknown == "error":
            raise UnknownOperationError(no_rule(call, settings.table)) from error
        if len(x) == 1:
            raise
        _check_apart(model, x, settings, error)
    # A single sample needs no axis to be followed.

    def nth(index: int) -> Starts:
        def chosen(logits: Tensor) -> list[Tensor]:
            given = starts(logits.expand(len(x), *logits.shape[1:]))
            return [one[:, index : index + 1] for one in given]

        return chosen

    maps = [
        _propagate_batch(model, x[i : i + 1], nth(i), merge, settings, signed)
        for i in range(len(x))
    ]
    return torch.cat(maps, dim=-x.ndim)


def _check_apart(model: nn.Module, x: Tensor, settings: Settings, lost: LostSamplesError) -> None:
    """Refuse samples that depend on one another; two evaluations tell, on all and on one."""
    with torch.no_grad():
        together = select_logits(model(x.clone()), settings.output, len(x))
        try:
            alone = select_logits(model(x[-1:].clone()), settings.output, 1)
        except (RuntimeError, ValueError, IndexError):  # rows of one graph, perhaps
            alone = torch.full_like(together[-1:], torch.inf)
    scale = together.abs().max()
    # Other kernels for another batch size round otherwise; another function differs by far more.
    if bool((together[-1:] - alone).abs().max() <= 1e-2 * scale):
        return
    call = lost.call
    where = "" if call is None else f" ({public_name(call.operator)}, called at {call.site})"
    raise ValueError(
        f"model: its samples depend on one another{where}, so that no sample has a map of its own; "
        "explain one at a time (batch_size=1) if that is the function you mean"
    )


def through(
    function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor, settings: Settings
) -> Tensor:
    """Relevance of a function's input from that of its output, of any shape (B, ...).

    Examples
    --------
    >>> import torch
    >>> through(torch.relu, torch.ones(1, 2), torch.ones(1, 2), Settings())
    tensor([[1., 1.]])
    """
    run = Pass(settings, signed=bool((relevance < 0).any()))
    leaf = x.detach().clone()
    value = run.tape.input(leaf, Place(len(x), max(1, leaf[0].numel())))
    try:
        with run.running() as tape:
            output = function(leaf)
        made = tape.value(output)
        assert made is not None
        # Kept: where relevance is lost or out of range, it is propagated anew by the definition.
        ((found,),) = run.relevance(made, [relevance[None]], [value], keep=True)
        return torch.zeros_like(x) if found is None else found[0]
    finally:
        run.forget()


def _propagate_batch(
    model: nn.Module,
    x: Tensor,
    starts: Starts,
    merge: Callable[[Tensor], Tensor],
    settings: Settings,
    signed: bool,
) -> Tensor:
    run = Pass(settings, signed=signed)
    try:
        logits, leaf = logits_of(model, x, run)
        ablate(run.tape, leaf, settings.attention, settings.relevance_at)
        given = starts(logits.tensor)
        results = []
        for (found,) in run.relevance(logits, given, [leaf]):
            if found is None:
                raise ValueError("model: its logits do not depend on the inputs")
            results.append(merge(found.to(x.dtype)))
        return torch.stack(results)
    finally:
        run.forget()


def logits_of(model: nn.Module, x: Tensor, run: Pass) -> tuple[Value, Value]:
    """Run a model on the tape: its logits, and the input."""
    with torch.inference_mode(False):
        # A copy, so that a model that overwrites its input leaves it alone.
        leaf = x.detach().clone()
    value = run.tape.input(leaf, Place(len(x), max(1, leaf[0].numel())))
    try:
        with run.running() as tape:
            result = select_logits(model(leaf), run.settings.output, len(x))
    except (UnknownOperationError, LostSamplesError):
        raise
    except Exception as error:
        if "does not require grad" in str(error):
            raise UnknownOperationError(
                "model: it takes a gradient in its forward pass, through which no relevance can be "
                "followed; explain the part before it, or write the gradient out"
            ) from error
        if lacks_batch_axis(model, x, run.settings.output):
            raise no_batch_axis(x) from error
        raise
    logits = tape.value(result)
    if logits is None:
        raise ValueError(
            "model: its logits do not depend on the inputs by a differentiable path (results of "
            "spreads (std, var, norm, logsumexp, rsqrt) count as constants)"
        )
    return logits, value
