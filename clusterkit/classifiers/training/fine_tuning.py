"""Fine-tune the top blocks of a pretrained network; the frozen rest runs once per image."""

import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.tasks import Task
from clusterkit.classifiers.training.calibration import apply_temperature, calibrate
from clusterkit.classifiers.training.fitting import (
    FitParameters,
    LabelledBatches,
    Part,
    TrainedNetwork,
    balance_classes,
    fit_network,
)
from clusterkit.classifiers.training.heads import record_epoch, train_head
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.applications import KerasApplication
from clusterkit.networks.runtimes.base import NetworkSource
from clusterkit.networks.runtimes.choose import OpenNetwork
from clusterkit.networks.runtimes.keras import run_network
from clusterkit.utils.memory import available_memory, format_gb
from clusterkit.utils.parallel import default_batch_size
from clusterkit.utils.progress import progress_bar

EPOCHS = 10
# Factor of the learning rate: pretrained weights are changed in small steps.
_RATE = 0.1
_SHIFT, _DROPOUT = 0.1, 0.5
# Maximum size in memory of the activations of the frozen part.
MAX_BYTES = 8 * 2**30


def train_top_blocks(
    task: Task,
    extractor: KerasApplication,
    n_blocks: int,
    training: Part,
    validation: Part,
    parameters: FitParameters,
) -> TrainedNetwork:
    """Train a last layer, then fine-tune it together with the network's top blocks.

    The frozen part is run once for each image and once for its mirror image; each epoch uses one of
    the two.  Batch normalisation keeps its pretrained statistics, since those of a few images are
    poor.  The last layer alone, on the pretrained network, counts as the first epoch, and is the
    result if no later epoch has a lower validation loss.

    Parameters
    ----------
    task : Task
        The task.
    extractor : KerasApplication
        The pretrained network.
    n_blocks : int
        Number of blocks to train; see :func:`find_blocks`.
    training, validation : tuple of (pixels, truth)
        Images of the network's input size, uint8, and their classes.
    parameters : FitParameters
        Parameters of the training; a tenth of the learning rate is used.

    Returns
    -------
    TrainedNetwork
        The whole network, from pixels to probabilities.

    Raises
    ------
    InvalidInputError
        If the network has fewer blocks, or the activations would not fit into memory.
    """
    whole = extractor.build_network()
    cut, top = _split(_find_inner(whole), extractor.network, n_blocks)
    check_memory(len(training[0]), len(validation[0]), cut.shape[1:])
    parameters = replace(parameters, learning_rate=_RATE * parameters.learning_rate)
    activations, held_out = _run_bottom(
        extractor, n_blocks, cut.shape[1:], training[0], validation[0], progress=parameters.progress
    )
    features = run_network(top, activations[0], parameters.batch_size)
    trained = train_head(
        task,
        (features, training[1]),
        balance=parameters.balance,
        random_state=parameters.random_state,
    )
    head = trained.network
    targets = task.targets(training[1]), task.targets(validation[1])
    history: dict[str, list[float]] = {}
    before = run_network(head, run_network(top, held_out, parameters.batch_size))
    record_epoch(history, "", task, targets[0], run_network(head, features))
    record_epoch(history, "val_", task, targets[1], before)
    tuned = keras.Model(cut, head(_add_variation(top, cut, parameters.random_state)))
    weights, repeats = balance_classes(task, training[1], parameters.balance)
    batches = LabelledBatches(
        activations,
        targets[0],
        weights,
        batch_size=parameters.batch_size,
        random_state=parameters.random_state,
        repeats=repeats,
        n_variants=2,
    )
    later, best_epoch = fit_network(
        tuned, task, batches, (held_out, targets[1]), parameters, loss=history["val_loss"][0]
    )
    outputs = run_network(tuned, held_out, parameters.batch_size)
    temperature, thresholds = calibrate(task, outputs, validation[1])
    apply_temperature(head.layers[-1], temperature)
    return TrainedNetwork(
        keras.Model(whole.input, head(whole.output), name="classifier"),
        {name: history[name] + later.get(name, []) for name in history},
        best_epoch + 1,
        trained.temperature * temperature,
        thresholds,
    )


def find_blocks(network: keras.Model) -> list[Any]:
    """Return the input tensor of each block of a network, first to last.

    A block starts and ends at a tensor through which all paths of the network pass, and contains at
    least one convolution or dense layer: a residual block, an inception module or a cell; without
    skip connections, a single convolution with its normalisation.
    """
    operations = [one for one in network.operations if not isinstance(one, keras.layers.InputLayer)]
    needed_by = {
        id(tensor): position
        for position, one in enumerate(operations)
        for tensor in keras.tree.flatten(one.input)
    }
    start, waiting, has_kernel = network.inputs[0], {id(network.inputs[0])}, False
    blocks = []
    for position, one in enumerate(operations):
        has_kernel |= any(len(weight.shape) > 1 for weight in getattr(one, "weights", []))
        waiting.add(id(one.output))
        waiting = {tensor for tensor in waiting if needed_by.get(tensor, np.inf) > position}
        if waiting == {id(one.output)}:
            if has_kernel:
                blocks.append(start)
            start, has_kernel = one.output, False
    return blocks


def check_memory(n_training: int, n_validation: int, shape: tuple[int, ...]) -> None:
    """Check that the activations fit into memory.

    Raises
    ------
    InvalidInputError
        If they take more than :data:`MAX_BYTES`, or more than is free.
    """
    # Two variants of each training image as float16, and each validation image as float32.
    needed = 4 * (n_training + n_validation) * math.prod(shape)
    free = available_memory()
    limit = MAX_BYTES if free is None else min(MAX_BYTES, free)
    if needed > limit:
        raise InvalidInputError(
            f"fine-tuning holds the activations of all images in memory, here at most "
            f"{format_gb(limit)}: tune fewer blocks, or learn from fewer images. "
            f"Received: {n_training:,} training images, {format_gb(needed)}"
        )


def _find_inner(whole: keras.Model) -> keras.Model:
    """Return the network after the preprocessing."""
    return next(layer for layer in whole.layers if isinstance(layer, keras.Model))


def _split(network: keras.Model, name: str, n_blocks: int) -> tuple[Any, keras.Model]:
    """Return the input tensor of the top blocks, and these blocks as a network."""
    blocks = find_blocks(network)
    if n_blocks > len(blocks):
        raise InvalidInputError(
            f"fine_tune must be at most the number of blocks of {name}. "
            f"Received: fine_tune={n_blocks}, {len(blocks)} blocks"
        )
    cut = blocks[-n_blocks]
    top = keras.Model(cut, network.outputs[0])
    for layer in top.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return cut, top


def _add_variation(top: keras.Model, cut: Any, seed: int) -> Any:
    """Add random shifts and dropout around the top blocks, against overfitting to few images.

    Shifting the activations is equivalent to shifting the image by multiples of the frozen part's
    stride.  The seeds are explicit, since Keras' default seeds depend on the number of layers built
    before, and so on whether the frozen part was converted for another runtime.
    """
    shift = keras.layers.RandomTranslation(_SHIFT, _SHIFT, fill_mode="nearest", seed=seed)
    return keras.layers.Dropout(_DROPOUT, seed=seed)(top(shift(cut)))


def _run_bottom(
    extractor: KerasApplication,
    n_blocks: int,
    shape: tuple[int, ...],
    training: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    *,
    progress: bool,
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Return the activations of the training images and their mirror images, and of the others."""
    size = default_batch_size()
    source = NetworkSource(
        f"{extractor.network}-below-{n_blocks}",
        {"extractor": extractor.fingerprint, "fine_tune": n_blocks},
        lambda policy: _build_bottom(extractor, n_blocks, policy),
    )
    runtime = OpenNetwork(source).start(training[:size], batch_size=size)
    activations = np.empty((2, len(training), *shape), np.float16)
    held_out = np.empty((len(validation), *shape), np.float32)
    jobs = (
        (training, activations[0]),
        (training[:, :, ::-1], activations[1]),
        (validation, held_out),
    )
    n_images = sum(len(images) for images, _ in jobs)
    with progress_bar(name="Frozen layers", total=n_images, enabled=progress) as bar:
        for images, outputs in jobs:
            for first in range(0, len(images), size):
                part = np.ascontiguousarray(images[first : first + size])
                outputs[first : first + size] = runtime.run(part)[1].reshape(-1, *shape)
                bar.update(len(part))
    return activations, held_out


def _build_bottom(extractor: KerasApplication, n_blocks: int, policy: str) -> keras.Model:
    """Build the frozen part, with flattened activations as the second output.

    The first output is their mean over the image, by which the runtime decides about bfloat16, as
    it does for features: the top blocks are no more sensitive to single values.
    """
    whole = extractor.build_network(policy)
    inner = _find_inner(whole)
    cut, _ = _split(inner, extractor.network, n_blocks)
    scaled = whole.operations[whole.operations.index(inner) - 1].output
    activations = keras.ops.cast(keras.Model(inner.inputs[0], cut)(scaled), "float32")
    pooled = keras.layers.GlobalAveragePooling2D()(activations)
    return keras.Model(whole.input, [pooled, keras.layers.Flatten()(activations)])
