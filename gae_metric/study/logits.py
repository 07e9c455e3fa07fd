"""The model: its logits, and whether it is in evaluation mode."""

import inspect
import weakref
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp.arguments import is_exported
from abslrp.outputs import ONE_OUTPUT, Output, select_logits
from gae_metric.study.conversion import as_input, as_targets
from gae_metric.study.samples import as_labels

#: What models return in place of logits, by what they end in: what that is, and its remedy. The
#: first that fits counts.
_IN_PLACE_OF_LOGITS = {
    "softmax": ("probabilities", 'output="log"'),
    "sigmoid": ("in [0, 1]", "output=torch.logit"),
    "log_softmax": ("logarithms of probabilities", 'output="log_softmax"'),
}

#: What a sum of probabilities may be off by, in half precision.
_ROUNDING = 1e-2

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
        # Names that no model has, or explainers would not find its own, such as ``model``.
        self.wrapped_model = model
        self.logits_at = output
        self.call_kwargs = dict(predict_kwargs or {})
        #: Whether one output will do.
        self.takes_one_output = False
        # Not eval(), which would set the flag of every layer of the wrapped model. A program keeps
        # the mode in which it was exported, and a frozen TorchScript has none.
        self.training = getattr(model, "training", False) and not is_exported(model)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits, (B, K)."""
        result = self.wrapped_model(x, *args, **{**self.call_kwargs, **kwargs})
        _PLAIN[self.wrapped_model] = isinstance(result, Tensor)
        logits = select_logits(result, self.logits_at, len(x))
        if logits.shape[1] == 1 and not self.takes_one_output:
            raise ValueError(ONE_OUTPUT)
        return logits.clone()  # some models write all their outputs into one memory

    @property
    def for_explainers(self) -> nn.Module:
        """What explainers get: the model itself where its calls, as far as seen, return logits."""
        model = self.wrapped_model
        plain = self.logits_at is None and not self.call_kwargs and _PLAIN.get(model, True)
        return model if plain else self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):  # how the model is copied, which is not the wrapper's way
                raise
            return getattr(super().__getattr__("wrapped_model"), name)


def targets_of(given: Any, model: Any, x: Tensor) -> Tensor:
    """Return a class of each sample, of several the likeliest, as metrics do."""
    try:
        return as_targets(given, len(x)).to(x.device)
    except ValueError as error:
        if not np.ndim(given):
            raise
        try:
            labels = as_labels(given, len(x), "targets")
        except ValueError:
            raise error from None
        if labels.table is None:
            return labels.values.to(x.device)
        with torch.no_grad():
            logits = LogitsModel(model)(x.clone()).cpu()
        return torch.from_numpy(labels.likeliest(np.arange(len(x)), logits)).to(x.device)


#: Methods that set or show the mode, and decide nothing by it.
_SETTERS = frozenset({"train", "eval", "extra_repr"})


def check_model(model: Any) -> None:
    """Refuse what is not a PyTorch model in evaluation mode.

    A layer in training mode below an evaluated model does no harm where its class never asks for
    the mode, such as an activation; any other is refused by name.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.RReLU()).eval()
    >>> check_model(model)
    >>> _ = model[1].train(), model[2].train()
    >>> check_model(model)
    Traceback (most recent call last):
    ...
    ValueError: model: expected evaluation mode, got training mode in its layer '2' (RReLU); call \
model.eval()
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if any(one.is_inference() for one in (*model.parameters(), *model.buffers())):
        raise ValueError(
            "model: its parameters were made in inference mode, so that torch takes no gradient; "
            "load it outside of torch.inference_mode(), or pass copy.deepcopy(model)"
        )
    if is_exported(model):
        return
    # What torch.compile wraps has a mode; the wrapper's own is another in older versions.
    model = getattr(model, "_orig_mod", model)
    for name, module in model.named_modules():
        # A frozen TorchScript has no mode.
        if getattr(module, "training", False) and (module is model or asks_for_mode(module)):
            layer = f" in its layer {name!r} ({type(module).__name__})" if name else ""
            remedy = "call model.eval()"
            if any(is_exported(each) for each in model.modules()):
                remedy = "set its training = False, as eval() is refused by the exported part"
            raise ValueError(f"model: expected evaluation mode, got training mode{layer}; {remedy}")


def asks_for_mode(module: nn.Module) -> bool:
    """Whether a layer may do otherwise in training mode."""
    if isinstance(module, nn.RNNBase):  # which users train for cuDNN's sake
        return bool(module.dropout)
    if isinstance(module, torch.jit.ScriptModule):  # whose code is not Python's
        return True
    kinds = [kind for kind in type(module).__mro__ if kind not in (nn.Module, object)]
    members = {name: value for kind in reversed(kinds) for name, value in vars(kind).items()}
    members["forward"] = vars(module).get("forward") or type(module).forward
    return any(
        "training" in code.co_names
        for name, value in members.items()
        if name not in _SETTERS and not (name.startswith("__") and name != "__call__")
        for code in _codes(getattr(value, "fget", getattr(value, "__func__", value)))
    )


def _codes(function: Any) -> Iterator[CodeType]:
    """Byte code of a function, of what it decorates and of what it defines."""
    pending = [getattr(inspect.unwrap(function), "__code__", None)]
    for code in pending:
        if isinstance(code, CodeType):
            yield code
            pending += code.co_consts


def predictions(model: nn.Module, x: NDArray[Any], batch_size: int = 32) -> NDArray[Any]:
    """Return the model's logits (N, classes) for images (N, C, H, W).

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    >>> predictions(model, np.zeros((3, 3, 2, 2), dtype=np.float32)).shape
    (3, 2)
    """
    with torch.no_grad():
        chunks = (x[start : start + batch_size] for start in range(0, len(x), batch_size))
        rows = [model(as_input(model, chunk)).float().cpu().numpy() for chunk in chunks]
    return np.concatenate(rows)


class InPlaceOfLogits:
    """What a model seems to return in place of logits, after all outputs that were seen.

    Examples
    --------
    >>> outputs = InPlaceOfLogits(None)
    >>> outputs.see(torch.tensor([[0.2, 0.8]]))
    >>> str(outputs.told("GAE")).partition(", as")[0]
    "GAE: the model's outputs are probabilities"
    >>> outputs.see(torch.tensor([[-3.0, 2.0]]))
    >>> outputs.told("GAE") is None
    True
    """

    def __init__(self, output: Output) -> None:
        self._binary = output == "binary"
        self._like: set[str] | None = None

    def see(self, outputs: Tensor) -> None:
        """Take outputs (n, K) of samples into account."""
        found = _ends_in(outputs[:, 1:] if self._binary else outputs)
        self._like = found if self._like is None else self._like & found

    def told(self, metric: str) -> str | None:
        """Return a warning, or None."""
        last = next((name for name in _IN_PLACE_OF_LOGITS if name in (self._like or ())), None)
        if last is None:
            return None
        what, remedy = _IN_PLACE_OF_LOGITS[last]
        if last == "sigmoid" and self._binary:
            remedy = "output=lambda p: torch.cat([-torch.logit(p), torch.logit(p)], 1)"
        return (
            f"{metric}: the model's outputs are {what}, as after a {last}; scores are defined on "
            f"logits. Pass {remedy}, or the model without its last layer"
        )


def _ends_in(outputs: Tensor) -> set[str]:
    """Return what a model may end in that has these outputs, (n, K): some of several things."""
    found = set()
    if bool(((outputs >= 0) & (outputs <= 1)).all()):
        found.add("sigmoid")
        if bool(((outputs.sum(1) - 1).abs() < _ROUNDING).all()):
            found.add("softmax")
    if outputs.shape[1] > 1 and bool((outputs.logsumexp(1).abs() < _ROUNDING).all()):
        found.add("log_softmax")
    return found
