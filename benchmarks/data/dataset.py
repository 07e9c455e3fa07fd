"""A list of images that are read when their pixels are asked for, in worker processes."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from gae_metric.errors import InputError, check_integer
from gae_metric.inputs.images import ImageSet, decoded
from gae_metric.inputs.preprocessing import Preprocessing


@dataclass(frozen=True)
class Reading:
    """An image that was read, or why it could not be."""

    #: (3, H, W), None where it was only checked.
    image: NDArray[np.float32] | None = None
    #: (H, W), class of each pixel.
    mask: NDArray[np.uint8] | None = None
    problem: str | None = None


def file_digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 of what files hold, one after another; InputError: one is not there."""
    try:
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    except OSError as error:
        raise InputError(f"data: cannot read {str(error.filename)!r}: {error.strerror}") from error


def read_image(file: Path, prepare: Preprocessing | None) -> Reading:
    """Decode an image, and prepare it for a model if its preprocessing is given."""
    try:
        image = decoded(file)
        return Reading(None if prepare is None else prepare(image))
    except (OSError, ValueError) as error:
        return Reading(problem=str(error) or type(error).__name__)


def read_mask(file: Path, prepare: Preprocessing | None, reading: Reading) -> Reading:
    """Add the mask to what was read, resized and cropped as the image was.

    Each class is resized by itself, with the image's interpolation, and a pixel is of the class
    that is highest there: class indices are never mixed.
    """
    try:
        values = np.array(decoded(file), dtype=np.uint8)
    except OSError as error:
        return Reading(problem=f"mask: {error}")
    if values.ndim != 2:
        return Reading(problem="mask: expected one class index a pixel, got a colour image")
    if prepare is None:
        return reading
    crop = prepare.crop_to(prepare.size)
    present = np.unique(values)
    shares = []
    for index in present:
        part = Image.fromarray(((values == index) * 255).astype(np.uint8))
        shares.append(crop(part.convert("RGB")).float().numpy()[0])
    mask: NDArray[np.uint8] = present[np.argmax(np.stack(shares), axis=0)]
    return replace(reading, mask=mask)


@dataclass(frozen=True, eq=False)
class MaskedImages(ImageSet):
    """Images prepared for a model, with their masks if the data set has some."""

    #: Class of each pixel as in VOC's masks, (N, H, W) uint8, resized and cropped as the images.
    masks: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Data:
    """A data set whose images have not been read yet.

    Attributes
    ----------
    name
        As it was asked for.
    root
        Folder that the files are relative to.
    files
        Images, in order.
    labels
        Class of each, (N,); of a VOC image, the class whose boxes cover most.
    classes
        Every class of each image, for VOC, that of ``labels`` first; None elsewhere.
    masks
        File of each mask, relative to the root, or None.
    skipped
        Files that were left out, and why.
    arrays
        Images of ``digits``, which have no files.
    digests
        SHA-256 of each image and its mask, where :meth:`digested` has read them.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[tuple[int, ...], ...] | None = None
    masks: tuple[str, ...] | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    arrays: NDArray[np.float32] | None = None
    digests: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def part(self, indices: Sequence[int] | NDArray[np.int64]) -> Data:
        """Return some of the images, in the order of their indices."""
        some = [int(i) for i in indices]
        return replace(
            self,
            files=tuple(self.files[i] for i in some),
            labels=self.labels[some],
            classes=None if self.classes is None else tuple(self.classes[i] for i in some),
            masks=None if self.masks is None else tuple(self.masks[i] for i in some),
            arrays=None if self.arrays is None else self.arrays[some],
            digests=tuple(self.digests[i] for i in some) if self.digests else (),
        )

    def only(self, files: Sequence[str]) -> Data:
        """Return the images of some files, in their order; InputError where one is missing."""
        places = {file: place for place, file in enumerate(self.files)}
        for file in files:
            if file not in places:
                raise InputError(f"data: {file!r} was part of the run, and {self.name!r} lacks it")
        return self.part([places[file] for file in files])

    def digested(self) -> Data:
        """Return the same with digests of what the files hold now; :meth:`load` refuses others.

        Raises
        ------
        InputError
            If a file is not there any more.
        """
        if self.arrays is not None:
            found = [hashlib.sha256(np.ascontiguousarray(one).data) for one in self.arrays]
            return replace(self, digests=tuple(one.hexdigest() for one in found))
        pairs = zip(self.files, self.masks, strict=True) if self.masks else zip(self.files)
        files = [[self.root / name for name in names] for names in pairs]
        return replace(self, digests=tuple(map(file_digest, files)))

    def sample(
        self, n: int | None = None, seed: int = 0, workers: int = 0, ordered: bool = True
    ) -> Data:
        """Draw images that can be read.

        Parameters
        ----------
        n
            Number of images; by default all that can be read.
        seed
            Non-negative seed. The draw depends on the files and the seed alone, not on
            ``workers``; a smaller one is part of a larger one, and an image that cannot be read
            gives its place to the next one drawn.
        workers
            Processes that read.
        ordered
            Whether the images come in the data set's order, or as they were drawn.

        Returns
        -------
        Data
            The images drawn; ``skipped`` names those that cannot be read.

        Raises
        ------
        InputError
            If ``n`` is not positive, or not one image can be read.
        """
        if n is not None and n < 1:
            raise InputError(f"samples: expected a positive number, got {n}")
        wanted = min(len(self), n or len(self))
        waiting = iter(np.random.default_rng(seed).permutation(len(self)).tolist())
        good: list[int] = []
        skipped = dict(self.skipped)
        while len(good) < wanted and (some := list(itertools.islice(waiting, wanted - len(good)))):
            for index, reading in zip(some, self._readings(some, None, workers), strict=True):
                if reading.problem is None:
                    good.append(index)
                else:
                    skipped[self.files[index]] = reading.problem
        self._refuse_none(len(good), skipped)
        drawn = self.part(sorted(good) if ordered else good)
        return replace(drawn, skipped=dict(sorted(skipped.items())))

    def load(self, prepare: Preprocessing, workers: int = 0) -> MaskedImages:
        """Read and prepare all images; those that cannot be read are left out, by name.

        Parameters
        ----------
        prepare
            The model's preprocessing. Digits come as their networks take them.
        workers
            As in :meth:`sample`.

        Raises
        ------
        InputError
            If not one image can be read.
        """
        readings = list(self._readings(range(len(self)), prepare, workers))
        named = zip(self.files, readings, strict=True)
        problems = {file: one.problem for file, one in named if one.problem is not None}
        skipped = dict(sorted({**self.skipped, **problems}.items()))
        kept = [i for i, one in enumerate(readings) if one.problem is None]
        self._refuse_none(len(kept), skipped)
        part = self.part(kept)
        images = np.stack([one.image for i in kept if (one := readings[i]).image is not None])
        masks = [one.mask for i in kept if (one := readings[i]).mask is not None]
        stacked = np.stack(masks) if masks else None
        return MaskedImages(images, part.files, part.labels, skipped, stacked)

    def load_all(
        self, prepare: Preprocessing, workers: int = 0, problem: str = "cannot be read any more"
    ) -> MaskedImages:
        """Read and prepare all images; InputError, with the problem, where one cannot be read."""
        images = self.load(prepare, workers)
        if lost := [file for file in self.files if file not in images.files]:
            reason = images.skipped.get(lost[0], "it is not there")
            raise InputError(f"data: {lost[0]!r} {problem}: {reason}")
        return images

    def _readings(
        self, indices: Sequence[int], prepare: Preprocessing | None, workers: int
    ) -> Iterator[Reading]:
        """Read images in worker processes, in order."""
        check_integer("workers", workers, 0)
        if self.arrays is not None:
            return map(Reading, self.arrays[list(indices)])
        places: Any = [int(i) for i in indices]
        return iter(
            DataLoader(
                places,
                batch_size=None,
                collate_fn=functools.partial(self._reading, prepare),
                num_workers=min(workers, os.cpu_count() or 1),  # torch warns of more
                generator=torch.Generator(),  # the global one is left alone
            )
        )

    def _reading(self, prepare: Preprocessing | None, index: int) -> Reading:
        """Read an image and its mask; a problem is a value, not an error."""
        files = [self.root / some[index] for some in (self.files, self.masks) if some]
        reading = read_image(files[0], prepare)
        if self.masks is not None and reading.problem is None:
            reading = read_mask(files[1], prepare, reading)
        if self.digests and reading.problem is None and file_digest(files) != self.digests[index]:
            return Reading(problem="its content has changed since the run began")
        return reading

    def _refuse_none(self, good: int, skipped: Mapping[str, str]) -> None:
        if not good:
            first, reason = next(iter(skipped.items()))
            raise InputError(
                f"data: none of the {len(self)} images of {self.name!r} can be read "
                f"({first}: {reason})"
            )
