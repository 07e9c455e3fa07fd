"""One forward pass of a model on the tape: its options, its logits, relevance on the way back."""

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from abslrp.ablations import Attention, RelevanceAt
from abslrp.arguments import check_batch_axis, check_choice
from abslrp.batch import Batch
from abslrp.names import public_name
from abslrp.outputs import OneOutputError, Output, check_output
from abslrp.plan.arrivals import Conserve, LostSamplesError
from abslrp.plan.flows import Flow, Passage
from abslrp.plan.propagation import Done, Propagation, forget
from abslrp.plan.release import release
from abslrp.plan.routes import by_gradient
from abslrp.refusals import UnknownOperationError, no_rule
from abslrp.registry import RuleSet, rule_set
from abslrp.tape import Call, Tape, Value
from abslrp.tape.values import tensors_in


@dataclass(frozen=True)
class Settings:
    """How relevance is propagated, wherever it starts: options of :func:`abslrp.explain`."""

    rules: str | RuleSet = "absLRP"
    conserve: Conserve = "operation"
    on_unknown: Literal["error", "warn"] = "error"
    output: Output = None
    attention: Attention = None
    relevance_at: RelevanceAt = "input"
    samples: Literal["rows", "whole"] = "rows"
    accelerate: bool = True
    warned: set[str] = field(default_factory=set, compare=False)
    """What was warned of already."""
    flows: list[Flow] | None = field(default=None, compare=False)
    """Where it is noted what became of relevance, if at all."""
    logits: dict[int, Tensor] | None = field(default=None, compare=False)
    """Where logits are noted, by the index of their first sample, if at all."""
    first: int = 0
    """Index of the first sample."""
    audits: bool = False
    """Whether every call's totals are noted, whatever is conserved."""
    at: tuple[str, ...] | None = None
    """Modules of whose outputs relevance is wanted, in place of the inputs."""
    start_at: str | None = None
    """The module at whose output relevance starts, in place of the logits."""
    dense: bool = False
    """Whether the output may have more axes than that of the classes."""

    def __post_init__(self) -> None:
        check_choice("samples", self.samples, "rows", "whole")
        check_choice("attention", self.attention, "values", "queries_keys", None)
        check_choice("relevance_at", self.relevance_at, "input", "patches")
        check_output(self.output)
        check_choice("conserve", self.conserve, "operation", "argument", None)
        check_choice("accelerate", self.accelerate, True, False)
        check_choice("on_unknown", self.on_unknown, "error", "warn")
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
        # Relevance that ends at a call ends the wait for totals, too; then its place is wanted.
        traced = settings.flows is not None and (signed or not settings.accelerate)
        self.tape = Tape(settings.table, trace=traced)
        self.tape.released = release
        self.flows: list[Flow] = []
        self.lost: list[Tensor] = []
        """For each start the samples that only the definition is right for."""

    def relevance(
        self,
        logits: Value,
        starts: Sequence[Tensor],
        wanted: Sequence[Value],
        *,
        keep: bool = False,
        done: Done | None = None,
    ) -> Iterator[list[Tensor | None]]:
        """Yield relevance (S, *shape) of the wanted values for each (S, B, N) of starts.

        Nothing is kept of what only the last start needs, unless ``keep`` says so. ``done`` is
        told what is computed.
        """
        with torch.inference_mode(False):
            for index, start in enumerate(starts):
                kept = keep or index + 1 < len(starts)
                run = Propagation(
                    conserve=self.settings.conserved, signed=self.signed, keep=kept, done=done,
                    accelerate=self.settings.accelerate, unknown=self._unknown,
                    magnitude=self.settings.table.conserves,
                )  # fmt: skip
                found = self._noted(run, logits, start, wanted)
                self.lost.append(run.arrivals.lost)
                if keep and run.arrivals.lost.any():
                    found = self._noted(replace(run, accelerate=False), logits, start, wanted)
                yield found

    def _noted(
        self, run: Propagation, logits: Value, start: Tensor, wanted: Sequence[Value]
    ) -> list[Tensor | None]:
        noted = self.settings.flows is not None
        watched = noted and (self.settings.audits or self.settings.conserved == "operation")
        passages: list[Passage] = []
        run.passages = passages if watched else None
        found = run.run(self.tape.calls, logits, start, wanted)
        if noted and logits.place is not None:
            started = logits.place.totals(start.abs())
            arrived = torch.zeros_like(started)
            for value, one in zip(wanted, found, strict=True):
                if one is not None and value.place is not None:
                    arrived = arrived + value.place.totals(one.abs())
            self.flows.append(Flow(started, arrived, passages, self.settings.first))
        return found

    def _unknown(self, call: Call, relevance: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Refuse a call without a rule, or use its gradient."""
        message = no_rule(call, self.settings.table)
        if self.settings.on_unknown == "error":
            raise UnknownOperationError(message)
        if message not in self.settings.warned:
            self.settings.warned.add(message)
            warnings.warn(f"{message} Its gradient is used.", stacklevel=2)
        return by_gradient(call, curved=True)(relevance)

    def forget(self) -> None:
        """Let go of everything, so that no cycle keeps it."""
        while self.tape.calls:
            forget(self.tape.calls.pop())
        for value in self.tape.inputs:
            value.uses.clear()

    def __del__(self) -> None:
        if "tape" in vars(self):  # else it was interrupted before
            self.forget()


def constants(tape: Tape) -> str:
    """Say which results that were made of the inputs count as constants, and what can be done."""
    names = ", ".join(sorted({public_name(one) for one in tape.held}))
    return names and (
        f" by a differentiable path: what {names} returns counts as constant, as the denominators "
        "and spreads of norms do. Write it out (x.square().sum(-1).sqrt() in place of a norm) if "
        "relevance is to go through it"
    )


def logits_of(model: nn.Module, batch: Batch, run: Pass) -> tuple[Value, list[Value]]:
    """Run a model on the tape: its logits, and the inputs that relevance is wanted of.

    With ``start_at`` and ``at`` the outputs of modules take the place of either.
    """
    settings = run.settings
    names = [*(settings.at or ()), *([] if settings.start_at is None else [settings.start_at])]
    whole = settings.samples == "whole"
    with torch.inference_mode(False):
        # A copy, so that a model that overwrites its input leaves it alone.
        copy = batch.copied()
    values = copy.leaves(run.tape, whole=whole)
    samples = None if whole else len(batch)
    run.tape.names = {id(module): name for name, module in model.named_modules()}

    def forward() -> Any:
        if settings.start_at is not None:
            return copy.called(model)
        return copy.logits(model, settings.output, samples, dense=settings.dense)

    try:
        with watching(model, names, run.tape) as seen:
            result = run.tape.noting(forward)
    except (UnknownOperationError, LostSamplesError, OneOutputError):
        raise
    except Exception as error:
        if any(one in str(error) for one in ("does not require grad", "primal.is_inference")):
            raise UnknownOperationError(DIFFERENTIATES) from error
        check_batch_axis(model, batch, settings.output, error)
        raise
    found = {name: _only(name, made, samples) for name, made in seen.items()}
    start = settings.start_at
    logits = run.tape.value(result) if start is None else found[start]
    if logits is None:
        reason = constants(run.tape)
        raise ValueError(f"model: its logits do not depend on the {batch.features}{reason}")
    if logits.place is None:  # a rule set that takes no totals would go on with mixed samples
        raise LostSamplesError(logits)
    if samples and start is None and not _first(logits, samples):
        raise ValueError(
            f"model: expected logits with the samples along the first axis, got "
            f"{tuple(logits.shape)} with them along another; output= selects the logits"
        )
    return logits, values if settings.at is None else [found[name] for name in settings.at]


DIFFERENTIATES = (
    "model: it takes a gradient in its forward pass, through which no relevance can be followed; "
    "explain the part before it, or write the gradient out"
)
PROGRAM = (
    "; modules in scripted, traced and exported programs, and those that only lend their weights "
    "(out_proj of nn.MultiheadAttention), do not run by themselves: name one outside, or explain "
    "the model as it was written"
)
Made: TypeAlias = "tuple[Tensor | None, Value | None]"


@contextmanager
def watching(model: nn.Module, names: Sequence[str], tape: Tape) -> Iterator[dict[str, list[Made]]]:
    """Note what modules return, while hooks on them are in place."""
    modules = dict(model.named_modules())
    if unknown := [name for name in names if name not in modules]:
        raise ValueError(
            f"at, start_at: the model has no module {unknown[0]!r}, but those of named_modules(): "
            f"{', '.join(list(modules)[1:9])}, ..."
        )
    if scripted := [one for one in names if isinstance(modules[one], torch.jit.ScriptModule)]:
        raise ValueError(f"at, start_at: {scripted[0]!r} cannot be watched{PROGRAM}")
    seen: dict[str, list[Made]] = {name: [] for name in names}
    thread = threading.get_ident()

    def note(name: str, module: Any, args: Any, result: Any) -> None:
        parts = vars(result) if is_dataclass(result) else result
        if threading.get_ident() == thread:  # not of another explanation of the same model
            # With the tensor, so that no memory is shared with what is not known to be 0 there.
            found = ((one, tape.value(one)) for one in tensors_in(parts))
            seen[name].append(next((each for each in found if each[1]), (None, None)))

    handles: list[Any] = []
    try:
        handles += (modules[name].register_forward_hook(partial(note, name)) for name in seen)
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _first(value: Value, samples: int) -> bool:
    """Whether a value has the samples along its first axis."""
    place = samples, value.shape.numel() // samples
    return value.shape[:1] == (samples,) and (samples == 1 or value.place == place)


def _only(name: str, made: Sequence[Made], samples: int | None) -> Value:
    """Return what a module returned, if relevance of it can be told by sample."""
    value = made[0][1] if len(made) == 1 else None
    if value is None:
        raise ValueError(
            "at, start_at: expected a module that the model calls once, and of whose tensors one "
            f"depends on the inputs; {name!r} returned {len(made)} times"
            f"{PROGRAM if not made else ', but no such tensor' if len(made) == 1 else ''}"
        )
    if value.place is None and samples:
        raise LostSamplesError(value)
    if samples and not _first(value, samples):
        raise ValueError(
            f"at, start_at: expected outputs with the samples along the first axis, got "
            f"{tuple(value.shape)} of {name!r} for {samples} samples"
        )
    return value
