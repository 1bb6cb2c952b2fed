"""Which way a classifier learns: from scratch, a last layer alone, or with blocks below it."""

from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from clusterkit.classifiers.training import fine_tuning
from clusterkit.classifiers.training.checkpoint import open_checkpoint
from clusterkit.classifiers.training.fitting import Fitting, Learned, Part
from clusterkit.classifiers.training.heads import learn_head
from clusterkit.classifiers.training.networks import RECIPES
from clusterkit.classifiers.training.scratch import learn_network
from clusterkit.classifiers.training.tensorboard import write_history
from clusterkit.errors import InvalidInputError
from clusterkit.networks.runtimes.keras import gpu_has_bfloat16

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier


def learn(
    classifier: "Classifier", training: Part, validation: Part, checkpoint: str | Path | None
) -> Learned:
    """Train what a classifier's parameters ask for.

    Parameters
    ----------
    classifier : Classifier
        Its parameters, task and input shape.
    training, validation : tuple of (inputs, truth)
        Pixels, or vectors for a last layer alone, and the classes of each.
    checkpoint : path, optional
        Where the state of a training by epochs is kept.
    """
    keras.utils.set_random_seed(classifier.random_state)
    if classifier.takes_embeddings:
        return _learn_head(classifier, training, validation)
    fitting = _fitting(classifier, training, validation, checkpoint)
    task = classifier.task_
    if classifier.is_transfer:
        return fine_tuning.learn_top(
            task, classifier.extractor, classifier.fine_tune, training, validation, fitting
        )
    return learn_network(lambda: _build(classifier), task, training, validation, fitting)


def _learn_head(classifier: "Classifier", training: Part, validation: Part) -> Learned:
    """Find a last layer; cross-validation measures it, so that it learns from all images."""
    vectors, truth = (np.concatenate(both) for both in zip(training, validation, strict=True))
    learned = learn_head(
        classifier.task_,
        (vectors, truth),
        balance=classifier.balance,
        random_state=classifier.random_state,
    )
    if classifier.tensorboard is not None:
        write_history(classifier.tensorboard, learned.history)
    return learned


def _fitting(
    classifier: "Classifier", training: Part, validation: Part, checkpoint: str | Path | None
) -> Fitting:
    """Return how a network is trained by epochs, with its usual values where none were given."""
    usual = fine_tuning.EPOCHS
    if not classifier.is_transfer:
        usual = RECIPES[classifier.network].epochs
    precision = classifier.precision
    if precision == "auto":
        precision = "bfloat16" if gpu_has_bfloat16() else "float32"
    kept = None
    if checkpoint is not None:
        kept = open_checkpoint(checkpoint, classifier.describe(), *training, *validation)
    return Fitting(
        epochs=classifier.epochs or usual,
        batch_size=classifier.batch_size,
        learning_rate=classifier.learning_rate,
        patience=classifier.patience,
        balance=classifier.balance,
        random_state=classifier.random_state,
        precision=precision,
        progress=classifier.progress,
        tensorboard=classifier.tensorboard,
        checkpoint=kept,
    )


def _build(classifier: "Classifier") -> keras.Model:
    """Build a network that is trained from scratch."""
    task, shape = classifier.task_, classifier.input_shape_
    chosen = classifier.augmentation
    options = {} if chosen is None else {"augmentation": tuple(chosen)}
    try:
        build = RECIPES[classifier.network].build
        return build(shape, task.n_outputs, task.activation, **options)
    except ValueError as error:
        raise InvalidInputError(
            f"{classifier.network} needs larger images. Received: {shape[0]}x{shape[1]} pixels"
        ) from error
