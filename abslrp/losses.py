"""What became of relevance on the way to the inputs, in words."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import torch

from abslrp.names import public_name
from abslrp.plan.flows import Flow
from abslrp.tape.values import tensors_in

NOTABLE = 0.01
"""Share of a sample's relevance whose loss is warned of."""


T = TypeVar("T")
_TOLD = ContextVar("_TOLD", default=True)


def untold(function: Callable[..., T], **kwargs: Any) -> T:
    """Call a function in which no explanation warns of what it loses: of masked inputs, say.

    Examples
    --------
    >>> untold(noted, inputs=torch.ones(1)) is None, noted(torch.ones(1))
    (True, [])
    """
    context = copy_context()  # nothing is to be undone, which an interrupt could prevent
    context.run(_TOLD.set, False)
    return context.run(function, **kwargs)


def noted(inputs: Any) -> list[Flow] | None:
    """Return where to note what becomes of relevance, None where nothing is told of it.

    That is also where the maps stay on a device, as the inputs do: it would have to be awaited.
    """
    given = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    stays = any(one.device.type != "cpu" for one in tensors_in(given))
    return [] if _TOLD.get() and not stays else None


def place_of(call: Any, name: str) -> str:
    """Say where in a model a call is, from its ``module``, ``path`` and ``site``."""
    module = f"{call.path} ({call.module})" if call.path else call.module
    where = [f"in {module}"] * bool(module) + [f"called at {call.site}"] * bool(call.site)
    return " ".join([name, ", ".join(where)]).strip()


def reason(moves: bool) -> str:
    """Say why relevance ends at a call."""
    if moves:
        return "constants receive it, such as class tokens or padding"
    return "none of its inputs contributes positively"


def about(share: torch.Tensor) -> str:
    """Say a share in words that do not change with every batch."""
    percent = round(10 * float(share)) * 10
    return "all" if share > 0.995 else f"about {percent} %" if percent else "less than 5 %"


def _nothing(map: torch.Tensor, two: bool) -> bool:
    """Whether a map is 0, or what rounding leaves of a difference of two that sum to 1."""
    most = min(1e-5, 100 * torch.finfo(map.dtype).eps) if two else 0
    return float(map.abs().sum(dtype=torch.float64)) <= most


def warn_of_padding(relevance: torch.Tensor, kept: torch.Tensor) -> None:
    """Warn of relevance (S, B, T) of tokens that are not kept, if it is notable in a text."""
    size = relevance.abs()
    padding, total = size.masked_fill(kept, 0).sum(2), size.sum(2)
    share = (padding / total).nan_to_num(0).max()
    if share > NOTABLE:
        warnings.warn(
            f"relevance: {about(share)} of a text's is at padding, which the model does not leave "
            "out, and is lost; explain such texts one at a time, without padding",
            RuntimeWarning,
            stacklevel=2,
        )


def warn_of_losses(
    flows: Sequence[Flow] | None,
    names: Sequence[str] = (),
    maps: Sequence[Sequence[torch.Tensor]] | Sequence[torch.Tensor] = (),
    *,
    more: str = "; abslrp.audit(model, inputs, targets) lists all calls.",
) -> None:
    """Warn of relevance that is lost, zero or not finite: one warning each, however many flows.

    Parameters
    ----------
    flows
        Of all samples; those without passages conserve nothing, and are looked at for zeros and
        numbers that are not finite alone.
    names
        What the starts are called, if there are several.
    maps
        What came of them, for each input (B, ...).
    more
        What a user can do to know more.
    """
    if not flows:
        return
    states = [torch.stack([flow.started, flow.arrived, flow.lost()]) for flow in flows]
    started, arrived, lost = torch.cat(states, 2).cpu()
    two = len(started) == len(names)
    samples = [flow.first + i for flow in flows for i in range(flow.started.shape[1])]

    def warn(message: str) -> None:
        warnings.warn(f"relevance: {message}{more}", RuntimeWarning, stacklevel=4)

    def named(which: torch.Tensor) -> str:
        found = sorted({samples[i] for i in which.any(0).nonzero().flatten().tolist()})
        return f"{', '.join(map(str, found[:10]))}{', ...' if len(found) > 10 else ''}"

    if not arrived.isfinite().all():
        calls = [one.call for flow in flows for one in flow.passages if not one.finite]
        first = [place_of(one, public_name(one.operator)) for one in calls[:1]]
        where = ", first at ".join([named(~arrived.isfinite()), *first])
        warn(f"not finite in samples {where}")
    most = lost.nan_to_num(0).max()
    if most > NOTABLE:
        flow = max(flows, key=lambda one: float(one.lost().nan_to_num(0).max()))
        start, sample = divmod(int(flow.lost().nan_to_num(0).argmax()), flow.started.shape[1])
        shares = [flow.lost([one])[start, sample] for one in flow.passages]
        share, index = torch.stack(shares).max(0)
        passage = flow.passages[int(index)]
        name = public_name(passage.call.operator)
        whose = f" from {names[start]}" if two else ""
        message = (
            f"{about(most)} of a sample's relevance{whose} is lost on the way to the inputs, most "
            f"of it ({about(share)}) at {place_of(passage.call, name)}: {reason(passage.moves)}"
        )
        if share > 0.995 and not passage.moves:
            # Such as a distance to a prototype, which has only what speaks against it.
            message += "; try target=abslrp.targets.difference(class, other)"
        warn(message)
    elif (none := (arrived == 0) & (started != 0)).any():
        warn(f"none arrives at the inputs in samples {named(none)}")
    elif any(all(_nothing(part, two) for part in one) for one in zip(*maps, strict=True)):
        warn("a map is 0: the target and what it is contrasted with have the same relevance")
