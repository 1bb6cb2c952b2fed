"""Training batches, in an order that depends on the seed and the epoch only."""

import math

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import MULTILABEL, Task
from clusterkit.datasets.split import MAX_RATIO, class_weights
from clusterkit.networks.runtimes.keras import to_computed


class LabelledBatches(keras.utils.PyDataset):
    """Batches of (inputs, targets, weights).

    Parameters
    ----------
    inputs : ndarray of shape (n, ...) or (n_variants, n, ...)
        Pixels, vectors or activations. If there are variants of each image, an epoch shows one.
    targets : ndarray of shape (n, ...), float32
        The expected outputs.
    weights : ndarray of shape (n, ...), float32
        Sample weights.
    batch_size : int
        Images per batch; the last may hold fewer.
    random_state : int
        Seed.
    repeats : ndarray of shape (n,), optional
        Mean number of times that an epoch shows each image; at least 1.
    n_variants : int
        Number of variants of each image; 1 if ``inputs`` has no axis for them.
    """

    def __init__(
        self,
        inputs: NDArray[np.generic],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        random_state: int,
        repeats: NDArray[np.float64] | None = None,
        n_variants: int = 1,
    ) -> None:
        super().__init__()
        self.inputs = inputs if n_variants > 1 else inputs[None]
        self.targets = targets
        self.weights = weights
        self.batch_size = batch_size
        self.random_state = random_state
        repeats = np.ones(len(targets)) if repeats is None else repeats
        # Every epoch shows the same number of images.
        self.n_shown = math.ceil(repeats.sum() * (1 - 1e-12))
        self.repeats = repeats * (self.n_shown / repeats.sum())
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch, counted from 0; the same epoch has the same order.

        The number of times that each image is shown is drawn by systematic sampling: images in
        random order take as much space on a line as they have repeats, and points at equal
        distances select them.
        """
        self.epoch = epoch
        rng = np.random.default_rng((self.random_state, epoch))
        draws = rng.random(len(self.repeats))
        order, offset = np.argsort(draws), draws.sum() % 1
        ends = np.minimum(np.floor(np.cumsum(self.repeats[order]) + offset), self.n_shown)
        ends[-1] = self.n_shown
        times = np.diff(ends.astype(int), prepend=0)
        self.rows = rng.permutation(np.repeat(np.arange(len(times)), times[np.argsort(order)]))
        self.variants = rng.integers(len(self.inputs), size=len(self.rows))

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return math.ceil(self.n_shown / self.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.generic], ...]:
        """Return one batch."""
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        rows = self.rows[part]
        inputs = to_computed(self.inputs[self.variants[part], rows])
        return inputs, self.targets[rows], self.weights[rows]


def balance_classes(
    task: Task, truth: NDArray[np.bool_], balance: str | None
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    """Return sample weights, or numbers of repetitions, that balance the classes.

    Parameters
    ----------
    task : Task
        The task; a multilabel one is not balanced.
    truth : ndarray of shape (n, n_classes), bool
        The classes of the training images.
    balance : {"auto", "weights", "oversample"} or None
        See :class:`~clusterkit.classifiers.classifier.Classifier`.

    Returns
    -------
    weights : ndarray of shape (n,), float32
        Sample weights, of mean 1.
    repeats : ndarray of shape (n,), or None
        Mean number of times that an epoch shows each image.
    """
    even = np.ones(len(truth), np.float32)
    if balance is None or task.kind == MULTILABEL:
        return even, None
    wanted = class_weights(truth.sum(axis=0), max_ratio=MAX_RATIO if balance == "auto" else 1.0)
    if wanted is None:
        return even, None
    weights = wanted[truth.argmax(axis=1)]
    if balance == "oversample":
        return even, weights / weights.min()
    return weights.astype(np.float32), None
