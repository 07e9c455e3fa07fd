"""What the site needs beside MkDocs: notebooks as pages, formulas, and docstrings' roles."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "benchmarks" / "notebooks"
#: Pages of wide tables, which take the navigation's place.
WIDE = ["compatibility", "decisions", "evidence", "fidelity", "sanity", "speed-abslrp"]
#: A formula in running text, as GitHub has it: $`x_t`$.
INLINE = re.compile(r"\$<code>(.*?)</code>\$")
#: ``:class:`` and the like, before the name that it is for.
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(<code>)~?")


def on_config(config: Any) -> None:
    """Have blocks that are marked ``math`` set as formulas."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": formula}]


def formula(source: str, *_: Any, **__: Any) -> str:
    """Return LaTeX as MathML, which browsers set by themselves."""
    from latex2mathml.converter import convert

    lines = [convert(line, display="block") for line in source.splitlines() if line.strip()]
    return f'<div class="math">{"".join(lines)}</div>'


def inline(source: str) -> str:
    """Return LaTeX in running text as MathML."""
    from latex2mathml.converter import convert

    return convert(source)


def on_files(files: Any, config: Any) -> None:
    """Add the notebooks, as they are stored with their outputs."""
    from mkdocs.structure.files import File

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, page, content=page_of(path)))


def page_of(path: Path) -> str:
    """Return a notebook as Markdown."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        parts += [shown(output) for output in cell.get("outputs", ())]
    return "\n\n".join(parts)


def shown(output: dict[str, Any]) -> str:
    """Return the output of a cell: a picture, a table or text."""
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
    if "image/png" in data:
        return f'<img alt="Output" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        return f'<div class="output">{data["text/html"]}</div>'
    return f"```text\n{''.join(output.get('text', data.get('text/plain', '')))}\n```"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Give wide tables their place, where the tabs above lead on, and link notebooks' pages."""
    if page.file.src_uri.removesuffix(".md") in WIDE:
        page.meta["hide"] = ["navigation"]
    return re.sub(r"\(\.\./benchmarks/notebooks/(\w+)\.ipynb\)", r"(notebooks/\1.md)", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Leave the names of objects without their roles, and set formulas in running text."""
    return INLINE.sub(lambda found: inline(unescape(found[1])), ROLE.sub(r"\1", html))
