"""What comes of drawing a figure: a picture, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture."""

    #: What its file is named by, after the number: the model.
    name: str
    figure: Figure
    #: What stands in it for what the paper's shows.
    instead: str = ""


@dataclass(frozen=True)
class Skipped:
    """Why there is no picture, and what run would give it."""

    reason: str


Outcome = Drawn | Skipped


class LackingError(Exception):
    """A run lacks what a figure shows; the message says what, and what run has it."""
