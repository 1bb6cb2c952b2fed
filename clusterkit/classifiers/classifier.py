"""An image classifier in scikit-learn's conventions, around a plain Keras network."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from clusterkit.classifiers.inputs import pixel_batches, run_network, strict_batches
from clusterkit.classifiers.model_file import (
    KIND,
    check_model_path,
    read_classifier,
    write_classifier,
)
from clusterkit.classifiers.parameters import check_parameters
from clusterkit.classifiers.reading import check_space, choose_shape, read_batches, read_inputs
from clusterkit.classifiers.tasks import HEAD, Task, as_labels, is_multilabel
from clusterkit.datasets.labelled_images import TRAIN, VALIDATION, LabelledImages
from clusterkit.datasets.split import split
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.applications import NETWORKS, KerasApplication
from clusterkit.images.pixels import as_images
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.optional_imports import import_keras
from clusterkit.utils.parallel import default_batch_size


class Classifier(ClassifierMixin, BaseEstimator):
    """A network that is trained to tell classes of images apart.

    The task follows from the labels: two classes, several, or (where each label is a list, tuple
    or set of names) any number of classes an image.  The network is either small and trained from
    scratch, or one of ``keras.applications`` with its ImageNet weights, of which only a new last
    layer is trained: on cached embeddings that takes seconds.  Its loss is convex, so the numbers
    of epochs, images per step and patience, and the learning rate, are for the others only.

    Parameters
    ----------
    network : str
        A key of :data:`~clusterkit.classifiers.training.networks.RECIPES` (``"cnn5"``, …), or a
        network of ``keras.applications`` (``"xception"``, …).
    weights : path, optional
        Local weights of a network of ``keras.applications``; by default Keras downloads them.
    fine_tune : int
        Of a network of ``keras.applications``, train so many of its top blocks together with the
        last layer; see :func:`~clusterkit.classifiers.training.fine_tuning.find_blocks`.  It learns
        from images, not from embeddings.
    image_size : int, optional
        Side in pixels that images are brought to, for a network that is trained from scratch.  By
        default an array keeps its own size, and files are brought to the network's usual one.
    augmentation : sequence of str, optional
        How images are varied while a network is trained from scratch: any of flip, rotation, shift,
        zoom, shear, brightness and hue, or none of them; by default the network's usual ones.
    epochs : int, optional
        At most so many passes over the images; by default the network's usual number.
    batch_size : int
        Images per step of the training.
    learning_rate : float
        Of Adam, at the start; it falls to a hundredth along a cosine.
    validation_split : float
        Share of the images that is kept out of the training to stop in time, where ``fit`` is
        given no ``validation_data``.
    patience : int, optional
        Stop after so many epochs without a lower validation loss; by default a quarter of
        ``epochs``, at least 5 and at most 15.
    balance : {"auto", "weights", "oversample"} or None
        What makes all classes count the same: ``weights``, which count images of rare classes
        more, or ``oversample``, which shows them more often, each time varied by the network's
        augmentation.  ``auto`` is ``weights`` where the largest class has more than twice the
        images of the smallest.  Not for several labels an image, where thresholds are chosen
        instead.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.images.resizing.resize_image`.
    precision : {"auto", "float32", "bfloat16"}
        What a network that is trained from scratch is computed in; by default bfloat16 where a GPU
        has it.  On a CPU it saves less than a tenth of the time.  The result is float32.
    random_state : int
        Seed of the split, the order, the augmentation and the first weights.  Keras's global
        seeds are set.
    progress : bool
        Draw a progress bar on stderr.
    tensorboard : path, optional
        Folder of logs for TensorBoard: loss and accuracy of each epoch.

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
    temperature_ : float
        By which the last layer was divided so that probabilities come true as often as they say;
        above 1 where the network was too sure.
    thresholds_ : ndarray of shape (n_classes,), or None
        For several labels an image: the probabilities from which on classes are predicted.
    history_ : dict of str to list of float
        Loss and accuracy of training and validation, one value an epoch.  Of a last layer alone
        an epoch is a step of its regularisation, and validation is cross-validation; where blocks
        are fine-tuned, the first is the last layer alone.
    best_epoch_ : int
        The epoch, counted from 1, whose weights were kept: the lowest validation loss; of 32 epochs
        or more, averaged over the last sixteenth of them, up to that epoch.

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
        fine_tune: int = 0,
        image_size: int | None = None,
        augmentation: Sequence[str] | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        validation_split: float = 0.1,
        patience: int | None = None,
        balance: str | None = "auto",
        resize: str = "stretch",
        precision: str = "auto",
        random_state: int = 0,
        progress: bool = False,
        tensorboard: str | Path | None = None,
    ) -> None:
        self.network = network
        self.weights = weights
        self.fine_tune = fine_tune
        self.image_size = image_size
        self.augmentation = augmentation
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_split = validation_split
        self.patience = patience
        self.balance = balance
        self.resize = resize
        self.precision = precision
        self.random_state = random_state
        self.progress = progress
        self.tensorboard = tensorboard

    @property
    def is_transfer(self) -> bool:
        """Whether the network is one of ``keras.applications``, with a last layer of its own."""
        return self.network in NETWORKS

    @property
    def takes_embeddings(self) -> bool:
        """Whether embeddings may be given instead of images: nothing below them is trained."""
        return self.is_transfer and not self.fine_tune

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

    def fit(
        self,
        X: Any,
        y: Sequence[Any],
        *,
        validation_data: Any = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : ImageFolder, list of paths, ndarray of shape (n, height, width[, 1 or 3]), or Embeddings
            The images: files, or uint8 pixels.  For a transfer, embeddings by the same network
            save its passes.  Pixels of files are held in memory, a byte a value.
        y : sequence of length n, or array of shape (n, n_classes)
            The class of each image, or a list, tuple or set of classes of each, or columns of 0 and
            1; see :func:`clusterkit.classifiers.tasks.as_labels`.
        validation_data : tuple (X, y), optional
            Images to stop in time by, and to choose temperature and thresholds on.  The last
            layer of a transfer, which is measured by cross-validation, learns from them as well.
        checkpoint : path, optional
            An ``.npz`` file that keeps the state of the training after each epoch.  Where it holds
            that of the same training, with the same parameters and images, this goes on from
            there; remove it when the result is safe.

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
        import_keras()
        from clusterkit.classifiers.learning import learn

        self.check_parameters()
        X, y = _check_pair(X, y)
        if validation_data is not None:
            validation_data = _check_pair(*validation_data)
        self.task_ = Task.from_labels(y)
        self.classes_ = self.task_.classes
        self.fingerprint_ = self.extractor.fingerprint if self.is_transfer else None
        self.input_shape_ = choose_shape(self, X)
        inputs = read_inputs(self, X)
        truth = self.task_.indicators(y)
        if validation_data is None:
            train, val = self._split(inputs, y)
            training = inputs[train], truth[train]
            validation = inputs[val], truth[val]
        else:
            training = inputs, truth
            validation = (
                read_inputs(self, validation_data[0]),
                self.task_.indicators(validation_data[1]),
            )
        learned = learn(self, training, validation, checkpoint)
        self.set_network(learned.network)
        self.history_, self.best_epoch_ = learned.history, learned.best_epoch
        self.temperature_, self.thresholds_ = learned.temperature, learned.thresholds
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
        X = as_images(X)
        if isinstance(X, Embeddings):
            return self.task_.probabilities(run_network(self._head, check_space(self, X)))
        outputs = np.empty((len(X), self.task_.n_outputs), np.float32)
        for rows, pixels in read_batches(self, X, strict_batches):
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

    def score(self, X: Any, y: Sequence[Any], sample_weight: Any = None) -> float:
        """Return the share of images whose class, or whose set of classes, is predicted.

        Parameters
        ----------
        X, y : as for :meth:`fit`
            The images and their labels.
        sample_weight : array-like of shape (n,), optional
            How much each counts.
        """
        check_is_fitted(self, "task_")
        X, y = _check_pair(X, y)
        pairs = zip(self.predict(X), y, strict=True)
        right = [self.task_.same(predicted, label) for predicted, label in pairs]
        return float(np.average(right, weights=sample_weight))

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
        for rows, pixels, failures in read_batches(self, as_images(X), pixel_batches):
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
        write_classifier(self, path, notes)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a classifier that :meth:`save` or ``clusterkit train classifier`` wrote.

        Raises
        ------
        WeightsError
            If the file is missing, damaged, or no classifier of clusterkit.
        """
        return read_classifier(path, cls)

    def describe(self) -> dict[str, Any]:
        """Return the parameters that decide what is learned, JSON-able."""
        parameters = self.get_params()
        del parameters["progress"], parameters["tensorboard"]
        parameters["weights"] = None if self.weights is None else str(self.weights)
        if self.augmentation is not None:
            parameters["augmentation"] = list(self.augmentation)
        return parameters

    def set_network(self, network: Any) -> None:
        """Take a trained network: a whole one, or only the last layer of a transfer."""
        is_head = network.name == HEAD
        self._model = None if is_head else network
        self._head = network if is_head else network.get_layer(HEAD)

    def check_parameters(self) -> None:
        """Refuse parameters out of range, before any work is done.

        Raises
        ------
        InvalidInputError
            If one is.
        """
        check_parameters(self)

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


def _check_pair(X: Any, y: Any) -> tuple[Any, list[Any]]:
    """Return images and labels in the forms that all else works on."""
    X, y = as_images(X), as_labels(y)
    if len(X) != len(y):
        raise InvalidInputError(
            f"there must be one label per image. Received: {len(X)} images, {len(y)} labels"
        )
    return X, y
