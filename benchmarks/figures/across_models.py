"""Figures 10 and 15: the same images as several models see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

from matplotlib.figure import Figure

from benchmarks.figures.material import Material, drawn
from benchmarks.figures.outcome import Outcome, Skipped
from benchmarks.figures.sheets import spread, strip
from benchmarks.figures.subject import Subject
from gae_metric import plotting

_SHOWN = 4
#: Rows of maps of each model in figure 10.
_METHODS = 2


def resolution(material: Material) -> Iterator[Outcome]:
    """Draw figure 10: two vision transformers with different token grids."""
    subjects = material.of_family("vit")
    pairs = [(one, other) for one, other in combinations(subjects, 2) if one.grid != other.grid]
    if not pairs:
        grids = ", ".join(f"{s.name} {_tokens(s)}" for s in subjects) or "none"
        yield Skipped(
            "it takes scores of two vision transformers with different token grids, and there are "
            f"those of {grids}; a run with --config figure10 has both"
        )
        return
    # The finest against the coarsest.
    one, other = max(pairs, key=lambda pair: abs(_count(pair[0]) - _count(pair[1])))
    pair = sorted((one, other), key=_count, reverse=True)
    methods = [label for label in pair[0].best(len(pair[0].methods)) if label in pair[1].methods]
    names = {s.name: ("", f"{_short(s)}, {_tokens(s)} tokens") for s in pair}
    draw = partial(_draw, material, pair, methods[:_METHODS], names, "two token grids")
    yield drawn("-vs-".join(s.slug for s in pair), draw)


def every_model(material: Material) -> Iterator[Outcome]:
    """Draw figure 15: the main method's maps for every model."""
    subjects = material.subjects
    shared = [m for m in subjects[0].best(99) if all(m in s.methods for s in subjects)]
    if len(subjects) < 2 or not shared:
        what = f"there are scores of {len(subjects)}" if len(subjects) < 2 else "there are none"
        yield Skipped(
            f"it takes two models that one method explains, and {what}; a run with --config digits "
            "has them"
        )
        return
    # One method's rows are named by the models.
    rows = {s.name: (_short(s), "") for s in subjects}
    what = f"{shared[0]} for every model"
    yield drawn("models", partial(_draw, material, subjects, shared[:1], rows, what))


def _draw(
    material: Material,
    subjects: Sequence[Subject],
    methods: Sequence[str],
    names: dict[str, tuple[str, str]],
    what: str,
) -> Figure:
    """Draw a strip for each model, with the names of its one row (else the methods) and its own."""
    samples = material.common_samples(subjects)
    shown = spread(samples, subjects[0].classes_of(samples), _SHOWN)
    strips = [strip(s, shown, methods, *names[s.name]) for s in subjects]
    below = ", GAE below" if any(one.scores for one in strips) else ""
    return plotting.strips(strips, f"{what}{below}")


def _short(subject: Subject) -> str:
    return subject.name.partition(":")[2]


def _tokens(subject: Subject) -> str:
    rows, columns = subject.grid or (0, 0)
    return f"{rows}×{columns}"


def _count(subject: Subject) -> int:
    rows, columns = subject.grid or (0, 0)
    return rows * columns
