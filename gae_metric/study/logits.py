"""From any model to a function of its logits."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from abslrp.outputs import ONE_OUTPUT, Output, check_output, select_logits

__all__ = ["LogitsModel", "Output", "check_output"]

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
        What selects the logits from its result, see :func:`abslrp.explain`; by default a tensor, or
        ``logits`` of an object or mapping, or the only member of a tuple.
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
        output: Output = None,
        predict_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.output = output
        self.predict_kwargs = dict(predict_kwargs or {})
        #: Whether one output will do.
        self.single = False
        # Not eval(), which would set the flag of every layer of the wrapped model.
        self.training = getattr(model, "training", False)  # a frozen TorchScript has none

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits, (B, K)."""
        result = self.model(x, *args, **{**self.predict_kwargs, **kwargs})
        _PLAIN[self.model] = isinstance(result, Tensor)
        logits = select_logits(result, self.output, len(x))
        if logits.shape[1] == 1 and not self.single:
            raise ValueError(ONE_OUTPUT)
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
