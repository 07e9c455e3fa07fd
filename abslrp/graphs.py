"""absLRP on a GPU without the host's work: kernels recorded once for a shape, and replayed."""

import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp.arguments import as_targets, check_model, check_targets
from abslrp.batch import Batch, like
from abslrp.explain import explain
from abslrp.outputs import select_logits, still

Array = TypeVar("Array", Tensor, "NDArray[Any]")


class _Graph:
    """One recorded explanation."""

    def __init__(
        self, model: nn.Module, x: Tensor, targets: Tensor, options: dict[str, Any], pool: Any
    ) -> None:
        self.model = weakref.ref(model)
        # What the kernels read and write stays where it is.
        self.x, self.targets = x.clone(), targets.to(x.device)
        self.classes = 0
        select = still(options.pop("output", None), model)

        def noted(result: Any) -> Tensor:
            logits = select_logits(result, select, len(self.x))
            self.classes = logits.shape[-1]
            return logits

        side = torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(side):  # libraries choose their algorithms before, not within
            explain(model, self.x, self.targets, output=noted, **options)
        torch.cuda.current_stream(x.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, stream=side):
            self.maps = explain(model, self.x, self.targets, output=noted, **options)

    def replay(self, x: Tensor, targets: Tensor) -> Tensor:
        self.x.copy_(x)
        self.targets.copy_(targets, non_blocking=True)
        self.graph.replay()
        return self.maps.clone()


class GraphExplainer:
    """Explain as :func:`abslrp.explain`, by kernels that a GPU records and replays (CUDA graphs).

    With small batches a GPU waits for the host, which launches thousands of short kernels one by
    one. When inputs of a shape come for the second time, their kernels are recorded. From then on
    they are replayed with one launch. Maps are those of :func:`abslrp.explain`. On a CPU, and for
    models that cannot be recorded (which one warning says), it is :func:`abslrp.explain` itself.

    Parameters
    ----------
    limit
        Number of recordings that are kept, the last used ones. Each holds the memory that an
        explanation of its shape takes.
    **options
        Options of :func:`abslrp.explain`, for every call. With ``batch_size``, ``against`` or
        ``model_kwargs``, or with several inputs, nothing is recorded.

    Raises
    ------
    ValueError
        If ``limit`` is not positive; on a call, as :func:`abslrp.explain`.

    Notes
    -----
    Parameters that were changed in place are read anew, and replaced parameters are noticed. Other
    changes of a model (hooks, layers, replaced buffers) are not: call :meth:`clear` after them. A
    model whose result depends on values by Python's ``if`` cannot be recorded. Cost: that of
    :func:`abslrp.explain`; the second call of a shape costs about three.

    Examples
    --------
    >>> import torch, abslrp
    >>> explain = abslrp.GraphExplainer(contrast=None)
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
    >>> explain(model, torch.rand(2, 4), [0, 2]).shape
    torch.Size([2, 4])

    In a metric: ``GAE()(model, x, y, explain_func=abslrp.GraphExplainer(), device="cuda")``.
    """

    accepts_tensors = True

    def __init__(self, limit: int = 4, **options: Any) -> None:
        if limit < 1:
            raise ValueError(f"limit: expected a positive integer, got {limit!r}")
        self.limit = limit
        self.options = options
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._met: OrderedDict[Hashable, bool] = OrderedDict()
        self._pool: Any = None
        self._lock = threading.Lock()

    def __call__(self, model: nn.Module, inputs: Array, targets: Any = None, **more: Any) -> Array:
        """Explain as :func:`abslrp.explain` does, with its arguments."""
        options = {**self.options, **more}
        check_model(model)
        if not isinstance(inputs, (np.ndarray, Tensor)) or options.get("model_kwargs"):
            return explain(model, inputs, targets, **options)
        (x,) = Batch.of(model, inputs, None).tensors
        apart = any(options.get(name) is not None for name in ("batch_size", "against"))
        if x.device.type != "cuda" or apart:
            return explain(model, inputs, targets, **options)
        try:
            chosen = as_targets(targets, len(x))
        except ValueError:  # which is told better there
            return explain(model, inputs, targets, **options)
        # On one line: an interrupt between the body and its end would leave the lock held.
        with self._lock: maps = self._replayed(model, x, chosen, options)  # fmt: skip  # noqa: E701
        if maps is None:
            return explain(model, inputs, targets, **options)
        result: Array = like(maps, inputs)
        return result

    def clear(self) -> None:
        """Forget all recordings, and free their memory."""
        self._graphs.clear()
        self._met.clear()
        self._pool = None

    def _replayed(
        self, model: nn.Module, x: Tensor, targets: Tensor, options: dict[str, Any]
    ) -> Tensor | None:
        graph = self._graph(model, x, targets, options)
        if graph is None:
            return None
        if not targets.is_cuda:
            check_targets(targets, x.new_empty(0, graph.classes))
        return graph.replay(x, targets)

    def _graph(
        self, model: nn.Module, x: Tensor, targets: Tensor, options: dict[str, Any]
    ) -> _Graph | None:
        key = _key(model, x, targets, options)
        graph = self._graphs.get(key)
        if graph is not None and graph.model() is model:
            self._graphs.move_to_end(key)
            return graph
        if not self._met.get(key):  # None: not met; False: it cannot be recorded.
            self._met.setdefault(key, True)
            while len(self._met) > 64 * self.limit:
                self._met.popitem(last=False)
            return None
        while len(self._graphs) >= self.limit:
            self._graphs.popitem(last=False)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            graph = _Graph(model, x, targets, dict(options), self._pool)
        except torch.OutOfMemoryError:
            self.clear()
            raise
        except RuntimeError as error:
            self._met[key] = False
            warnings.warn(
                f"model: its kernels cannot be recorded, so that they are launched one by one "
                f"({str(error).partition(chr(10))[0]})",
                RuntimeWarning,
                stacklevel=5,
            )
            return None
        self._graphs[key] = graph
        return graph


def _key(model: nn.Module, x: Tensor, targets: Tensor, options: dict[str, Any]) -> Hashable:
    """Return what a recording is good for."""
    device = x.device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    exact = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return (
        id(model),
        tuple(parameter.data_ptr() for parameter in model.parameters()),
        (x.shape, x.dtype, x.device, targets.shape),
        (autocast, exact, torch.are_deterministic_algorithms_enabled()),
        tuple(sorted((k, v if isinstance(v, Hashable) else repr(v)) for k, v in options.items())),
    )
