"""From what a model returns to its logits: the argument ``output=``, wherever there is one."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import wrap_torch_function

Output: TypeAlias = "Callable[[Any], Tensor] | str | int | None"
"""A function, key or attribute, position, ``"log"``, ``"log_softmax"``, ``"binary"``, or None."""

ONE_OUTPUT = (
    "model: it has one output, and so no other class; for two classes, 0 and 1, by one logit z "
    'pass output="binary", which takes them as torch.cat([-z, z], 1)'
)


class OneOutputError(ValueError):
    """A model has one output, as one number for each sample."""


def two_classes(logits: Tensor) -> Tensor:
    """Give one logit (B, 1) or (B,) the outputs (B, 2) of two classes, of opposite signs.

    Examples
    --------
    >>> two_classes(torch.tensor([[3.0]]))
    tensor([[-3.,  3.]])
    """
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.shape[1:] != (1,):
        raise ValueError(
            f'output: "binary" is for a model with one output, got shape {tuple(logits.shape)}'
        )
    return torch.cat([-logits, logits], 1)


def centred_logarithm(probabilities: Tensor) -> Tensor:
    """Take probabilities (B, N) back to logits whose mean is 0.

    A logarithm alone is no logit that scores could be taken relative to: that of a class that the
    model is sure of is 0. Relevance passes unchanged.

    Examples
    --------
    >>> logits = torch.tensor([[1.0, 0.0, -1.0]])
    >>> torch.allclose(centred_logarithm(logits.softmax(1)), logits, atol=1e-4)
    True
    """
    if probabilities.ndim != 2:
        raise ValueError(
            f'output: "log" is for probabilities (B, N), got shape {tuple(probabilities.shape)}'
        )
    capturing = probabilities.is_cuda and torch.cuda.is_current_stream_capturing()
    if not capturing and bool((probabilities < 0).any()):
        raise ValueError(
            'output: "log" is for probabilities, and the model returned negative ones; '
            '"log_softmax" is for their logarithms'
        )
    return centred(probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log())


@wrap_torch_function(lambda logarithms: (logarithms,))
def centred(logarithms: Tensor) -> Tensor:
    """Take log-probabilities (B, N) back to logits whose mean is 0. Relevance passes unchanged.

    Examples
    --------
    >>> logits = torch.tensor([[100.0, 0.0, -100.0]])
    >>> centred(logits.log_softmax(1))
    tensor([[ 100.,    0., -100.]])
    """
    return logarithms - logarithms.mean(1, keepdim=True)


_NAMED: dict[str, Callable[[Tensor], Tensor]] = {
    "binary": two_classes,
    "log": centred_logarithm,
    "log_softmax": centred,
}


def select_logits(
    result: Any, output: Output, samples: int | None, *, dense: bool = False
) -> Tensor:
    """Take the logits from what a model returned, and check them.

    Parameters
    ----------
    result
        What the model returned.
    output
        See :func:`abslrp.explain`.
    samples
        Number of samples that the model got; None where its rows need not be samples.
    dense
        Whether there may be more axes than that of the classes.

    Raises
    ------
    ValueError
        If there are no floating-point logits of shape (samples, classes).

    Examples
    --------
    >>> select_logits({"scores": torch.zeros(2, 3)}, "scores", 2).shape
    torch.Size([2, 3])
    >>> select_logits((torch.ones(2, 1), None), None, 2)
    Traceback (most recent call last):
        ...
    ValueError: model: expected it to return a tensor of logits, got tuple; output= selects the ...
    """
    logits = taken(result, output)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"model: expected it to return a tensor of logits, got {type(logits).__name__}; "
            "output= selects the logits from what it returns"
        )
    if samples is not None and logits.shape == (samples,) and logits.is_floating_point():
        raise OneOutputError(ONE_OUTPUT)
    ranked = logits.ndim > 1 if dense else logits.ndim == 2
    alike = ranked and samples in (None, len(logits))
    if not alike or not logits.is_floating_point():
        rows = "rows" if samples is None else samples
        whole = "; samples='whole' of abslrp.explain takes all rows for one sample, such as a graph"
        raise ValueError(
            f"model: expected floating-point logits of shape ({rows}, classes), got "
            f"{logits.dtype} {tuple(logits.shape)}; output= selects the logits"
            f"{whole if ranked and samples not in (None, len(logits)) else ''}"
        )
    return logits


def check_output(output: Any) -> None:
    """Refuse what cannot select logits."""
    position = isinstance(output, int) and not isinstance(output, bool)
    if output is not None and not (callable(output) or isinstance(output, str) or position):
        raise ValueError(
            f"output: expected a function, a key, a position or None, got {type(output).__name__}"
        )


def still(output: Output, model: Any) -> Output:
    """Return None for an `output` that a wrapper of a model has taken already, its `logits_at`.

    Metrics give explainers such a wrapper, and may give them the same `output=`. Where `logits_at`
    is None, the wrapper has found what is called logits by itself.
    """
    at = getattr(model, "logits_at", ...)
    return None if output == ("logits" if at is None else at) else output


def taken(result: Any, output: Output) -> Any:
    """Take what `output` says from what a model returned, whatever it is."""
    if output is None:
        if isinstance(result, Mapping) and "logits" in result:
            return result["logits"]
        if isinstance(result, (tuple, list)) and len(result) == 1:
            return result[0]
        return getattr(result, "logits", result)
    if callable(output):
        return output(result)
    try:
        if isinstance(output, str):
            # A tensor has methods of such names, and no logits.
            if not isinstance(result, Tensor) and hasattr(result, output):
                return getattr(result, output)
            if output in _NAMED and not (isinstance(result, Mapping) and output in result):
                return _NAMED[output](taken(result, None))
            if isinstance(result, Tensor):
                raise KeyError(output)
        return result[output]
    except (KeyError, IndexError, TypeError):
        names = f" with {', '.join(map(str, result))}" if isinstance(result, Mapping) else ""
        raise ValueError(
            f"output: the model returned a {type(result).__name__}{names}, which has no {output!r}"
        ) from None
