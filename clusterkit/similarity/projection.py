"""Coordinates of images on a map."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import unit_rows
from clusterkit.store.stream import VectorStream
from clusterkit.utils.progress import progress_bar

# Rows of a stream that are projected at a time.
_BATCH_ROWS = 8192


def project(
    vectors: ArrayLike | VectorStream, *, progress: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first two principal components of the normalised vectors.

    Parameters
    ----------
    vectors : Embeddings, VectorStream or array-like of shape (n, d)
        The images.  Of a stream, the components are those of a random sample of 20,000.
    progress : bool
        Whether to show a progress bar while a stream is read.

    Returns
    -------
    positions : ndarray of shape (n, 2)
        The coordinates.
    shares : ndarray of shape (2,)
        The share of the variance of each; 0 if there is none.

    Raises
    ------
    InvalidInputError
        If there are fewer than two images or dimensions, or a number is not finite.
    """
    from sklearn.decomposition import PCA

    stream = vectors if isinstance(vectors, VectorStream) else None
    vectors = np.asarray(vectors if stream is None else stream.sample(random_state=0))
    if min(vectors.shape) < 2:
        raise InvalidInputError(
            "a map needs at least 2 images and 2 dimensions. "
            f"Received: n_samples={vectors.shape[0]}, n_features={vectors.shape[1]}"
        )
    pca = PCA(n_components=2, random_state=0)
    with np.errstate(invalid="ignore"):  # identical vectors have no variance
        positions = pca.fit_transform(unit_rows(vectors))
        if stream is not None:
            batches = progress_bar(stream.split(), name="map", enabled=progress, unit="part")
            positions = np.concatenate(
                [
                    pca.transform(unit_rows(batch))
                    for part in batches
                    for batch in part.iter_batches(_BATCH_ROWS)
                ]
            )
    return positions, np.nan_to_num(pca.explained_variance_ratio_)
