"""Train the convolutional autoencoder on the user's own images."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit import __version__
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.autoencoder.batches import Batches, open_pixels
from clusterkit.extractors.autoencoder.extractor import LATENT_LAYER, save_autoencoder, to_pixels
from clusterkit.extractors.autoencoder.network import build_autoencoder, whiten
from clusterkit.images.folder import ImageFolder
from clusterkit.images.pixels import check_pixels, to_rgb
from clusterkit.networks.training import TrainingBar
from clusterkit.utils.files import check_output

# Without a number of epochs, the network sees about this many pictures, within these limits:
# a few hundred photos and tens of thousands of digits then train for about the same time.
_PICTURES_SEEN = 50_000
_EPOCHS = (3, 75)
_MANY = 10_000
_LEARNING_RATE = 1e-3
_N_SAMPLES = 8
# Enough for the covariance of the latent numbers, and little memory.
_N_WHITENING = 5000


@dataclass
class TrainingReport:
    """What a training did and reached.

    Attributes
    ----------
    output : pathlib.Path
        The ``.keras`` file.
    images : int
        Images given.
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
        Up to 8 validation images, and what the autoencoder makes of them.
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
        """How many epochs were run."""
        return len(self.history["loss"])

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
    images: ImageFolder | NDArray[np.uint8],
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
    random_state: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> TrainingReport:
    """Train a convolutional autoencoder and write it to a ``.keras`` file.

    Images are decoded once into a scratch file beside the output and streamed from there, so
    memory stays flat however many there are.  The same images, parameters and seed give the same
    network on the same machine.  Keras's global seeds are set.

    Parameters
    ----------
    images : ImageFolder or ndarray of shape (n, height, width[, 3]), uint8
        What to learn from.  Files that cannot be read are skipped and listed.
    output : path
        The file to write, ending in ``.keras``.
    image_size : int or tuple of int
        Side, or (height, width), in pixels, that pictures from files are brought to.  An array's
        own size is kept.
    latent_size : int, optional
        Length of a vector; see
        :func:`~clusterkit.extractors.autoencoder.network.build_autoencoder`.
    depth : int
        How often the picture is halved.  More saves numbers and blurs.
    epochs : int, optional
        At most so many passes over the images.  By default 3 to 75, so that about 50,000
        pictures are seen.
    validation_split : float
        Share of the images that is kept out of the training, to stop in time and to measure; at
        least one image.
    patience : int, optional
        Stop after so many epochs without a lower validation loss; by default a quarter of
        ``epochs``, at least 5.  The best epoch's weights are kept.
    batch_size : int, optional
        Images per step; by default 16, and 64 from 10,000 images on.
    resize : {"stretch", "crop", "pad"}
        How pictures are brought to one size; see :func:`clusterkit.images.resizing.resize_image`.
    random_state : int
        Seed of the split, the order, the augmentation and the network's first weights.
    overwrite : bool
        Whether an existing output may be replaced.
    progress : bool
        Draw a progress bar on stderr; plain lines where that is no terminal.

    Returns
    -------
    TrainingReport
        The history, the validation PSNR, and pictures to look at.

    Raises
    ------
    InvalidInputError
        If a parameter is out of range, or fewer than two images can be read.
    OutputExistsError
        If the output exists and ``overwrite`` is false.
    """
    started = time.monotonic()
    output = check_output(output, overwrite=overwrite)
    if output.suffix != ".keras":
        raise InvalidInputError(f"the output's name must end in .keras. Received: {output}")
    _check(epochs, validation_split, patience, batch_size)
    if isinstance(images, np.ndarray):
        images = to_rgb(check_pixels(images))
        image_size = images.shape[1], images.shape[2]
    elif isinstance(image_size, int):
        image_size = image_size, image_size
    keras.utils.set_random_seed(random_state)
    model = build_autoencoder(image_size, latent_size=latent_size, depth=depth)
    with open_pixels(
        images, image_size, resize=resize, scratch=output.parent, progress=progress
    ) as (pixels, failures):
        rows = _split(len(pixels), validation_split, failures, random_state)
        # Few images make few steps in an epoch, unless these are small.
        size = batch_size or (64 if len(rows[0]) >= _MANY else 16)
        training = Batches(pixels, rows[0], size, random_state=random_state)
        validation = Batches(pixels, rows[1], size)
        history, best_epoch = _fit(
            model,
            training,
            validation,
            epochs=epochs or int(np.clip(_PICTURES_SEEN // len(rows[0]), *_EPOCHS)),
            patience=patience,
            progress=progress,
        )
        whiten(model, _encode(model, Batches(pixels, rows[0][:_N_WHITENING], size)))
        psnr = _measure_psnr(model, validation)
        originals = pixels[rows[1][:_N_SAMPLES]]
    report = TrainingReport(
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
        "random_state": random_state,
    }
    save_autoencoder(model, output, _metadata(report, resize, parameters))
    return report


def _check(
    epochs: int | None,
    validation_split: float,
    patience: int | None,
    batch_size: int | None,
) -> None:
    """Refuse parameters out of range before any work is done."""
    for name, value in (("epochs", epochs), ("patience", patience), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise InvalidInputError(f"{name} must be at least 1. Received: {name}={value}")
    if not 0 < validation_split < 1:
        raise InvalidInputError(
            "validation_split must be between 0 and 1, both excluded. "
            f"Received: validation_split={validation_split}"
        )


def _split(
    n: int, share: float, failures: list[tuple[str, str]], random_state: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw the rows to learn from and the rows to measure on."""
    if n < 2:
        reasons = "".join(f"; {path}: {reason}" for path, reason in failures[:3])
        raise InvalidInputError(
            f"training needs at least 2 readable images. Received: {n}{reasons}"
        )
    rows = np.random.default_rng(random_state).permutation(n)
    n_validation = min(max(1, round(share * n)), n - 1)
    return rows[n_validation:], rows[:n_validation]


def _fit(
    model: keras.Model,
    training: Batches,
    validation: Batches,
    *,
    epochs: int,
    patience: int | None,
    progress: bool,
) -> tuple[dict[str, list[float]], int]:
    """Train until the validation loss no longer falls; return the history and the best epoch."""
    steps = epochs * len(training)
    warmup = min(100, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        _LEARNING_RATE / 100,
        decay_steps=max(steps - warmup, 1),
        alpha=0.01,
        warmup_target=_LEARNING_RATE,
        warmup_steps=warmup,
    )
    # TensorFlow's XLA has slow convolutions on a CPU; without JAX's there is no speed at all.
    compiled: Any = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss="mse", jit_compile=compiled)
    stop = keras.callbacks.EarlyStopping(
        patience=patience or max(5, epochs // 4), restore_best_weights=True
    )
    history = model.fit(
        training,
        validation_data=validation,
        epochs=epochs,
        callbacks=[stop, TrainingBar(len(training.rows), enabled=progress)],
        shuffle=False,
        verbose=0,
    ).history
    losses = {name: [float(value) for value in history[name]] for name in ("loss", "val_loss")}
    return losses, stop.best_epoch + 1


def _encode(model: keras.Model, batches: Batches) -> NDArray[np.float32]:
    """Return the latent vectors of some images."""
    encoder = keras.Model(model.input, model.get_layer(LATENT_LAYER).output)
    return np.asarray(encoder.predict(batches, verbose=0))


def _measure_psnr(model: keras.Model, batches: Batches) -> float:
    """Return the mean PSNR over all images, in decibels."""
    values = []
    for index in range(len(batches)):
        images, targets = batches[index]
        outputs = np.clip(np.asarray(model.predict_on_batch(images)), 0, 1)
        errors = np.square(outputs - targets).mean(axis=(1, 2, 3))
        values.extend(-10 * np.log10(np.maximum(errors, 1e-10)))
    return float(np.mean(values))


def _metadata(report: TrainingReport, resize: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what travels inside the file."""
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
