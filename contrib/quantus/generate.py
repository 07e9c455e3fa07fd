"""Write the metrics into a tree of Quantus: new files, and entries in its lists."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import parts
from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent

#: What Quantus supports.
PYTHON = (3, 8)

#: Class, category folder, and where its line goes in the category's ``__init__``.
_CATEGORY = {
    "LocalConsistency": "faithfulness",
    "GAE": "faithfulness",
    "Contrastiveness": "localisation",
}
_INTERPRETATION = {
    "LocalConsistency": "High scores, of at most 1, mean that the explanation follows the model",
    "Contrastiveness": "High scores, of at most 1, mean that the explanation tells classes apart",
    "GAE": "High scores, of at most 1, mean that the explanation follows the model and tells "
    "classes apart",
}
_SHORT = {
    "steps": "number of masking steps",
    "schedule": "masking schedule",
    "seed": "seed of the mosaics",
}
_PAPER = "https://doi.org/10.1145/3649458"
_README = {
    "LocalConsistency": "masks features from least to most and from most to least relevant to the "
    "model, and compares how the output and the explanation change along the way",
    "Contrastiveness": "measures, in mosaics of four samples, to what extent the explanation of a "
    "class lies on the sample of that class",
    "GAE": "multiplies Local Consistency by Contrastiveness, so that only explanations that follow "
    "the model and tell classes apart score high",
}
_COMPONENTS = {
    "LocalConsistency": ["lc_robustness", "lc_faithfulness", "local_consistency"],
    "Contrastiveness": ["contrastiveness"],
    "GAE": ["lc_robustness", "lc_faithfulness", "local_consistency", "contrastiveness", "gae"],
}


class GenerationError(ValueError):
    """The tree of Quantus is not as the change expects."""


def generate(tree: Path) -> list[str]:
    """Add the metrics to a tree of Quantus.

    Parameters
    ----------
    tree
        Folder that holds ``quantus/``.

    Returns
    -------
    list of str
        Lists of Quantus's that the tree lacks, as a source distribution does its documentation.
    """
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    header = licence_header(tree)
    written = {
        "quantus/functions/gae_func.py": templates.get_template("gae_func.py.jinja").render(
            header=header, functions=parts.functions()
        ),
        "quantus/helpers/gae_utils.py": templates.get_template("gae_utils.py.jinja").render(
            header=header
        ),
    }
    for module, name, file in parts.METRICS:
        described = parts.metric(module, name)
        for each in described["parameters"]:
            each["doc_short"] = _SHORT[each["name"]]
        written[f"quantus/metrics/{_CATEGORY[name]}/{file}.py"] = templates.get_template(
            f"{file}.py.jinja"
        ).render(
            described,
            header=header,
            title=ast.literal_eval(described["title"]),
            interpretation=_INTERPRETATION[name],
            components=_COMPONENTS[name],
            mosaics="seed" in {each["name"] for each in described["parameters"]},
        )
    for path, text in written.items():
        check(text, path)
        (tree / path).write_text(text.rstrip() + "\n", encoding="utf-8")
    tidy([tree / path for path in written])
    return [*_register(tree), *_document(tree)]


def check(text: str, name: str) -> None:
    """Refuse code that Quantus's oldest Python cannot read, or that knows this project."""
    try:
        syntax = ast.parse(text, name, feature_version=PYTHON)
    except SyntaxError as error:
        raise GenerationError(f"{name}: not Python {PYTHON[0]}.{PYTHON[1]}: {error}") from error
    for ours in ("gae_metric", "abslrp", "SPEC"):
        if ours in text:
            line = next(line for line in text.splitlines() if ours in line)
            raise GenerationError(f"{name}: expected nothing of this project, got {line.strip()!r}")
    for node in ast.walk(syntax):
        if isinstance(node, ast.Call) and any(each.arg == "strict" for each in node.keywords):
            raise GenerationError(f"{name}: zip(strict=True) is not in Python 3.8")


def tidy(files: Sequence[Path]) -> None:
    """Format code as Quantus does: black, 88 characters a line."""
    options = ["--isolated", "--quiet", "--line-length", "88", "--target-version", "py38"]
    command = [sys.executable, "-m", "ruff", "format", *options, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GenerationError(f"ruff format: {done.stderr}")


def licence_header(tree: Path) -> str:
    """Return the header that Quantus's files carry, from one of them."""
    lines = (tree / "quantus/metrics/localisation/focus.py").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# "))
    header: list[str] = []
    for line in lines[start:]:
        if not line.startswith("#"):
            break
        header.append(line)
    return "\n".join(header)


def insert(path: Path, after: str, new: str) -> None:
    """Insert a line after the only one that starts with a text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith(after)]
    if len(places) != 1:
        raise GenerationError(
            f"{path}: expected one line that starts with {after!r}, got {len(places)}"
        )
    lines.insert(places[0] + 1, new)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _register(tree: Path) -> list[str]:
    """Export the metrics and list them in the constants and the README."""
    constants, readme = tree / "quantus/helpers/constants.py", tree / "README.md"
    package = tree / "quantus/metrics"
    for name, anchor in (
        ("LocalConsistency", "from quantus.metrics.faithfulness.irof"),
        ("GAE", "from quantus.metrics.faithfulness.faithfulness_estimate"),
        ("Contrastiveness", "from quantus.metrics.localisation.auc"),
    ):
        file, category = _file(name), _CATEGORY[name]
        line = f"from quantus.metrics.{category}.{file} import {name}"
        insert(package / category / "__init__.py", anchor, line)
    insert(constants, '        "Sufficiency":', '        "GAE": GAE,')
    insert(constants, '        "Sufficiency":', '        "Local Consistency": LocalConsistency,')
    insert(constants, '        "Focus":', '        "Contrastiveness": Contrastiveness,')
    if not readme.exists():
        return ["README.md"]
    for name, anchor in (
        ("GAE", "    <li><b>Sufficiency "),
        ("LocalConsistency", "    <li><b>Sufficiency "),
        ("Contrastiveness", "    <li><b>Focus "),
    ):
        title = {"LocalConsistency": "Local Consistency"}.get(name, name)
        text = f'<li><b>{title} </b><a href="{_PAPER}">(Vukadin et al., 2024)</a>: {_README[name]}'
        insert(readme, anchor, f"    {text}")
    return []


def _document(tree: Path) -> list[str]:
    """Write pages of the new modules and enter them in the tables of contents."""
    pages = tree / "docs/source/docs_api"
    modules = [f"quantus.metrics.{_CATEGORY[name]}.{file}" for _, name, file in parts.METRICS]
    modules += ["quantus.functions.gae_func", "quantus.helpers.gae_utils"]
    pages.mkdir(parents=True, exist_ok=True)
    missing = []
    for module in modules:
        title = f"{module} module".replace("_", "\\_")
        (pages / f"{module}.rst").write_text(
            f"{title}\n{'=' * len(title)}\n\n.. automodule:: {module}\n   :members:\n"
            "   :undoc-members:\n   :show-inheritance:\n",
            encoding="utf-8",
        )
        contents = pages / f"{module.rpartition('.')[0]}.rst"
        if contents.exists():
            enter(contents, module)
        else:
            missing.append(str(contents.relative_to(tree)))
    return sorted(set(missing))


def enter(contents: Path, module: str) -> None:
    """Enter a page in the last table of contents of another, in alphabetical order."""
    lines = contents.read_text(encoding="utf-8").splitlines()
    entry = f"   {module}"
    tables = [i for i, line in enumerate(lines) if line.startswith(".. toctree::")]
    if not tables:
        raise GenerationError(f"{contents}: expected a toctree")
    entries = [i for i in range(tables[-1], len(lines)) if lines[i].startswith("   quantus.")]
    place = next((i for i in entries if lines[i] > entry), entries[-1] + 1)
    lines.insert(place, entry)
    contents.write_text("\n".join(lines) + "\n", encoding="utf-8")


def copy_tests(source: Path, tree: Path) -> list[Path]:
    """Copy tests into a tree, where they have no file of that name.

    Returns
    -------
    list of Path
        The copied files, relative to the tree.
    """
    copied = []
    for file in sorted(source.rglob("*.py")):
        target = tree / "tests" / file.relative_to(source)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        copied.append(target.relative_to(tree))
    return copied


def _file(name: str) -> str:
    return next(file for _, each, file in parts.METRICS if each == name)


__all__: Sequence[str] = ["GenerationError", "check", "copy_tests", "enter", "generate"]
