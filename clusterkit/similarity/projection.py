"""Coordinates of images on a map."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError


def project(vectors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal components of the normalised vectors.

    Parameters
    ----------
    vectors : Embeddings or array-like of shape (n, d)
        The images.

    Returns
    -------
    positions : ndarray of shape (n, 2)
        The coordinates.
    shares : ndarray of shape (2,)
        The share of the variance of each; 0 if there is none.

    Raises
    ------
    InvalidInputError
        If there are fewer than two images or dimensions.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    vectors = np.asarray(vectors)
    if min(vectors.shape) < 2:
        raise InvalidInputError(
            "a map needs at least 2 images and 2 dimensions. "
            f"Received: n_samples={vectors.shape[0]}, n_features={vectors.shape[1]}"
        )
    pca = PCA(n_components=2, random_state=0)
    with np.errstate(invalid="ignore"):  # identical vectors have no variance
        positions = pca.fit_transform(normalize(vectors))
    return positions, np.nan_to_num(pca.explained_variance_ratio_)
