"""The numbers of the paper's tables 1 to 13; where they come from is in README.md beside this.

>>> table = paper_table(1)
>>> table[(table["method"] == "absLRP") & (table["score"] == "GAE")]["value"].item()
0.272
"""

import functools
from pathlib import Path

import pandas as pd

from gae_metric.errors import InputError

__all__ = ["paper_table", "paper_tables"]


@functools.cache
def paper_tables() -> pd.DataFrame:
    """Return all numbers: table, dataset, model, method, score, value, tie_by_wilcoxon."""
    return pd.read_csv(Path(__file__).parent / "tables.csv")


def paper_table(number: int, dataset: str | None = None) -> pd.DataFrame:
    """Return the numbers of one table.

    Parameters
    ----------
    number
        1 to 13.
    dataset
        ``"ImageNet"`` or ``"PascalVOC"``, for table 10, which has both.

    Raises
    ------
    InputError
        If there is no such table.
    """
    every = paper_tables()
    table: pd.DataFrame = every[every["table"] == number]
    if table.empty:
        raise InputError(f"table: expected a number from 1 to 13, got {number}")
    if dataset in set(table["dataset"]):
        table = table[table["dataset"] == dataset]
    return table.reset_index(drop=True)
