"""Sheets of maps: of images by methods, and of an image's classes."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gae_metric._names import two_lines
from gae_metric.plotting import _style


def maps(
    images: NDArray[Any],
    attributions: Mapping[str, NDArray[Any]],
    labels: Sequence[str] | None = None,
    title: str = "",
    scores: Mapping[str, Sequence[float]] | None = None,
    *,
    columns: int | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw images in rows, and each method's maps in a column.

    Maps are summed over channels and scaled on their own: red is positive, blue negative, and the
    0.5 % of strongest values are cut off.

    Parameters
    ----------
    images
        Pixels (N, C, H, W) in [0, 1].
    attributions
        Maps (N, C, H, W), (N, 1, H, W) or (N, H, W) by method.
    labels
        Text beside each image, such as its class.
    title
        Title of the figure.
    scores
        Numbers (N,) by method, written under its maps; methods may be missing.
    columns
        Methods side by side; the others follow in further rows, beside the images again. By default
        all of them.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        0.75 inches for each column and row, but at least one column's width.

    Raises
    ------
    ValueError
        If there are no images, or a method's maps are not of the images' number and size.

    Examples
    --------
    >>> pixels = np.zeros((2, 3, 8, 8))
    >>> sheet = maps(pixels, {"absLRP": pixels, "Random": pixels[:, :1]}, labels=["one", "two"])
    >>> [axes.get_title() for axes in sheet.axes[:3]]
    ['image', 'absLRP', 'Random']
    """
    texts = {"labels": labels} | {f"scores[{k!r}]": v for k, v in (scores or {}).items()}
    images, drawn = _style.check_sheet(images, attributions, texts)
    bands = _style.bands(list(attributions), columns)
    rows, side = len(images), 1 + max(len(band) for band in bands)
    cell = max(0.75, _style.COLUMN_WIDTH / side)
    shape = images.shape[2] / images.shape[3]
    text = 0.12 if scores else 0.0
    height = len(bands) * (rows * (cell * shape + text) + 0.3) + 0.05
    figure = _style.figure(side * cell, height)
    panels = figure.subplots(len(bands) * rows, side, squeeze=False)
    for place, row in enumerate(panels):
        band, i = divmod(place, rows)
        _style.picture(row[0], images[i], "image" if i == 0 else "")
        if labels is not None:
            _style.beside(row[0], labels[i])
        for panel, method in zip(row[1:], bands[band], strict=False):
            values, head = drawn[method][i], two_lines(method)
            score = f"{scores[method][i]:.3f}" if scores and method in scores else ""
            _style.signed_map(panel, values, method, head if i == 0 else "", score)
        for panel in row[1 + len(bands[band]) :]:
            panel.set_visible(False)
    return _style.finish(figure, title, path)


#: Space below the rows of an image, as a share of a row.
_GAP = 0.15


def class_maps(
    images: NDArray[Any],
    classes: Sequence[Sequence[str]],
    attributions: Mapping[str, Sequence[NDArray[Any]]],
    title: str = "",
    *,
    columns: int | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw images of several classes, and below one another each method's map for each class.

    The maps of a method that tells classes apart lie where their class is. Maps are summed over
    channels and each is scaled on its own: red is positive, blue negative, and the 0.5 % of
    strongest values are cut off.

    Parameters
    ----------
    images
        Pixels (N, C, H, W) in [0, 1].
    classes
        Names of the classes that are explained, for each image.
    attributions
        By method, for each image the maps of its classes: (K, C, H, W), (K, 1, H, W) or (K, H, W)
        where it has K.
    title
        Title of the figure.
    columns
        Methods side by side; the others follow in further rows, beside the images again. By default
        all of them.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide for up to four methods: a row for each class, its name on the left of its
        maps, and the image on the left of all of its rows.

    Raises
    ------
    ValueError
        If there are no images, an image has no class, or a method's maps are not of the number of
        classes and the image's size.

    Examples
    --------
    >>> pixels = np.zeros((1, 3, 8, 8))
    >>> maps = np.ones((2, 3, 8, 8))
    >>> figure = class_maps(pixels, [["dog", "cat"]], {"absLRP": [maps], "GradCAM": [maps[:, :1]]})
    >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
    ['image', 'absLRP', 'GradCAM']
    >>> [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    ['dog', 'cat']
    """
    images, _ = _style.check_sheet(images, {}, {})
    if len(classes) != len(images) or not all(classes):
        raise ValueError(
            f"classes: expected names of at least one class for each of {len(images)} images, got "
            f"{[len(names) for names in classes]} names"
        )
    wanted = [len(names) for names in classes]
    for method, given in attributions.items():
        found = [np.shape(maps) for maps in given]
        many = [shape[:1] for shape in found] == [(count,) for count in wanted]
        if not many or any(shape[-2:] != images.shape[2:] for shape in found):
            raise ValueError(
                f"attributions[{method!r}]: expected {', '.join(map(str, wanted))} maps of size "
                f"{images.shape[2:]}, got arrays of shape {', '.join(map(str, found))}"
            )
    bands = _style.bands(list(attributions), columns)
    side = 1 + max(len(band) for band in bands)
    # Names of classes stand beside their rows, in up to three lines.
    cell = max(0.6, (_style.COLUMN_WIDTH - 0.3) / side)
    shape = images.shape[2] / images.shape[3]
    ratios = [part for _ in bands for names in classes for part in (*(1.0 for _ in names), _GAP)]
    height = sum(ratios) * cell * shape + len(bands) * 0.28 + (0.17 if title else 0)
    figure = _style.figure(side * cell + 0.3, height)
    _style.tight(figure)
    grid = figure.add_gridspec(len(ratios), side, height_ratios=ratios)
    row = 0
    for band in bands:
        for i, names in enumerate(classes):
            picture = figure.add_subplot(grid[row : row + len(names), 0])
            _style.picture(picture, images[i], "" if i else "image", _style.SMALL)
            for k, name in enumerate(names):
                for column, method in enumerate(band):
                    panel = figure.add_subplot(grid[row + k, 1 + column])
                    values, head = attributions[method][i][k], "" if i or k else two_lines(method)
                    _style.signed_map(panel, values, method, head, size=_style.SMALL)
                    if column == 0:
                        _style.beside(panel, _style.label(name, cell * shape))
            row += len(names) + 1
    return _style.finish(figure, title, path)
