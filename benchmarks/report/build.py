"""A page of the results of one or several runs.

All that is put into its templates (``page``) is escaped, so that data stays text.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report.explained import MAP_SIDE, Progress
from benchmarks.report.section import Section
from benchmarks.result_files import check_page, number, templates
from gae_metric.commands.folder import replace_file

PAGE = Path(__file__).parent / "page"


def count_of(n: int, what: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> count_of(1, "shard"), count_of(2, "shard")
    ('1 shard', '2 shards')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"


def _digest(text: str) -> str:
    """Return what a content security policy allows a text by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


TEMPLATES = templates(PAGE, autoescape=True, lstrip_blocks=True)
TEMPLATES.globals["map_side"] = MAP_SIDE
TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
TEMPLATES.tests["finite"] = lambda value: bool(np.isfinite(value))
TEMPLATES.filters |= {
    "arrow": lambda better: {"higher": " ↑", "lower": " ↓"}.get(better or "", ""),
    "count_of": count_of,
    "digest": _digest,
    "json": partial(json.dumps, ensure_ascii=False),
    "number": number,
}

_STYLES = ("page.css", "samples.css")
_SCRIPTS = ("dom.js", "tables.js", "samples.js")


def write_report(
    results: Sequence[Path],
    output: Path,
    *,
    samples: int = 32,
    maps: bool = True,
    progress: Progress = lambda what: None,
) -> tuple[int, list[str]]:
    """Write a page of runs' results.

    Parameters
    ----------
    results
        Folders of the runs, finished or not.
    output
        The page, ``.html``; one that is there already is replaced.
    samples
        Images of each run to browse; they are spread evenly over it.
    maps
        Whether to show the images and the methods' maps of them, which are made anew.
    progress
        Called with what is done next.

    Returns
    -------
    The page's size in bytes, and what is missing from it.

    Raises
    ------
    InputError
        If an argument is not as described, there are no results, or the data or a model is not
        there any more.
    OSError
        If the page cannot be written.
    """
    check_page(output, samples)
    runs = [Section(f"run-{i}", one, samples, maps, progress) for i, one in enumerate(results)]
    texts = {"style": _read(*_STYLES), "script": _read(*_SCRIPTS)}
    page = TEMPLATES.get_template("page.html").render(runs=runs, **texts)
    content = page.encode(errors="backslashreplace")  # names of files need not be UTF-8
    replace_file(output, content)
    return len(content), [f"{run.name}: {line}" for run in runs for line in run.problems]


def _read(*names: str) -> str:
    return "\n".join((PAGE / name).read_text(encoding="utf-8") for name in names)
