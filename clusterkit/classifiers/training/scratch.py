"""Train a whole network from scratch."""

from collections.abc import Callable

import keras

from clusterkit.classifiers.tasks import HEAD, Task
from clusterkit.classifiers.training.calibration import apply_temperature, calibrate
from clusterkit.classifiers.training.fitting import Fitting, Learned, Part, fit_network
from clusterkit.classifiers.training.sequences import LabelledBatches, balance_classes
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.applications import dtype_policy
from clusterkit.networks.runtimes.keras import run_network

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def learn_network(
    build: Callable[[], keras.Model],
    task: Task,
    training: Part,
    validation: Part,
    fitting: Fitting,
) -> Learned:
    """Train a whole network.

    Parameters
    ----------
    build : callable
        Returns the network, which ends in a layer called ``HEAD``.
    task : Task
        The task.
    training, validation : tuple of (pixels, truth)
        Images and their classes.
    fitting : Fitting
        Parameters of the training.

    Returns
    -------
    Learned
        The network, in float32 regardless of the precision of the training.

    Raises
    ------
    InvalidInputError
        If the training diverges.
    """
    with dtype_policy(_POLICIES[fitting.precision]):
        network = build()
    inputs, truth = training
    weights, repeats = balance_classes(task, truth, fitting.balance)
    batches = LabelledBatches(
        inputs,
        task.targets(truth),
        weights,
        batch_size=fitting.batch_size,
        random_state=fitting.random_state,
        repeats=repeats,
    )
    held_out = validation[0], task.targets(validation[1])
    history, best_epoch = fit_network(network, task, batches, held_out, fitting)
    if not best_epoch:
        raise InvalidInputError(
            "the training diverged: no epoch has a finite validation loss. Try a lower learning "
            f"rate. Received: learning_rate={fitting.learning_rate}"
        )
    if fitting.precision != "float32":
        trained, network = network, build()
        network.set_weights(trained.get_weights())
    temperature, thresholds = calibrate(task, run_network(network, validation[0]), validation[1])
    apply_temperature(network.get_layer(HEAD), temperature)
    return Learned(network, history, best_epoch, temperature, thresholds)
