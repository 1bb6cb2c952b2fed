"""Probabilities that come true as often as they say: temperature scaling."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import MULTICLASS, MULTILABEL, Task, choose_thresholds

# Outputs are float32: nothing nearer to 0 or 1 can be told from them.
_NEAREST = 1e-7
_LIMITS = (0.05, 20.0)


def fit_temperature(
    task: Task, outputs: NDArray[np.float32], indicators: NDArray[np.bool_]
) -> float:
    """Find the temperature that makes probabilities fit what is known of held-out images.

    Dividing the last layer's sums by one number above 0 changes how sure a network is, and never
    which class is the most probable (Guo et al. 2017, "On Calibration of Modern Neural Networks",
    section 4.2).  Here it is the number of the lowest log loss, drawn towards 1 by a log-normal
    prior of scale 1: a few images that are all predicted right would else make the network
    certain of everything.

    Parameters
    ----------
    task : Task
        What the network was asked.
    outputs : ndarray of shape (n, n_outputs)
        Its outputs for images that it did not learn from.
    indicators : ndarray of shape (n, n_classes), bool
        Which classes they show.

    Returns
    -------
    float
        Above 1 where the network was too sure.

    Examples
    --------
    >>> task = Task.from_labels(["cat", "dog"])
    >>> dogs = np.repeat([[0, 1], [1, 0], [1, 0], [0, 1]], 50, axis=0).astype(bool)
    >>> fit_temperature(task, np.repeat([[0.99], [0.99], [0.01], [0.01]], 50, axis=0), dogs) > 5
    True
    """
    from scipy.optimize import minimize_scalar

    sums, targets = _sums(task, outputs), task.targets(indicators)

    def loss(log_temperature: float) -> float:
        losses = task.log_losses(sums / np.exp(log_temperature), targets)
        return float(losses.sum()) + log_temperature**2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_LIMITS), method="bounded").x))


def calibrate(
    task: Task, outputs: NDArray[np.float32], indicators: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64] | None]:
    """Fit the temperature, and for several labels an image the thresholds behind it.

    Parameters
    ----------
    task, outputs, indicators
        As for :func:`fit_temperature`.

    Returns
    -------
    temperature : float
        For :func:`apply_temperature`.
    thresholds : ndarray of shape (n_classes,), or None
        As of :func:`~clusterkit.classifiers.tasks.choose_thresholds`.
    """
    temperature = fit_temperature(task, outputs, indicators)
    if task.kind != MULTILABEL:
        return temperature, None
    return temperature, choose_thresholds(
        indicators, task.activate(_sums(task, outputs) / temperature)
    )


def apply_temperature(layer: Any, temperature: float) -> None:
    """Divide what a dense layer puts into its activation, so that the network stays a plain one."""
    layer.set_weights([weights / np.float32(temperature) for weights in layer.get_weights()])


def _sums(task: Task, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return sums of a last layer that make these outputs."""
    probabilities = np.clip(np.asarray(outputs, float), _NEAREST, 1 - _NEAREST)
    logits = np.log(probabilities)
    return logits if task.kind == MULTICLASS else logits - np.log1p(-probabilities)
