"""What a training found."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Learned:
    """What a training found.

    Attributes
    ----------
    network : keras.Model
        The network, with the weights of the best epoch.
    history : dict of str to list of float
        Loss and accuracy of training and validation, one value an epoch.
    best_epoch : int
        The epoch, counted from 1, of the lowest validation loss.
    temperature : float
        By which the last layer was divided.
    thresholds : ndarray of shape (n_classes,), or None
        For several labels an image: the probabilities from which on classes are predicted.
    """

    network: keras.Model
    history: dict[str, list[float]]
    best_epoch: int
    temperature: float
    thresholds: NDArray[np.float64] | None
