"""The last layer of a transferred network: logistic regression on features."""

from collections.abc import Iterator

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import Task
from clusterkit.classifiers.training.calibration import apply_temperature, calibrate
from clusterkit.classifiers.training.fitting import Part, TrainedNetwork, balance_classes
from clusterkit.classifiers.training.networks import HEAD
from clusterkit.utils.parallel import workers

_FOLDS = 5
# From a prediction of little more than class frequencies to overfitting, three per decade.
_PENALTIES = np.logspace(-1, -6, 16)
_PATIENCE = 4
_STEPS = 60
_TINY = np.float32(1e-12)

# A layer's kernel of shape (dimension, n_outputs), and its bias.
Weights = tuple[NDArray[np.float32], NDArray[np.float32]]


def train_head(task: Task, part: Part, *, balance: str | None, random_state: int) -> TrainedNetwork:
    """Train a last layer by logistic regression, with the L2 penalty chosen by cross-validation.

    The loss is convex, so training needs no early stopping.  Instead the penalty is reduced step by
    step, and each step is an epoch of the history.  The out-of-fold predictions of five-fold
    cross-validation determine the best penalty, the temperature and the thresholds.  The returned
    layer is trained on all images.

    Parameters
    ----------
    task : Task
        The task.
    part : tuple of (vectors, truth)
        Features of shape (n, dimension), float32, and classes of shape (n, n_classes), bool.
    balance : {"auto", "weights", "oversample"} or None
        See :class:`~clusterkit.classifiers.classifier.Classifier`; ``"oversample"`` is the same as
        weights, since there is no augmentation.
    random_state : int
        Seed of the folds.

    Returns
    -------
    TrainedNetwork
        A network of one layer, from features to probabilities.  In its history, ``loss`` is that of
        the layer trained on all images, and ``val_loss`` that of cross-validation.
    """
    vectors, truth = part
    targets = task.targets(truth)
    weights, repeats = balance_classes(task, truth, balance)
    if repeats is not None:
        weights = repeats.astype(np.float32)
    fold = _draw_folds(truth, random_state)
    parts = [fold != number for number in range(fold.max() + 1)]
    history: dict[str, list[float]] = {}
    best_epoch, held_out = 0, targets
    with workers() as spread:
        basis, coordinates = _reduce(vectors)
        paths = [
            _fit_with_each_penalty(coordinates[rows], targets[rows], weights[rows], task)
            for rows in [*parts, slice(None)]
        ]
        for epoch in range(1, len(_PENALTIES) + 1):
            *layers, whole = spread(next, paths)
            outputs = np.empty_like(targets)
            for rows, layer in zip(parts, layers, strict=True):
                outputs[~rows] = _predict(task, layer, coordinates[~rows])
            record_epoch(history, "", task, targets, _predict(task, whole, coordinates))
            record_epoch(history, "val_", task, targets, outputs)
            if min(history["val_loss"]) == history["val_loss"][-1]:
                best_epoch, held_out = epoch, outputs
                kernel, bias = whole
            elif epoch - best_epoch == _PATIENCE:
                break
    temperature, thresholds = calibrate(task, held_out, truth)
    head = _build(task, basis @ kernel, bias)
    apply_temperature(head.layers[-1], temperature)
    return TrainedNetwork(head, history, best_epoch, temperature, thresholds)


def _reduce(
    vectors: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return an orthonormal basis, and the coordinates of the vectors in it.

    If there are fewer images than dimensions, these span a smaller space.  The loss and its penalty
    do not depend on the basis, and shorter vectors take less time.
    """
    if len(vectors) >= vectors.shape[1]:
        return np.eye(vectors.shape[1], dtype=np.float32), vectors
    basis, triangle = np.linalg.qr(vectors.T)
    return basis, np.ascontiguousarray(triangle.T)


def _draw_folds(truth: NDArray[np.bool_], random_state: int) -> NDArray[np.intp]:
    """Assign the images to stratified folds."""
    order = np.random.default_rng(random_state).permutation(len(truth))
    order = order[np.argsort(truth[order].argmax(axis=1), kind="stable")]
    fold = np.empty(len(truth), np.intp)
    fold[order] = np.arange(len(truth)) % min(_FOLDS, len(truth))
    return fold


def _fit_with_each_penalty(
    vectors: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    task: Task,
) -> Iterator[Weights]:
    """Yield the layer for each penalty, each initialised with the previous one.

    The features are centred and scaled by a common factor to a mean squared length of 1, so that
    the same penalties suit every network, and features of small variance stay small.
    """
    from scipy.optimize import minimize

    mean = vectors.mean(axis=0)
    centred = vectors - mean
    scale = np.sqrt(np.square(centred).sum(axis=1).mean()) + _TINY
    centred /= scale
    share = (weights / weights.sum())[:, None]
    shape = vectors.shape[1] + 1, targets.shape[1]
    found = np.zeros(shape).ravel()

    def loss(flat: NDArray[np.float64], strength: float) -> tuple[float, NDArray[np.float64]]:
        """Return the weighted mean log loss with its penalty, and the gradient."""
        kernel, bias = np.split(flat.reshape(shape).astype(np.float32), [-1])
        logits = centred @ kernel + bias
        errors = (task.activate(logits) - targets) * share
        gradient = np.vstack([centred.T @ errors + strength * kernel, errors.sum(axis=0)])
        penalty = strength / 2 * float(np.square(kernel).sum())
        return float((task.log_losses(logits, targets) * share[:, 0]).sum()) + penalty, gradient

    for strength in _PENALTIES:
        options = {"maxiter": _STEPS}
        found = minimize(loss, found, strength, jac=True, method="L-BFGS-B", options=options).x
        kernel, bias = np.split(found.reshape(shape).astype(np.float32), [-1])
        kernel /= scale
        yield kernel, bias[0] - mean @ kernel


def _predict(task: Task, layer: Weights, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a layer's outputs."""
    kernel, bias = layer
    return task.activate(vectors @ kernel + bias)


def record_epoch(
    history: dict[str, list[float]],
    prefix: str,
    task: Task,
    targets: NDArray[np.float32],
    outputs: NDArray[np.float32],
) -> None:
    """Append loss and accuracy to a history, as Keras defines them."""
    loss = np.mean(np.asarray(keras.losses.get(task.loss)(targets, outputs)))
    history.setdefault(f"{prefix}loss", []).append(float(loss))
    history.setdefault(f"{prefix}accuracy", []).append(task.accuracy(targets, outputs))


def _build(task: Task, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> keras.Model:
    """Build a network of one layer with the given weights."""
    inputs = keras.Input(kernel.shape[:1], name="features")
    last = keras.layers.Dense(task.n_outputs, activation=task.activation)
    head = keras.Model(inputs, last(inputs), name=HEAD)
    last.set_weights([kernel, bias])
    return head
