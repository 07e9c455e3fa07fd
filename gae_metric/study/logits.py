"""From any model to a function of its logits."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

#: Selects the logits from what a model returns: a function, a key or attribute, or a position.
Output = Callable[[Any], Tensor] | str | int

#: Which models return a tensor. Kept, as a call may need no evaluation of the model.
_PLAIN: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


class LogitsModel(nn.Module):
    """A model that returns its logits as one (B, K) tensor.

    The wrapped model is used as it is and its attributes are found on the wrapper too, so that
    explainers that look for a layer find it.

    Parameters
    ----------
    model
        Any model.
    output
        What selects the logits from its result; by default a tensor, or ``logits`` of an object or
        mapping, or the only member of a tuple.
    predict_kwargs
        Keyword arguments of every call.

    Raises
    ------
    ValueError
        On a call, if that is no (B, K) tensor.

    Examples
    --------
    >>> import torch
    >>> class Pair(nn.Linear):
    ...     def forward(self, x):
    ...         return {"features": x, "scores": super().forward(x)}
    >>> LogitsModel(Pair(4, 3), "scores")(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        output: Output | None = None,
        predict_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.output = output
        self.predict_kwargs = dict(predict_kwargs or {})
        # Not eval(), which would set the flag of every layer of the wrapped model.
        self.training = getattr(model, "training", False)  # a frozen TorchScript has none

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits, (B, K)."""
        result = self.model(x, *args, **{**self.predict_kwargs, **kwargs})
        _PLAIN[self.model] = isinstance(result, Tensor)
        logits = select(result, self.output)
        if not isinstance(logits, Tensor):
            raise ValueError(
                f"model: expected it to return a tensor of logits, got {type(logits).__name__}; "
                "output= selects the logits from what it returns"
            )
        if logits.ndim != 2 or len(logits) != len(x) or not logits.is_floating_point():
            raise ValueError(
                f"model: expected floating-point logits of shape ({len(x)}, classes), got "
                f"{logits.dtype} {tuple(logits.shape)}; output= selects the logits"
            )
        return logits

    @property
    def plain(self) -> bool:
        """Whether the model's own result is the tensor of logits, as far as calls have shown."""
        return self.output is None and _PLAIN.get(self.model, True)

    @property
    def explained(self) -> nn.Module:
        """What explainers get: the model itself where it returns the logits."""
        return self.model if self.plain else self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)


def select(result: Any, output: Output | None) -> Any:
    """Select the logits from what a model returned."""
    if callable(output):
        return output(result)
    if output is None:
        if isinstance(result, Mapping) and "logits" in result:
            return result["logits"]
        if isinstance(result, (tuple, list)) and len(result) == 1:
            return result[0]
        return getattr(result, "logits", result)
    try:
        if isinstance(output, str) and hasattr(result, output):
            return getattr(result, output)
        return result[output]
    except (KeyError, IndexError, TypeError):
        names = f" with {', '.join(map(str, result))}" if isinstance(result, Mapping) else ""
        raise ValueError(
            f"output: the model returned a {type(result).__name__}{names}, which has no {output!r}"
        ) from None
