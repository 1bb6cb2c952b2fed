"""Train the convolutional autoencoder on the user's own images."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit import __version__
from clusterkit.datasets.results import Result
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.autoencoder.batches import PictureBatches, open_pixels
from clusterkit.extractors.autoencoder.extractor import LATENT_LAYER, save_autoencoder, to_pixels
from clusterkit.extractors.autoencoder.network import build_autoencoder, whiten
from clusterkit.images.folder import ImageFolder, as_image_folder
from clusterkit.images.pixels import check_pixels, to_rgb
from clusterkit.images.resizing import check_resize_mode
from clusterkit.networks.training import BestEpoch, compile_network, fit_epochs
from clusterkit.utils.arguments import as_list, as_plain, check_at_least, draw_seed, is_number
from clusterkit.utils.files import check_output, locked_output
from clusterkit.utils.text import plural

# Without a number of epochs, the network sees about this many pictures, within these limits:
# a few hundred photos and tens of thousands of digits then train for about the same time.
_PICTURES_SEEN = 50_000
_EPOCHS = (3, 75)
_MANY = 10_000
_LEARNING_RATE = 1e-3
_N_SAMPLES = 8
# Enough for the covariance of the latent numbers, and little memory.
_N_WHITENING = 5000


@dataclass(frozen=True, eq=False, repr=False)
class AutoencoderTraining(Result):
    """Result of :func:`train_autoencoder`.

    Attributes
    ----------
    output : pathlib.Path
        The ``.keras`` file.
    images : int
        Number of given images.
    failures : list of (str, str)
        Path and reason of every image that could not be read.
    image_size : tuple of int
        (height, width) in pixels.
    latent_size : int
        Length of a vector.
    history : dict of str to list of float
        ``loss`` and ``val_loss`` (mean squared error, pixels on the scale 0-1), one value per
        epoch.
    best_epoch : int
        The epoch, counted from 1, whose weights were kept: the lowest validation loss.
    psnr : float
        Mean over the validation images of 10 log10(1 / mean squared error), in decibels.
    seconds : float
        Wall time, decoding included.
    originals, reconstructions : ndarray of shape (n, height, width, 3), uint8
        Up to 8 validation images, and their reconstructions.
    """

    output: Path
    images: int
    failures: list[tuple[str, str]]
    image_size: tuple[int, int]
    latent_size: int
    history: dict[str, list[float]]
    best_epoch: int
    psnr: float
    seconds: float
    originals: NDArray[np.uint8] = field(repr=False)
    reconstructions: NDArray[np.uint8] = field(repr=False)

    @property
    def epochs(self) -> int:
        """Number of epochs that were run."""
        return len(self.history["loss"])

    def to_text(self) -> str:
        """Return the figures of the training, as one line."""
        return (
            f"{plural(self.images - len(self.failures), 'image')}, {plural(self.epochs, 'epoch')} "
            f"in {self.seconds:.0f} s: validation PSNR {self.psnr:.1f} dB with "
            f"{self.latent_size} numbers per image"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-able document; losses are those of the best epoch."""
        return {
            "output": str(self.output),
            "images": self.images,
            "failed": len(self.failures),
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
            "image_size": list(self.image_size),
            "latent_size": self.latent_size,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "loss": self.history["loss"][self.best_epoch - 1],
            "val_loss": self.history["val_loss"][self.best_epoch - 1],
            "psnr": self.psnr,
            "seconds": self.seconds,
            "history": self.history,
        }


def train_autoencoder(
    images: ImageFolder | NDArray[np.uint8] | str | Path | list[Any],
    output: str | Path,
    *,
    image_size: int | tuple[int, int] = 128,
    latent_size: int | None = None,
    depth: int = 3,
    epochs: int | None = None,
    validation_split: float = 0.1,
    patience: int | None = None,
    batch_size: int | None = None,
    resize: str = "stretch",
    random_state: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> AutoencoderTraining:
    """Train a convolutional autoencoder and write it to a ``.keras`` file.

    Images are decoded once into a scratch file beside the output and streamed from there, so
    memory use does not grow with their number.  The same images, parameters and seed give the same
    network on the same machine.  Keras's global seeds are set.

    Parameters
    ----------
    images : ImageFolder, path, list of paths, or ndarray of shape (n, height, width[, 3]), uint8
        The images.  Files that cannot be read are skipped and listed in ``failures``.
    output : path
        The file to write, ending in ``.keras``.
    image_size : int or tuple of int
        Side, or (height, width), in pixels to which files are resized.  Arrays keep their size.
    latent_size : int, optional
        Length of a vector; see
        :func:`~clusterkit.extractors.autoencoder.network.build_autoencoder`.
    depth : int
        Number of times the picture is halved.  A deeper network is smaller, and blurs more.
    epochs : int, optional
        Maximum number of epochs; by default 3 to 75, so that about 50,000 images are seen in all.
    validation_split : float
        Share of the images that is held out for early stopping and for the PSNR; at least one
        image.
    patience : int, optional
        Number of epochs without improvement after which training stops; by default a quarter of
        ``epochs``, at least 5.  The weights of the best epoch are kept.
    batch_size : int, optional
        Images per step; by default 16, and 64 from 10,000 images on.
    resize : {"stretch", "crop", "pad"}
        How files are resized; see :func:`clusterkit.images.resizing.resize_image`.
    random_state : int, optional
        Seed of the split, the order, the augmentation and the network's first weights; random by
        default.
    overwrite : bool
        Whether an existing output may be replaced.
    progress : bool
        Whether to show a progress bar on stderr, or plain lines if that is not a terminal.

    Returns
    -------
    AutoencoderTraining
        The history, the validation PSNR, and example reconstructions.

    Raises
    ------
    InvalidInputError
        If a parameter is out of range, fewer than two images can be read, or another run is
        training the same output.
    OutputExistsError
        If the output exists and ``overwrite`` is false.
    """
    started = time.monotonic()
    output = check_output(output, overwrite=overwrite)
    if output.suffix != ".keras":
        raise InvalidInputError(f"the output's name must end in .keras. Received: {output}")
    numbers = (latent_size, depth, epochs, patience, batch_size)
    latent_size, depth, epochs, patience, batch_size = map(as_plain, numbers)
    _check(epochs, validation_split, patience, batch_size)
    check_resize_mode(resize)
    if isinstance(images, np.ndarray):
        images = to_rgb(check_pixels(images))
        image_size = images.shape[1], images.shape[2]
    else:
        images = as_image_folder(images)
        image_size = _as_size(image_size)
    seed = draw_seed(random_state)
    keras.utils.set_random_seed(seed)
    model = build_autoencoder(image_size, latent_size=latent_size, depth=depth)
    with (
        locked_output(output),
        open_pixels(
            images, image_size, resize=resize, scratch=output.parent, progress=progress
        ) as (pixels, failures),
    ):
        rows = _split(len(pixels), validation_split, failures, seed)
        # Few images make few steps in an epoch, unless these are small.
        size = batch_size or (64 if len(rows[0]) >= _MANY else 16)
        training = PictureBatches(pixels, rows[0], size, random_state=seed)
        validation = PictureBatches(pixels, rows[1], size)
        history, best_epoch = _fit(
            model,
            training,
            validation,
            epochs=epochs or int(np.clip(_PICTURES_SEEN // len(rows[0]), *_EPOCHS)),
            patience=patience,
            progress=progress,
        )
        whiten(model, _encode(model, PictureBatches(pixels, rows[0][:_N_WHITENING], size)))
        psnr = _measure_psnr(model, validation)
        originals = pixels[rows[1][:_N_SAMPLES]]
    report = AutoencoderTraining(
        output=output,
        images=len(images),
        failures=failures,
        image_size=image_size,
        latent_size=model.get_layer(LATENT_LAYER).output.shape[-1],
        history=history,
        best_epoch=best_epoch,
        psnr=psnr,
        seconds=time.monotonic() - started,
        originals=originals,
        reconstructions=to_pixels(model.predict_on_batch(originals)),
    )
    parameters = {
        "latent_size": latent_size,
        "depth": depth,
        "epochs": epochs,
        "validation_split": validation_split,
        "patience": patience,
        "batch_size": size,
        "random_state": seed,
    }
    save_autoencoder(model, output, _metadata(report, resize, parameters))
    return report


def _as_size(given: Any) -> tuple[int, int]:
    """Return a height and width, given as such or as one number for both."""
    sides = [check_at_least(side, 1, "image_size") for side in as_list(given)]
    if len(sides) not in (1, 2):
        raise InvalidInputError(
            f"image_size must be a number of pixels, or a height and width. Received: {given!r}"
        )
    return sides[0], sides[-1]


def _check(
    epochs: int | None,
    validation_split: float,
    patience: int | None,
    batch_size: int | None,
) -> None:
    """Raise InvalidInputError if a parameter is out of range."""
    for name, value in (("epochs", epochs), ("patience", patience), ("batch_size", batch_size)):
        if value is not None:
            check_at_least(value, 1, name)
    if not (is_number(validation_split) and 0 < validation_split < 1):
        raise InvalidInputError(
            "validation_split must be between 0 and 1, both excluded. "
            f"Received: validation_split={validation_split!r}"
        )


def _split(
    n: int, share: float, failures: list[tuple[str, str]], seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw training and validation rows."""
    if n < 2:
        reasons = "".join(f"; {path}: {reason}" for path, reason in failures[:3])
        raise InvalidInputError(
            f"training needs at least 2 readable images. Received: {n}{reasons}"
        )
    rows = np.random.default_rng(seed).permutation(n)
    n_validation = min(max(1, round(share * n)), n - 1)
    return rows[n_validation:], rows[:n_validation]


def _fit(
    model: keras.Model,
    training: PictureBatches,
    validation: PictureBatches,
    *,
    epochs: int,
    patience: int | None,
    progress: bool,
) -> tuple[dict[str, list[float]], int]:
    """Train until the validation loss no longer improves; return history and best epoch."""
    steps = epochs * len(training)
    warmup = min(100, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        _LEARNING_RATE / 100,
        decay_steps=max(steps - warmup, 1),
        alpha=0.01,
        warmup_target=_LEARNING_RATE,
        warmup_steps=warmup,
    )
    compile_network(model, keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    best = BestEpoch(patience or max(5, epochs // 4))
    fit_epochs(
        model,
        training,
        validation,
        best,
        n_images=len(training.rows),
        epochs=epochs,
        progress=progress,
    )
    if not best.epoch:
        raise InvalidInputError("the training diverged: no epoch has a finite validation loss")
    return best.history, best.epoch


def _encode(model: keras.Model, batches: PictureBatches) -> NDArray[np.float32]:
    """Return the latent vectors of some images."""
    encoder = keras.Model(model.input, model.get_layer(LATENT_LAYER).output)
    return np.asarray(encoder.predict(batches, verbose=0))


def _measure_psnr(model: keras.Model, batches: PictureBatches) -> float:
    """Return the mean PSNR over all images, in decibels."""
    values: list[float] = []
    for index in range(len(batches)):
        images, targets = batches[index]
        outputs = np.clip(np.asarray(model.predict_on_batch(images)), 0, 1)
        errors = np.square(outputs - targets).mean(axis=(1, 2, 3))
        values.extend(-10 * np.log10(np.maximum(errors, 1e-10)))
    return float(np.mean(values))


def _metadata(
    report: AutoencoderTraining, resize: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Return the metadata in the file."""
    document = report.to_dict()
    results = ("images", "failed", "epochs", "best_epoch", "loss", "val_loss", "psnr")
    return {
        "image_size": document["image_size"],
        "latent_size": document["latent_size"],
        "resize": resize,
        "parameters": parameters,
        "training": {name: document[name] for name in results},
        "versions": {
            "clusterkit": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }
