"""Noisy linear imputation: removed pixels become the weighted mean of their eight neighbours.

The system of one mask is the block L_UU of the graph Laplacian L of the pixel grid (U: removed
pixels), so it is cut out of a matrix that is built once per image size.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu


def linear_imputation(
    image: NDArray[np.floating], removed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Replace removed pixels by the weighted mean of their neighbours, all at once.

    Every removed pixel equals the weighted mean of its neighbours inside the image, weight 1/6 for
    the four direct ones and 1/12 for the four diagonal ones; neighbours that are removed too are
    unknowns of the same linear system. This is the imputation of Rong et al. 2022 ("A Consistent
    and Efficient Evaluation Strategy for Attribution Methods", ICML 2022) without its noise.

    Parameters
    ----------
    image
        Image of shape (C, H, W); finite.
    removed
        Boolean mask of shape (H, W); True where a pixel, with all its channels, is removed.

    Returns
    -------
    ndarray
        A copy of ``image`` in float64, shape (C, H, W), in which the removed pixels are imputed.

    Raises
    ------
    ValueError
        If the shapes do not fit or if every pixel is removed (nothing is left to impute from).

    Examples
    --------
    >>> image = np.array([[[0.0, 9.0, 6.0]]])
    >>> linear_imputation(image, np.array([[False, True, False]]))
    array([[[0., 3., 6.]]])
    """
    if image.ndim != 3 or removed.shape != image.shape[1:] or removed.dtype != np.bool_:
        raise ValueError(
            "removed: expected a boolean mask (H, W) of an image (C, H, W), got "
            f"{removed.dtype} {removed.shape} for {image.shape}"
        )
    imputed = np.array(image, dtype=np.float64, order="C")
    if not removed.any():
        return imputed
    if removed.all():
        raise ValueError("removed: expected a pixel that stays, to impute from, got all removed")
    pixels = imputed.reshape(len(image), -1)
    unknown = np.flatnonzero(removed.ravel())
    pixels[:, unknown] = 0.0
    rows = _laplacian(*removed.shape)[unknown]
    # L_UU is a symmetric M-matrix, positive definite when a pixel is left: no pivoting is needed,
    # and an order by minimum degree stays.
    factors = splu(
        rows[:, unknown].tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    pixels[:, unknown] = factors.solve(-(rows @ pixels.T)).T
    return imputed


def noisy_linear_imputation(
    image: NDArray[np.floating], removed: NDArray[np.bool_], noise: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Impute as :func:`linear_imputation` and add Gaussian noise to the imputed pixels.

    Parameters
    ----------
    image, removed
        As in :func:`linear_imputation`.
    noise
        Standard deviation of the noise.
    rng
        Source of the noise. A field over the whole image is drawn, of which the removed pixels get
        theirs, so that a pixel's noise does not depend on which others are removed.

    Returns
    -------
    ndarray
        (C, H, W), float64.

    Examples
    --------
    >>> image, removed = np.zeros((1, 1, 3)), np.array([[False, True, False]])
    >>> noisy_linear_imputation(image, removed, 0.1, np.random.default_rng(0)).round(3)
    array([[[ 0.   , -0.013,  0.   ]]])
    """
    imputed = linear_imputation(image, removed)
    if noise > 0 and removed.any():
        imputed += noise * rng.standard_normal(image.shape) * removed
    return imputed


@lru_cache(maxsize=8)
def _laplacian(height: int, width: int) -> sp.csr_matrix:
    """Return the Laplacian of the grid of pixels, row by row."""
    # Which rows lie beside one another, and which columns. None beyond the image is among them.
    rows, columns = (sp.eye(n, k=1) + sp.eye(n, k=-1) for n in (height, width))
    direct = sp.kron(sp.eye(height), columns) + sp.kron(rows, sp.eye(width))
    laplacian: Any = csgraph.laplacian(direct / 6 + sp.kron(rows, columns) / 12)
    return sp.csr_matrix(laplacian)
