"""A device beside the CPU, pretended: its tensors are the CPU's, but no operation mixes the two.

A GPU is at hand only at times, and a tensor made on the wrong device is an error only there.
PyTorch lets Python stand for a device ("privateuse1"), and the CPU's own kernels compute what is on
it: results are the CPU's, a tensor of the host in an operation is an error, and copies and waits
are seen by :class:`tests.hardening.device.Crossings`. Not seen are a GPU's own kernels, streams and
memory.

Registering a device is for the whole process and cannot be taken back: use it in one of its own.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "away"


class _Backend:
    """What torch asks of a device; random numbers are drawn on the host."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.zeros(0, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        pass


class Away(Tensor):
    """A tensor of the device, around the one of the CPU that holds its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=f"{NAME}:0",
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, **kwargs: object) -> str:
        return f"Away({self.held})"

    def untyped_storage(self) -> torch.UntypedStorage:
        """The held tensor's, by which two views of one memory are known."""
        return self.held.untyped_storage()

    def tolist(self) -> Any:
        """As a list, by way of the host; torch refuses it for subclasses."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation of the device on the tensors held."""
    name = func.overloadpacket.__name__
    for one in tree_leaves((args, kwargs)):
        # Numbers may come from the host, as on a GPU; so may the source of a copy.
        strange = isinstance(one, Tensor) and not isinstance(one, Away)
        if strange and one.ndim and name != "copy_":
            raise RuntimeError(f"{func}: a tensor {tuple(one.shape)} of the host among {NAME}'s")
    given = {id(one.held): one for one in tree_leaves((args, kwargs)) if isinstance(one, Away)}
    leaves = name == "copy_" and not isinstance(args[0], Away)
    if kwargs.get("device") is not None:
        leaves = torch.device(kwargs["device"]).type != NAME
        kwargs = {**kwargs, "device": "cpu"}
    args, kwargs = tree_map_only(Away, lambda one: one.held, (args, kwargs))
    result = func(*args, **kwargs)
    if leaves:
        return result.clone() if name == "_to_copy" else result
    # An operation in place gives back the very tensor that it was given.
    return tree_map_only(
        Tensor, lambda one: given[id(one)] if id(one) in given else Away(one), result
    )


class Device(TorchDispatchMode):
    """Context in which tensors can be made on the device, and taken there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        there = device is not None and torch.device(device).type == NAME
        if there and not any(isinstance(one, Away) for one in tree_leaves((args, kwargs))):
            made = func(*args, **{**kwargs, "device": "cpu"})
            return tree_map_only(Tensor, Away, made)
        return func(*args, **kwargs)


def register() -> None:
    """Make the device known to this process, under :data:`NAME`."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    # Parameters are made anew: a tensor of the CPU cannot become one of a subclass in place.
    torch.__future__.set_swap_module_params_on_conversion(False)
    torch.__future__.set_overwrite_module_params_on_conversion(True)


def taken(model: nn.Module) -> nn.Module:
    """Return a copy of a model on the device."""
    return copy.deepcopy(model).to(NAME)
