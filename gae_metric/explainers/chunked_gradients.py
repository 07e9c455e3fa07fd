"""What the explanation functions share: chunks, checks, gradients, and the kind that comes back."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp.arguments import check_batch_axis
from abslrp.batch import Batch
from abslrp.outputs import ONE_OUTPUT, Output, select_logits, still
from gae_metric.errors import check_integer
from gae_metric.functional.masking import check_classes
from gae_metric.study.conversion import as_input, at_work, gradient_of, like
from gae_metric.study.logits import LogitsModel, check_model, targets_of

Array = TypeVar("Array", Tensor, "NDArray[Any]")
Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_BATCH_SIZE = 64


def accepts_tensors(function: Function) -> Function:
    """Mark a function that takes tensors on any device and returns them there."""
    function.accepts_tensors = True  # type: ignore[attr-defined]
    return function


def chunked(
    method: Callable[[nn.Module, Tensor, Tensor], Tensor],
    model: nn.Module,
    inputs: Array,
    targets: Any,
    batch_size: int | None,
    output: Output = None,
) -> Array:
    """Apply ``method(model, x, target)`` to chunks, and return maps as the inputs were given."""
    check_model(model)
    model = model if still(output, model) is None else LogitsModel(model, output)
    step = DEFAULT_BATCH_SIZE if batch_size is None else check_integer("batch_size", batch_size)
    with at_work(model):
        x = as_input(model, inputs)
        target = targets_of(targets, model, x)
        chunks = zip(torch.split(x, step), torch.split(target, step), strict=True)
        try:
            result: Array = like(torch.cat([method(model, *chunk) for chunk in chunks]), inputs)
        except Exception as error:
            check_batch_axis(model, Batch({0: x}, (0,)), None, error)
            raise
    return result


def gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of each sample's target logit with respect to the sample."""
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        # A copy, so that a model that overwrites its input in place leaves the leaf alone.
        return gradient_of(selected(model(leaf.clone()), target).sum(), leaf)


def selected(output: Any, target: Tensor) -> Tensor:
    """Return the logit of each sample's target, (B,), from what the model returned."""
    logits = select_logits(output, None, len(target))
    if logits.shape[1] == 1 and target.any():
        raise ValueError(ONE_OUTPUT)
    check_classes(target, logits.shape[1])
    return logits.gather(1, target[:, None])[:, 0]
