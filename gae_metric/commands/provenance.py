"""What scores come from: weights, code, and versions of packages."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

#: Packages that any score may come from.
MATTER = ("torch", "torchvision", "timm", "quantus", "numpy", "scipy", "pillow")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages, of those that are installed."""
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def digest(model: nn.Module, *values: Any) -> str:
    """Return a hash of a model's weights, and of arrays or what is told of other values."""
    found = hashlib.sha256()
    for key, weights in model.state_dict().items():
        found.update(f"{key} {weights.dtype} {tuple(weights.shape)};".encode())
        found.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for value in values:
        found.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return found.hexdigest()


def digest_of_files(files: Iterable[tuple[str, Path]], *values: Any) -> str:
    """Return a hash of files by their names and contents, and of what is told of other values."""
    found = hashlib.sha256(repr(values).encode())
    for name, path in sorted(files):
        content = path.read_bytes()
        found.update(f"{name} {len(content)};".encode())
        found.update(content)
    return found.hexdigest()


def digest_of_code(without: Mapping[str, Sequence[str]]) -> str:
    """Return a hash of packages' code, less some folders and files of each."""
    files = []
    for package, left in without.items():
        folder = Path(str(resources.files(package)))
        some = [p for p in folder.rglob("*.py") if p.relative_to(folder).parts[0] not in left]
        files += [(p.relative_to(folder.parent).as_posix(), p) for p in some]
    return digest_of_files(files)
