"""Calibrate probabilities by temperature scaling, and choose thresholds for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import MULTICLASS, MULTILABEL, Task

# Outputs are float32, which represent no probability nearer to 1.
_NEAREST = 1e-7
_LIMITS = (0.05, 20.0)
_TINY = 1e-9


def fit_temperature(
    task: Task, outputs: NDArray[np.float32], indicators: NDArray[np.bool_]
) -> float:
    """Find the temperature of the lowest log loss on held-out images.

    Dividing the logits by a positive number changes the confidence of a network, but never which
    class is the most probable (Guo et al. 2017, "On Calibration of Modern Neural Networks", section
    4.2).  A log-normal prior of scale 1 keeps the temperature near 1 for few images; otherwise a
    few correct predictions would give probabilities of almost 1.

    Parameters
    ----------
    task : Task
        The task.
    outputs : ndarray of shape (n, n_outputs)
        Outputs of the network for images that are not in the training set.
    indicators : ndarray of shape (n, n_classes), bool
        Their classes.

    Returns
    -------
    float
        Above 1 if the network is overconfident.

    Examples
    --------
    >>> task = Task.from_labels(["cat", "dog"])
    >>> dogs = np.repeat([[0, 1], [1, 0], [1, 0], [0, 1]], 50, axis=0).astype(bool)
    >>> fit_temperature(task, np.repeat([[0.99], [0.99], [0.01], [0.01]], 50, axis=0), dogs) > 5
    True
    """
    from scipy.optimize import minimize_scalar

    logits, targets = _logits(task, outputs), task.targets(indicators)

    def loss(log_temperature: float) -> float:
        losses = task.log_losses(logits / np.exp(log_temperature), targets)
        return float(losses.sum()) + log_temperature**2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_LIMITS), method="bounded").x))


def calibrate(
    task: Task, outputs: NDArray[np.float32], indicators: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64] | None]:
    """Fit the temperature and, for multilabel tasks, the thresholds of calibrated probabilities.

    Parameters
    ----------
    task, outputs, indicators
        As for :func:`fit_temperature`.

    Returns
    -------
    temperature : float
        For :func:`apply_temperature`.
    thresholds : ndarray of shape (n_classes,), or None
        See :func:`choose_thresholds`; None for other tasks.
    """
    temperature = fit_temperature(task, outputs, indicators)
    if task.kind != MULTILABEL:
        return temperature, None
    return temperature, choose_thresholds(
        indicators, task.activate(_logits(task, outputs) / temperature)
    )


def choose_thresholds(
    truth: NDArray[np.bool_], probabilities: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Choose for each class the threshold of the highest F1.

    F1 is computed with the mean of truth and probability as the truth of each image.  For a rare
    class, the true labels of few images alone would give a threshold by chance; probabilities alone
    give the threshold of the highest expected F1 (Lipton et al. 2014, "Optimal Thresholding of
    Classifiers to Maximize F1 Measure") if they are well calibrated.  Ties are broken by the F1 of
    all classes together.

    Parameters
    ----------
    truth : ndarray of shape (n, n_classes), bool
        The classes of each image.
    probabilities : ndarray of shape (n, n_classes)
        Calibrated predictions for images that are not in the training set.

    Returns
    -------
    ndarray of shape (n_classes,), float64
        The thresholds, in (0, 1).
    """
    grid = np.linspace(0.02, 0.9, 89)
    shown = (truth + probabilities) / 2
    hits, size = np.empty((2, shown.shape[1], len(grid)))
    # One after the other: all at once would take 89 times the memory of the probabilities.
    for place, threshold in enumerate(grid):
        predicted = probabilities >= threshold
        hits[:, place] = (predicted * shown).sum(axis=0)
        size[:, place] = predicted.sum(axis=0) + shown.sum(axis=0)
    common = hits.sum(axis=0) / np.maximum(size.sum(axis=0), _TINY)
    own = hits / np.maximum(size, _TINY)
    return grid[(own + 1e-6 * common).argmax(axis=1)]


def apply_temperature(layer: Any, temperature: float) -> None:
    """Divide the logits of a dense layer by scaling its weights."""
    layer.set_weights([weights / np.float32(temperature) for weights in layer.get_weights()])


def _logits(task: Task, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return logits of the last layer that give these outputs."""
    probabilities = np.clip(np.asarray(outputs, float), _NEAREST, 1 - _NEAREST)
    logits = np.log(probabilities)
    return logits if task.kind == MULTICLASS else logits - np.log1p(-probabilities)
