"""Work through many items in chunks that shrink where memory runs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

Result = TypeVar("Result")


@dataclass
class ChunkSize:
    """A number of items that is halved when they do not fit in memory."""

    #: Items at a time.
    value: int
    #: What is done in chunks, for the warning.
    what: str
    #: Whether not to warn.
    quiet: bool = False

    def run(self, count: int, work: Callable[[int], Result]) -> tuple[int, Result]:
        """Do some of the work that is left.

        Parameters
        ----------
        count
            Items left.
        work
            Called with the number of items to do; must be repeatable.

        Returns
        -------
        tuple
            Number of items done and ``work``'s result.
        """
        while True:
            size = min(self.value, count)
            try:
                return size, work(size)
            except Exception as error:
                if size == 1 or not out_of_memory(error):
                    raise
            # Outside the except block, where the error's frames no longer hold their tensors.
            self.value = size // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not self.quiet:
                warnings.warn(
                    f"out of memory: {self.what} goes on with {self.value} instead of {size} "
                    "samples at a time; scores do not change",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def each(
        self, count: int, work: Callable[[int, int], Result]
    ) -> Iterator[tuple[slice, Result]]:
        """Do all of the work: ``work(start, stop)`` again and again, with where it was done."""
        start = 0

        def some(size: int) -> Result:
            return work(start, start + size)

        while start < count:
            done, result = self.run(count - start, some)
            yield slice(start, start + done), result
            start += done


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that an allocation failed."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    # The last: what cuBLAS and cuDNN say.
    signs = ("out of memory", "can't allocate memory", "status_alloc_failed")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)
