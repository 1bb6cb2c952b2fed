"""Extractor with the encoder of a trained autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.extractors.base import Extraction, Extractor
from clusterkit.images.batches import pad_batch, read_batches
from clusterkit.images.folder import FileStatus, digest_weights
from clusterkit.images.resizing import RESIZE_MODES
from clusterkit.networks.keras_file import load_network, read_document, save_network
from clusterkit.utils.documents import integer, list_of, one_of
from clusterkit.utils.progress import progress_bar

LATENT_LAYER = "latent"
_KIND = "autoencoder"
_RULES = {
    "image_size": list_of(integer(1, 2**14), 2, 2),
    "latent_size": integer(1, 2**24),
    "resize": one_of(RESIZE_MODES),
}


class Autoencoder(Extractor):
    """The encoder of a convolutional autoencoder.

    Image size, resizing and dimension are those of the training, read from the file without loading
    the network.

    Parameters
    ----------
    weights : path
        A ``.keras`` file of :func:`~clusterkit.extractors.autoencoder.training.train_autoencoder`
        or ``clusterkit train autoencoder``.
    batch_size : int, optional
        Images per forward pass; by default depends on the hardware.

    Attributes
    ----------
    model_ : keras.Model
        The whole autoencoder, loaded at the first forward pass.

    Raises
    ------
    WeightsError
        On first use, if the file is missing, damaged, or not an autoencoder of clusterkit.

    Examples
    --------
    >>> vectors = Autoencoder("ae.keras").transform(images)  # doctest: +SKIP
    """

    name = "autoencoder"

    def __init__(self, weights: str | Path, *, batch_size: int | None = None) -> None:
        self.weights = weights
        self.batch_size = batch_size

    @property
    def image_size(self) -> tuple[int, int]:  # type: ignore[override]
        """(height, width) of the training images in pixels."""
        height, width = self._metadata["image_size"]
        return height, width

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """Length of a vector: the latent size."""
        return int(self._metadata["latent_size"])

    @property
    def resize(self) -> str:  # type: ignore[override]
        """How training images were resized."""
        return str(self._metadata["resize"])

    @property
    def _metadata(self) -> dict[str, Any]:
        """Return the metadata of the file, cached until it changes."""
        if not Path(self.weights).is_file():
            return read_metadata(self.weights)  # raises an error with the reason
        return _read_once(str(Path(self.weights).absolute()), FileStatus.of(self.weights))

    def _identity(self) -> dict[str, Any]:
        """Return the file's digest, which determines the vectors."""
        _ = self._metadata
        return {"weights": digest_weights(self.weights)}

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        """Run the encoder; pixels are scaled inside the network."""
        if not hasattr(self, "_encoder"):
            self._load()
        vectors = self._encoder.predict_on_batch(pad_batch(images, self.full_batch))
        return Extraction(np.asarray(vectors)[: len(images)])

    def _load(self) -> None:
        """Load the network and its encoder."""
        import keras

        self.model_ = load_autoencoder(self.weights)
        self._encoder = keras.Model(self.model_.input, self.model_.get_layer(LATENT_LAYER).output)

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Encode and decode images.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3), uint8
            RGB images of this extractor's ``image_size``.

        Returns
        -------
        ndarray of shape (n, height, width, 3), uint8
            The reconstructed images.

        Raises
        ------
        InvalidInputError
            If the shape or dtype is invalid.
        """
        images = self._check_images(images)
        if not len(images):
            return np.empty_like(images)
        self._drop_outdated()
        if not hasattr(self, "model_"):
            self._load()
        outputs = self.model_.predict(images, batch_size=self.full_batch, verbose=0)
        return to_pixels(outputs)

    def reconstruction_errors(
        self, files: Sequence[str | Path], *, progress: bool = False
    ) -> NDArray[np.float64]:
        """Return the reconstruction error of image files.

        Parameters
        ----------
        files : sequence of path
            The images.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        ndarray of shape (n,), float64
            Mean squared error of each image, in grey levels squared; NaN if it cannot be read.
        """
        errors = np.full(len(files), np.nan)
        batches = read_batches(files, self.image_size, self.full_batch, resize=self.resize)
        with progress_bar(
            total=len(files), name="reconstructing", enabled=progress, unit="image"
        ) as bar:
            for batch in batches:
                if batch.rows:
                    # The last batch is padded, since another size would be compiled again.
                    padded = pad_batch(batch.images, self.full_batch)
                    rebuilt = self.reconstruct(padded)[: len(batch.rows)]
                    off = batch.images.astype(np.float32) - rebuilt
                    errors[batch.rows] = (off**2).mean(axis=(1, 2, 3))
                bar.update(len(batch.rows) + len(batch.failures))
        return errors


@lru_cache(maxsize=64)
def _read_once(path: str, status: FileStatus) -> dict[str, Any]:
    """Return the metadata of a file with this status."""
    return read_metadata(path)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a ``.keras`` file without importing Keras.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict
        ``image_size``, ``latent_size``, ``resize``, ``training`` (parameters and results),
        ``versions``.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or not an autoencoder of clusterkit.
    """
    return read_document(path, _KIND, _RULES)


def load_autoencoder(path: str | Path) -> Any:
    """Load a whole autoencoder.

    Parameters
    ----------
    path : path
        A ``.keras`` file of ``clusterkit train autoencoder``.

    Returns
    -------
    keras.Model
        From pixels (n, height, width, 3) in [0, 255] to reconstructions in [0, 1]; the output of
        the layer ``latent`` is the vectors.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or not an autoencoder of clusterkit.
    """
    metadata = read_metadata(path)
    shape = [*metadata["image_size"], 3]
    latent = {LATENT_LAYER: metadata["latent_size"]}
    return load_network(path, input_shape=shape, output_shape=shape, layers=latent)


def save_autoencoder(model: Any, path: Path, metadata: dict[str, Any]) -> None:
    """Write an autoencoder with its metadata atomically.

    Parameters
    ----------
    model : keras.Model
        The whole autoencoder.
    path : pathlib.Path
        The ``.keras`` file; an existing file is replaced.
    metadata : dict
        JSON-able metadata for :func:`read_metadata`.
    """
    save_network(model, path, _KIND, metadata)


def to_pixels(outputs: Any) -> NDArray[np.uint8]:
    """Convert outputs in [0, 1] to uint8 pixels."""
    return np.rint(np.clip(np.asarray(outputs), 0, 1) * 255).astype(np.uint8)
