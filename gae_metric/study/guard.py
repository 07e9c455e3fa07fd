"""What a call makes sure of: that a model's row is its own, and that explaining leaves it be."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.study import cache, fingerprint
from gae_metric.study.arguments import Data, refusal
from gae_metric.study.conversion import out_of_memory
from gae_metric.study.fingerprint import VALUES

#: Features of all samples, up to which they are evaluated at once to see what an error means.
_FEW = 2**24

_RANDOM = (
    "model: two forward passes of sample {} differ, so that scores do; expected one that is not "
    "random in evaluation mode (a dropout that ignores model.eval()?) and keeps nothing of a call"
)


class ModelGuard:
    """Watch over a model in the time of a call, as a context.

    At the start the model is evaluated on a sample, alone, before another one and after it. At the
    first call of explain_func and at the end, what can be seen of the model is compared with what
    it was; in between, modes and hooks alone.

    Parameters
    ----------
    data
        The model and the samples.
    shares
        Whether trajectories may be shared with other calls.

    Attributes
    ----------
    state
        What shared entries of the model, as it is, are found by; None where nothing is shared.

    Raises
    ------
    ValueError
        If the model takes no single sample of ``x_batch``, or has no output for a class of
        ``y_batch``.

    Warns
    -----
    RuntimeWarning
        If an output depends on the other rows of its batch or is random, or if explain_func left
        the model changed. Nothing of the model is shared then.

    Notes
    -----
    Cost: two passes over the parameters, three if explain_func is called more than once; four
    forward passes, of six samples in all.
    """

    def __init__(self, data: Data, shares: bool) -> None:
        self.state: str | None = None
        self._data, self._shares = data, shares
        self._seen: dict[str, Hashable] | None = None
        self._explained = 0
        self._asked: tuple[Tensor, Tensor] | None = None  # an input, and its outputs
        self._own: set[str] = set()
        self._rounding = _rounding(data)

    def __enter__(self) -> ModelGuard:
        self._trouble = self._ask()
        # Now, as some models make buffers when they are evaluated first.
        self._seen = fingerprint.of_model(self._data.model.wrapped_model, self._data.device)
        if self._trouble:
            self.distrust(self._trouble)
        elif self._shares and self._seen is not None and cache.cache_info().limit:
            text = repr(list(self._seen.items())).encode()
            self.state = hashlib.blake2b(text, digest_size=16).hexdigest()
        return self

    def _ask(self) -> str | None:
        """Evaluate the model on a sample; returns what is wrong."""
        data = self._data
        finite = np.flatnonzero(data.finite)
        if not len(finite):
            return None
        x = data.inputs(finite[:1])
        # Beside a copy of itself, what is centred stays as it is.
        others = finite[data.contents[finite] != data.contents[finite[0]]]
        other = data.inputs(others[-1:]) if len(others) else torch.zeros_like(x)
        given = x
        try:
            alone = self._data.logits(given)
            given = torch.cat([x, other])
            # It may depend on the rows after it alone, or on those before it.
            beside = self._data.logits(given)[:1], self._data.logits(given.flip(0))[1:]
        except Exception as error:
            if out_of_memory(error):
                raise
            if self._takes_all(finite):
                raise ValueError(
                    "model: expected one that evaluates each sample of x_batch on its own, got one "
                    f"that takes all {len(finite)} rows or none: the nodes of a graph, statistics "
                    "of the batch, a squeeze() that takes the axis of one sample away, "
                    "model_predict_kwargs with a row for each sample, or a program that was "
                    "exported for one batch size"
                ) from error
            if not isinstance(error, (RuntimeError, TypeError, IndexError, AssertionError)):
                raise  # of the model's own
            named = "".join(f", {name}=" for name in data.model.call_kwargs)
            raise ValueError(
                f"model: expected one that takes samples of x_batch, {given.dtype} "
                f"{tuple(given.shape)}{named}, got {type(error).__name__}: {error}"
            ) from error
        if data.y is not None:
            # All classes at the first outputs, not each when its turn comes.
            data.y.check(alone.shape[1])
        self._asked = x, alone
        if all(self.alike(alone, one) for one in beside):
            return None
        if self.alike(alone, self._data.logits(x)):
            return (
                f"model: its output for sample {finite[0]} is another one beside other samples "
                "than alone, so that scores depend on the batch; expected one that evaluates each "
                "row on its own (no statistics of the batch, no attention across samples)"
            )
        return _RANDOM.format(finite[0])

    def _takes_all(self, finite: NDArray[np.int64]) -> bool:
        """Whether the model can be evaluated on all samples at once, where they are few."""
        few = len(finite) > 1 and self._data.x.shape.numel() <= _FEW
        return few and refusal(self._data, self._data.rows(finite)) is None

    def alike(self, a: Tensor, b: Tensor) -> bool:
        """Whether outputs of one sample, (1, K), are the same but for rounding.

        That depends on the size of the batch.
        """
        if a.shape != b.shape:
            return False
        rounding = max(self._rounding, torch.finfo(a.dtype).eps)
        a, b = a.double(), b.double()
        largest = a.nan_to_num(0, 0, 0).abs().max()
        return torch.allclose(a, b, rtol=0, atol=float(3 * rounding**0.5 * largest), equal_nan=True)

    def distrust(self, message: str, *, shares: bool = False) -> None:
        """Drop all that is shared of the model, and say why."""
        cache.SHARED.drop(self._data.model.wrapped_model)
        if not shares:
            self.state = None
        self._data.warn(message)

    def explained(self) -> None:
        """See what a call of explain_func has left on the model."""
        self._explained += 1
        self._compare(values=self._explained == 1)

    def _compare(self, values: bool) -> None:
        if self._seen is None:
            return
        now = fingerprint.of_model(self._data.model.wrapped_model, self._data.device, values) or {}
        seen = {k: v for k, v in self._seen.items() if values or not k.startswith(VALUES)}
        changed = [k for k in {**seen, **now} if k not in self._own and seen.get(k) != now.get(k)]
        if self._asked is not None and any(key.startswith(VALUES) for key in changed):
            # Whatever a mere evaluation changes, such as a count of calls, is the model's own.
            refusal(self._data, self._asked[0])  # an error of it will come by itself
            then = fingerprint.of_model(self._data.model.wrapped_model, self._data.device) or {}
            self._own |= {key for key in changed if then.get(key) != now.get(key)}
            changed = [key for key in changed if key not in self._own]
        if changed:
            self._left(changed)

    def _left(self, changed: list[str]) -> None:
        self._seen = self._asked = None  # one warning is enough
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        self.distrust(
            f"explain_func: it left the model changed ({', '.join(changed[:3])}{more}), so that "
            "what is explained next is not the model that was given; have it undo what it does, or "
            "work on a copy"
        )

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._explained > 1 or error is not None:  # which may be explain_func's own
            self._compare(values=True)
        if not self._explained or error is not None or self._asked is None or self._trouble:
            return
        x, before = self._asked
        if not self.alike(before, now := self._data.logits(x)):
            if torch.allclose(now, self._data.logits(x), rtol=0, atol=0, equal_nan=True):
                self._left(["its output, by something that cannot be seen on it"])
            else:  # it drifts by itself, each time by less than rounding may
                self.distrust(_RANDOM.format(self._data.finite.argmax()))


def _rounding(data: Data) -> float:
    """Return the coarsest rounding of what a model computes in, as far as can be seen.

    Outside the CPU, float32 may be TensorFloat-32.
    """
    model, device = data.model.wrapped_model, data.device.type
    values = (data.dtype, *(value.dtype for value in (*model.parameters(), *model.buffers())))
    kinds = {kind for kind in values if kind.is_floating_point and kind.itemsize > 1}
    if torch.is_autocast_enabled(device):
        kinds.add(torch.get_autocast_dtype(device))
    rounding = max(torch.finfo(kind).eps for kind in kinds)
    return max(rounding, 2.0**-11) if torch.float32 in kinds and device != "cpu" else rounding
