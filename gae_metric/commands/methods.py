"""Methods by the names of tables and ``--methods``, known without torch.

>>> METHODS[check_method("lrp-EPSILON")][0]
'LRP with the epsilon rule (Bach et al. 2015)'
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from gae_metric._names import METHODS
from gae_metric.errors import InputError, lookup


def check_method(name: str) -> str:
    """Return a method's name in tables; which of Captum's can be used is seen once it is loaded.

    Raises
    ------
    InputError
        If there is no such method, or Captum is not installed.
    """
    if not name.lower().startswith("captum:"):
        return lookup("methods", name, METHODS)[0]
    found = find_spec("captum")
    if found is None or found.origin is None:
        raise InputError(
            f"methods: {name} needs Captum: pip install 'gae-metric[captum]'; those without "
            f"Captum: {', '.join(METHODS)}"
        )
    # What it exports, as importing it takes seconds; those of no use here are refused later.
    source = Path(found.origin).with_name("attr").joinpath("__init__.py").read_text("utf-8")
    if exported := re.findall(r"[\"'](\w+)[\"']", source.partition("__all__ = ")[2]):
        lookup("methods (captum)", name.partition(":")[2], dict.fromkeys(exported))
    return name
