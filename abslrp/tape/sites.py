"""Where in the user's code a call was made, and in which module of the model."""

import os
import sys
from collections.abc import Iterator, Mapping
from types import FrameType

import torch

from abslrp.tape.values import Call

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep


def locate(call: Call, names: Mapping[int, str]) -> None:
    """Note the class and path of the innermost module that is running, and ``file:line``.

    Frames of torch and of this package are passed over for the line: their source is no help to a
    user.
    """
    for frame, ours in _frames():
        if call.module and call.site:
            return
        name = frame.f_code.co_filename
        if not call.module and not ours:
            own = frame.f_locals.get("self")
            if isinstance(own, torch.nn.Module):
                call.module, call.path = type(own).__name__, names.get(id(own), "")
        if not call.site and not ours and not name.startswith(_TORCH):
            call.site = f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"


def running() -> list[torch.nn.Module]:
    """Return the modules of the model that are running, from the innermost to the model itself."""
    found: list[torch.nn.Module] = []
    for frame, ours in _frames():
        own = frame.f_locals.get("self")
        if isinstance(own, torch.nn.Module):
            if not found or found[-1] is not own:
                found.append(own)
        elif found and ours:
            break  # what called the model may be a module, too
    return found


def _frames() -> Iterator[tuple[FrameType, bool]]:
    """Yield the frames outwards from the one that asks, and whether each is of this package.

    What asks is left out: it has a frame among its locals, which would be a cycle once it is read.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame, frame.f_code.co_filename.startswith(_OURS)
        frame = frame.f_back
