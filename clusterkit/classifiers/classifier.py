"""An image classifier in scikit-learn's conventions, around a plain Keras network."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from clusterkit import __version__
from clusterkit.classifiers.datasets import TRAIN, VALIDATION, LabelledImages
from clusterkit.classifiers.inputs import (
    check_pixels,
    is_pixels,
    pixel_batches,
    strict_batches,
)
from clusterkit.classifiers.splitting import class_weights, split
from clusterkit.classifiers.tasks import MULTILABEL, Task, choose_thresholds, is_multilabel
from clusterkit.embeddings import Embeddings
from clusterkit.engines import default_batch_size, pad_batch
from clusterkit.errors import InvalidInputError, SpaceMismatchError
from clusterkit.extractors.applications import NETWORKS, KerasApplication
from clusterkit.files import check_output
from clusterkit.keras_files import load_network, read_document, save_network
from clusterkit.optional import import_keras

KIND = "classifier"
_HEAD = "head"
_HEAD_EPOCHS = 100
_RATE, _HEAD_RATE = 1e-3, 3e-4
_FOLDS = 3

# Inputs of a network, and which classes each shows.
Part = tuple[NDArray[Any], NDArray[np.bool_]]
Batch = TypeVar("Batch")


class Classifier(ClassifierMixin, BaseEstimator):
    """A network that is trained to tell classes of images apart.

    The task follows from the labels: two classes, several, or (where each label is a list, tuple
    or set of names) any number of classes an image.  The network is either small and trained from
    scratch, or one of ``keras.applications`` with its ImageNet weights, of which only a new last
    layer is trained: on cached embeddings that takes seconds.

    Parameters
    ----------
    network : str
        A key of :data:`~clusterkit.classifiers.networks.RECIPES` (``"cnn5"``, …), or a network of
        ``keras.applications`` (``"xception"``, …).
    weights : path, optional
        Local weights of a network of ``keras.applications``; by default Keras downloads them.
    image_size : int, optional
        Side in pixels that images are brought to, for a network that is trained from scratch.  By
        default an array keeps its own size, and files are brought to the network's usual one.
    epochs : int, optional
        At most so many passes over the images; by default the network's usual number.
    batch_size : int
        Images per step of the training.
    validation_split : float
        Share of the images that is kept out of the training to stop in time, where ``fit`` is
        given no ``validation_data``.
    patience : int, optional
        Stop after so many epochs without a lower validation loss; by default a quarter of
        ``epochs``, at least 5 and at most 15.
    class_weight : {"auto", "balanced"} or None
        ``balanced`` makes all classes count the same, ``auto`` does so where the largest has more
        than twice the images of the smallest.  Not for several labels an image, where thresholds
        are chosen instead.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.resizing.resize_image`.
    random_state : int
        Seed of the split, the order, the augmentation and the first weights.  Keras's global
        seeds are set.
    progress : bool
        Draw a progress bar on stderr.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    model_ : keras.Model
        The whole network: pixels (n, height, width, channels) on the scale 0-255 in, probabilities
        out (for two classes, of the second).
    task_ : Task
        What was asked.
    input_shape_ : tuple of int
        (height, width, channels) of the network's input.
    thresholds_ : ndarray of shape (n_classes,), or None
        For several labels an image: the probabilities from which on classes are predicted.
    history_ : dict of str to list of float
        Loss and accuracy of training and validation, one value an epoch.
    best_epoch_ : int
        The epoch, counted from 1, whose weights were kept: the lowest validation loss.

    Examples
    --------
    >>> clf = Classifier(network="cnn5").fit(images, y)  # doctest: +SKIP
    >>> clf.predict(["new.jpg"])  # doctest: +SKIP
    array(['fox'], dtype='<U5')
    """

    # Of a transfer: the trained layer, and the whole network once it was asked for.
    _head: Any
    _model: Any

    def __init__(
        self,
        network: str = "xception",
        *,
        weights: str | Path | None = None,
        image_size: int | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        validation_split: float = 0.1,
        patience: int | None = None,
        class_weight: str | None = "auto",
        resize: str = "stretch",
        random_state: int = 0,
        progress: bool = False,
    ) -> None:
        self.network = network
        self.weights = weights
        self.image_size = image_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_split = validation_split
        self.patience = patience
        self.class_weight = class_weight
        self.resize = resize
        self.random_state = random_state
        self.progress = progress

    @property
    def is_transfer(self) -> bool:
        """Whether only a last layer is trained, on top of a network of ``keras.applications``."""
        return self.network in NETWORKS

    @property
    def extractor(self) -> KerasApplication:
        """The network that is transferred; its embeddings may be given instead of images."""
        return KerasApplication(
            self.network, weights=self.weights or "imagenet", resize=self.resize
        )

    @property
    def model_(self) -> Any:
        """The whole network; that of a transfer is put together when it is first asked for."""
        check_is_fitted(self, "task_")
        if self._model is None:
            backbone = self.extractor.build_network()
            outputs = self._head(backbone.output)
            self._model = import_keras().Model(backbone.input, outputs, name=KIND)
        return self._model

    def fit(self, X: Any, y: Sequence[Any], *, validation_data: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : ImageFolder, list of paths, ndarray of shape (n, height, width[, 1 or 3]), or Embeddings
            The images: files, or uint8 pixels.  For a transfer, embeddings by the same network
            save its passes.  Pixels of files are held in memory, a byte a value.
        y : sequence of length n
            The class of each image, or a list, tuple or set of classes of each.
        validation_data : tuple (X, y), optional
            Images to stop in time by, and to choose thresholds on.

        Returns
        -------
        self
            Trained.

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, or the labels do not fit.
        ImageError
            If a file cannot be read as an image.
        WeightsError
            If the weights of a transfer cannot be had.
        """
        self.check_parameters()
        if len(X) != len(y):
            raise InvalidInputError(
                f"there must be one label per image. Received: {len(X)} images, {len(y)} labels"
            )
        self.task_ = Task.from_labels(y)
        self.classes_ = self.task_.classes
        self.fingerprint_ = self.extractor.fingerprint if self.is_transfer else None
        self.input_shape_ = self.choose_shape(X)
        inputs = self._inputs(X)
        truth = self.task_.indicators(y)
        if validation_data is None:
            train, val = self._split(inputs, list(y))
            training = inputs[train], truth[train]
            validation = inputs[val], truth[val]
        else:
            training = inputs, truth
            validation = self._inputs(validation_data[0]), self.task_.indicators(validation_data[1])
        self._train(training, validation)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probability of each class.

        Parameters
        ----------
        X : as for :meth:`fit`
            The images.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            In order of ``classes_``; rows sum to 1, unless an image may have several labels.
        """
        check_is_fitted(self, "task_")
        if isinstance(X, Embeddings):
            return self.task_.probabilities(run_network(self._head, self._check_space(X)))
        outputs = np.empty((len(X), self.task_.n_outputs), np.float32)
        for rows, pixels in self._batches(X, strict_batches):
            outputs[rows] = run_network(self.model_, pixels, default_batch_size())
        return self.task_.probabilities(outputs)

    def predict(self, X: Any) -> Any:
        """Return the class of each image.

        Returns
        -------
        ndarray of shape (n,), or list of tuple
            Classes; where an image may have several, a tuple of them for each image.
        """
        return self.decide(self.predict_proba(X))

    def decide(self, probabilities: NDArray[np.float32]) -> Any:
        """Return the classes that probabilities stand for, as :meth:`predict` does."""
        return self.task_.names(self.task_.decide(probabilities, self.thresholds_))

    def predict_batches(
        self, X: Any
    ) -> Iterator[tuple[list[int], NDArray[np.float32], list[tuple[int, str]]]]:
        """Predict images batch by batch; memory stays flat, and a bad file stops nothing.

        Yields
        ------
        rows : list of int
            Positions of the images below.
        probabilities : ndarray of shape (len(rows), n_classes), float32
            As of :meth:`predict_proba`.
        failures : list of (int, str)
            Position and reason of every file that could not be read.
        """
        for rows, pixels, failures in self._batches(X, pixel_batches):
            outputs = np.empty((0, self.task_.n_outputs), np.float32)
            if rows:
                outputs = run_network(self.model_, pixels, default_batch_size())
            yield rows, self.task_.probabilities(outputs), failures

    def save(self, path: str | Path, *, overwrite: bool = False, **notes: Any) -> Path:
        """Write the whole network, with all that predicting needs, to one ``.keras`` file.

        It is a plain Keras model from pixels to probabilities, a transferred network included, and
        ``keras.models.load_model`` opens it without any code of ours.

        Parameters
        ----------
        path : path
            The file, ending in ``.keras``.
        overwrite : bool
            Whether an existing file may be replaced.
        **notes
            Further JSON-able facts for its document, such as figures on test images.

        Returns
        -------
        pathlib.Path
            The file.
        """
        check_is_fitted(self, "task_")
        path = check_model_path(path, overwrite=overwrite)
        save_network(self.model_, path, KIND, self._document() | notes)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a classifier that :meth:`save` or ``clusterkit train classifier`` wrote.

        Raises
        ------
        WeightsError
            If the file is missing, damaged, or no classifier of clusterkit.
        """
        document = read_document(path, KIND)
        classifier = cls(**document["parameters"])
        classifier.task_ = Task(document["task"], np.array(document["classes"]))
        classifier.classes_ = classifier.task_.classes
        classifier.input_shape_ = tuple(document["input_shape"])
        thresholds = document["thresholds"]
        classifier.thresholds_ = None if thresholds is None else np.array(thresholds)
        classifier.history_ = document["history"]
        classifier.best_epoch_ = document["best_epoch"]
        classifier.fingerprint_ = document["fingerprint"]
        classifier._model = load_network(path)
        classifier._head = classifier._model.get_layer(_HEAD) if classifier.is_transfer else None
        return classifier

    def check_parameters(self) -> None:
        """Refuse parameters out of range, before any work is done.

        Raises
        ------
        InvalidInputError
            If one is.
        """
        from clusterkit.classifiers import network_names

        if self.network not in network_names():
            raise InvalidInputError(
                f"network must be one of {', '.join(network_names())}. Received: {self.network!r}"
            )
        if self.is_transfer and self.image_size is not None:
            raise InvalidInputError(
                f"image_size is for networks that are trained from scratch; {self.network} has its "
                f"own. Received: image_size={self.image_size}"
            )
        numbers = {name: getattr(self, name) for name in ("image_size", "epochs", "patience")}
        for name, value in (numbers | {"batch_size": self.batch_size}).items():
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} must be at least 1. Received: {name}={value}")
        if not 0 < self.validation_split < 1:
            raise InvalidInputError(
                "validation_split must be between 0 and 1, both excluded. "
                f"Received: validation_split={self.validation_split}"
            )
        if self.class_weight not in ("auto", "balanced", None):
            raise InvalidInputError(
                f"class_weight must be one of auto, balanced, None. Received: {self.class_weight!r}"
            )

    def _inputs(self, X: Any) -> NDArray[Any]:
        """Return what is trained on: vectors for a transfer, else pixels."""
        if isinstance(X, Embeddings):
            return self._check_space(X)
        if not self.is_transfer:
            inputs = np.empty((len(X), *self.input_shape_), np.uint8)
            for rows, pixels in self._batches(X, strict_batches):
                inputs[rows] = pixels
            return inputs
        extractor = self.extractor
        vectors = np.empty((len(X), extractor.dimension), np.float32)
        for rows, pixels in self._batches(X, strict_batches):
            vectors[rows] = extractor.extract(pixels).vectors
        return vectors

    def _batches(self, X: Any, read: Callable[..., Iterator[Batch]]) -> Iterator[Batch]:
        """Read images in the network's size."""
        return read(X, self.input_shape_, default_batch_size(), resize=self.resize)

    def choose_shape(self, X: Any) -> tuple[int, int, int]:
        """Return (height, width, channels) of the network's input, if it is trained on images."""
        if self.is_transfer:
            return (*self.extractor.image_size, 3)
        import_keras()
        from clusterkit.classifiers.networks import RECIPES

        side = self.image_size
        if is_pixels(X):
            _, height, width, channels = check_pixels(X).shape
            return (side or height, side or width, channels)
        side = side or RECIPES[self.network].side
        return (side, side, 3)

    def _check_space(self, X: Embeddings) -> NDArray[np.float32]:
        """Return vectors, if they are of the network that is transferred."""
        if not self.is_transfer:
            raise InvalidInputError(
                f"{self.network} takes images; embeddings are for networks of keras.applications"
            )
        if X.fingerprint not in (None, self.fingerprint_):
            raise SpaceMismatchError(
                f"the embeddings must be of {self.network} with this classifier's weights and "
                f"resize={self.resize!r}. Received: {X!r}"
            )
        return X.vectors

    def _split(
        self, inputs: NDArray[Any], y: list[Any]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Keep some images out of the training."""
        data = LabelledImages(inputs, list(map(str, range(len(y)))), y, is_multilabel(y))
        rows = split(
            data,
            test_size=0,
            validation_size=self.validation_split,
            random_state=self.random_state,
        )
        return rows[TRAIN], rows[VALIDATION]

    def _train(self, training: Part, validation: Part) -> None:
        """Train the network, or the last layer of a transfer; choose thresholds."""
        import_keras().utils.set_random_seed(self.random_state)
        if self.is_transfer:
            self._train_head(training, validation)
            return
        from clusterkit.classifiers.networks import RECIPES

        recipe, task = RECIPES[self.network], self.task_
        try:
            model = recipe.build(self.input_shape_, task.n_outputs, task.activation)
        except ValueError as error:
            height, width, _ = self.input_shape_
            raise InvalidInputError(
                f"{self.network} needs larger images. Received: {height}x{width} pixels"
            ) from error
        self._head, self._model = None, model
        self.history_, self.best_epoch_ = self._fit_network(
            self._model, training, validation, epochs=recipe.epochs, learning_rate=_RATE
        )
        self.thresholds_ = None
        if task.kind == MULTILABEL:
            probabilities = run_network(self._model, validation[0])
            self.thresholds_ = choose_thresholds(validation[1], probabilities)

    def _train_head(self, training: Part, validation: Part) -> None:
        """Train a last layer: find the best epoch, then learn from all images up to there.

        It is small and takes seconds, so no image need be spared.  Thresholds are chosen on
        predictions for each third of the images by a layer that learned from the others.
        """
        from clusterkit.classifiers.networks import build_head

        task = self.task_

        def train(part: Part, validation: Part | None = None, last_epoch: int | None = None) -> Any:
            head = build_head(part[0], task.targets(part[1]), task.activation)
            found = self._fit_network(
                head,
                part,
                validation,
                epochs=_HEAD_EPOCHS,
                learning_rate=_HEAD_RATE,
                last_epoch=last_epoch,
            )
            return head, found

        _, (self.history_, self.best_epoch_) = train(training, validation)
        inputs, truth = (np.concatenate(both) for both in zip(training, validation, strict=True))
        self.thresholds_ = None
        if task.kind == MULTILABEL:
            fold = np.random.default_rng(self.random_state).permutation(len(inputs)) % _FOLDS
            probabilities = np.empty(truth.shape, np.float32)
            for out in (fold == number for number in range(_FOLDS)):
                head, _ = train((inputs[~out], truth[~out]), last_epoch=self.best_epoch_)
                probabilities[out] = run_network(head, inputs[out])
            self.thresholds_ = choose_thresholds(truth, probabilities)
        head, _ = train((inputs, truth), last_epoch=self.best_epoch_)
        self._head, self._model = head, None

    def _fit_network(
        self, model: Any, training: Part, validation: Part | None, *, epochs: int, **options: Any
    ) -> tuple[dict[str, list[float]], int]:
        """Train a network with this classifier's parameters."""
        from clusterkit.classifiers.fitting import fit_network

        targets = self.task_.targets
        return fit_network(
            model,
            training[0],
            targets(training[1]),
            None if validation is None else (validation[0], targets(validation[1])),
            loss=self.task_.loss,
            sample_weight=self._sample_weight(training[1]),
            epochs=self.epochs or epochs,
            batch_size=self.batch_size,
            patience=self.patience,
            progress=self.progress,
            **options,
        )

    def _sample_weight(self, truth: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Return the weight of each training image, where classes are weighted."""
        if self.class_weight is None or self.task_.kind == MULTILABEL:
            return None
        counts = truth.sum(axis=0)
        weights = class_weights(counts, max_ratio=1.0 if self.class_weight == "balanced" else 2.0)
        return None if weights is None else weights[truth.argmax(axis=1)]

    def _document(self) -> dict[str, Any]:
        """Return what travels inside the file."""
        keras = import_keras()
        parameters = self.get_params() | {"progress": False}
        parameters["weights"] = None if self.weights is None else str(self.weights)
        return {
            "task": self.task_.kind,
            "classes": self.classes_.tolist(),
            "input_shape": list(self.input_shape_),
            "scale": "pixels 0-255; preprocessing is part of the network",
            "thresholds": None if self.thresholds_ is None else self.thresholds_.tolist(),
            "parameters": parameters,
            "fingerprint": self.fingerprint_,
            "history": self.history_,
            "best_epoch": self.best_epoch_,
            "versions": {
                "clusterkit": __version__,
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
            },
        }


def check_model_path(path: str | Path, *, overwrite: bool) -> Path:
    """Check, before any work is done, that a classifier can be written under this name."""
    path = check_output(path, overwrite=overwrite)
    if path.suffix != ".keras":
        raise InvalidInputError(f"the output's name must end in .keras. Received: {path}")
    return path


def run_network(model: Any, inputs: NDArray[Any], batch_size: int = 256) -> NDArray[np.float32]:
    """Run a network on inputs, in batches of one size: another is traced anew."""
    outputs = []
    for start in range(0, len(inputs), batch_size):
        part = inputs[start : start + batch_size]
        outputs.append(np.asarray(model.predict_on_batch(pad_batch(part, batch_size)))[: len(part)])
    return np.concatenate(outputs)
