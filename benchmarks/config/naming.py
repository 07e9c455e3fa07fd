"""Names of models and paths in configurations, checked without building or reading anything."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import AfterValidator

from benchmarks.models import PAPER, SHARED, shared_folder
from gae_metric.errors import InputError
from gae_metric.inputs import files


def check_model(spec: str) -> str:
    """Return a model's name if there is such a model.

    Raises
    ------
    InputError
        If there is none; the message gives the nearest name.

    Examples
    --------
    >>> check_model("paper:VGG16")
    'paper:vgg16'
    """
    return files.check_model(spec, {**files.OWN, "paper": PAPER, "shared": SHARED})


def expand(path: str) -> str:
    """Put in environment variables (``$NAME``), the home folder, and ``{shared}``.

    ``{shared}`` is the folder of reference material beside the repository.

    Raises
    ------
    InputError
        If a variable is not set, or the folder is not there.

    Examples
    --------
    >>> os.environ["SOME_FOLDER"] = "/data"
    >>> expand("imagenet:$SOME_FOLDER/val")
    'imagenet:/data/val'
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    if left := re.search(r"\$\{?(\w+)", expanded):
        raise InputError(f"the environment variable {left[1]} is not set, and {path!r} needs it")
    if "{shared}" in expanded:
        expanded = expanded.replace("{shared}", str(shared_folder()))
    return expanded


Expanded = Annotated[str, AfterValidator(expand)]
"""A path or name in which :func:`expand` puts what its variables stand for."""
