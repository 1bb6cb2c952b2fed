"""An image classifier in scikit-learn's conventions, around a plain Keras network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from clusterkit.classifiers.features import read_features
from clusterkit.classifiers.model_file import (
    KIND,
    check_model_path,
    read_classifier,
    write_classifier,
)
from clusterkit.classifiers.tasks import Task, as_labels, is_multilabel
from clusterkit.classifiers.training.networks import (
    HEAD,
    RECIPES,
    check_augmentation,
    network_names,
)
from clusterkit.clusterers.base import find_largest
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.datasets.labels import is_named
from clusterkit.datasets.places import TRAIN, VALIDATION
from clusterkit.datasets.split import divide
from clusterkit.errors import ImageError, InvalidInputError, SpaceMismatchError, WeightsError
from clusterkit.extractors.applications import NETWORKS, KerasApplication, default_weights
from clusterkit.extractors.base import Extractor
from clusterkit.extractors.by_name import recall_if_gone, recall_weights
from clusterkit.images.batches import list_files, strict_batches
from clusterkit.images.pixels import as_images, check_pixels, is_pixels
from clusterkit.images.resizing import RESIZE_MODES
from clusterkit.networks.runtimes.choose import PRECISIONS
from clusterkit.networks.runtimes.keras import gpu_has_bfloat16, run_network
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store
from clusterkit.utils.arguments import as_plain, check_at_least, draw_seed, is_number
from clusterkit.utils.files import check_output
from clusterkit.utils.memory import available_memory, format_gb
from clusterkit.utils.parallel import default_batch_size
from clusterkit.utils.text import did_you_mean, plural

if TYPE_CHECKING:
    from clusterkit.classifiers.training.fitting import FitParameters, Part, TrainedNetwork

_BALANCES = ("auto", "weights", "oversample", None)


class Classifier(ClassifierMixin, BaseEstimator):
    """Image classifier around a Keras network.

    The task follows from the labels: binary, multiclass, or multilabel if each label is a list,
    tuple or set of names. The network is either small and trained from scratch, or one of
    ``keras.applications`` with its ImageNet weights, of which only a new last layer is trained: on
    cached embeddings that takes seconds. The loss of a last layer alone is convex, so ``epochs``,
    ``batch_size``, ``learning_rate`` and ``patience`` are ignored there.

    Parameters
    ----------
    network : str
        A key of :data:`~clusterkit.classifiers.training.networks.RECIPES` (``"cnn5"``, …), or a
        network of ``keras.applications`` (``"xception"``, …).
    weights : path, optional
        Local weights of a network of ``keras.applications``; by default those recorded in the
        store, then those that ``CLUSTERKIT_WEIGHTS`` names, otherwise Keras downloads them.
    fine_tune : int
        Number of top blocks of a network of ``keras.applications`` that are trained together with
        the last layer; see :func:`~clusterkit.classifiers.training.fine_tuning.find_blocks`. If
        above 0, the classifier is trained on images, not on embeddings.
    image_size : int, optional
        Side in pixels to which images are resized, for a network that is trained from scratch. By
        default arrays keep their size, and files are resized to the network's usual size.
    augmentation : sequence of str, optional
        Augmentation while a network is trained from scratch: any of flip, rotation, shift, zoom,
        shear, brightness and hue, or an empty sequence; by default the network's usual ones.
    epochs : int, optional
        Maximum number of epochs; by default the network's usual number.
    batch_size : int
        Images per step of the training.
    learning_rate : float
        Initial learning rate of Adam; it decays to a hundredth along a cosine.
    validation_split : float
        Share of the images that is held out for early stopping, if ``fit`` is given no
        ``validation_data``; a last layer alone is trained on all images.
    patience : int, optional
        Number of epochs without improvement after which training stops; by default a quarter of
        ``epochs``, at least 5 and at most 15; from scratch at least 150 steps.
    balance : {"auto", "weights", "oversample"} or None
        How classes are balanced: ``weights`` gives images of rare classes larger sample weights,
        ``oversample`` shows them more often, each time augmented. ``auto`` is ``weights`` if the
        largest class has more than twice the images of the smallest, else None. Ignored for
        multilabel tasks, where thresholds are chosen instead.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.images.resizing.resize_image`.
    precision : {"auto", "float32", "bfloat16"}
        Data type in which a network is trained from scratch; ``auto`` is bfloat16 on GPUs that
        support it. On a CPU, bfloat16 saves less than a tenth of the time. The result is float32.
    random_state : int, optional
        Seed of the split, the order, the augmentation and the initial weights; random by default.
        Keras's global seeds are set.
    progress : bool
        Draw a progress bar on stderr.
    tensorboard : path, optional
        Folder of logs for TensorBoard: loss and accuracy of each epoch.
    store : Store or path, optional
        A store of embeddings. If only a last layer is trained, files that it knows, under any name,
        are not embedded again, in :meth:`fit` and in predictions; others are added to it. By
        default nothing is kept.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    model_ : keras.Model
        The whole network: pixels (n, height, width, channels) on the scale 0-255 in, probabilities
        out (for two classes, of the second).
    task_ : Task
        Kind of task, and its classes.
    input_shape_ : tuple of int
        (height, width, channels) of the network's input.
    temperature_ : float
        Divisor of the last layer's weights that calibrates the probabilities; above 1 if the
        network was overconfident.
    thresholds_ : ndarray of shape (n_classes,), or None
        For multilabel tasks, the probabilities from which classes are predicted.
    history_ : dict of str to list of float
        Loss and accuracy of training and validation, one value per epoch. For a last layer alone,
        an epoch is a step of its regularisation path, and validation is cross-validation. If blocks
        are fine-tuned, the first epoch is the last layer alone.
    best_epoch_ : int
        The epoch, counted from 1, with the lowest validation loss, whose weights were kept. If
        ``epochs`` is 32 or more, the loss is a moving average over a sixteenth of them.

    Examples
    --------
    >>> clf = Classifier(network="cnn5").fit(images, y)  # doctest: +SKIP
    >>> clf.predict(["new.jpg"])  # doctest: +SKIP
    array(['fox'], dtype='<U5')

    Cross-validation on embedded photos takes seconds:

    >>> clf = Classifier("xception", store=".clusterkit")  # doctest: +SKIP
    >>> cross_val_score(clf, ImageFolder("photos/"), y, cv=3)  # doctest: +SKIP
    array([0.97637795, 0.98425197, 0.98412698])
    """

    # The trained last layer, and the whole network; that of a transfer after its first use.
    _head: Any = None
    _model: Any = None

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
        random_state: int | None = None,
        progress: bool = False,
        tensorboard: str | Path | None = None,
        store: Store | str | Path | None = None,
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
        self.store = store

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the last ``fit`` was completed, for scikit-learn."""
        return self._head is not None

    @property
    def takes_embeddings(self) -> bool:
        """Whether embeddings may be given instead of images: only a last layer is trained."""
        return self._is_transfer and not self.fine_tune

    @property
    def extractor(self) -> KerasApplication:
        """The extractor whose embeddings may be given instead of images."""
        weights = self.weights
        if weights is None and self.store is not None:
            weights = recall_weights(self.network, self.store)
        return KerasApplication(self.network, weights=weights, resize=self.resize)

    def _embedder(self, fingerprint: str | None = None) -> Extractor:
        """Return the extractor; images that are in the store need no weights file."""
        return recall_if_gone(self.extractor, self.store, fingerprint=fingerprint)

    @property
    def model_(self) -> Any:
        """The whole network; that of a transfer is built on first access."""
        check_is_fitted(self)
        if self._model is None:
            import keras

            backbone = self.extractor.build_network()
            outputs = self._head(backbone.output)
            self._model = keras.Model(backbone.input, outputs, name=KIND)
        return self._model

    def fit(
        self,
        X: Any,
        y: Sequence[Any],
        *,
        validation_data: Any = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : ImageFolder, list of paths, ndarray of shape (n, height, width[, 1 or 3]), or Embeddings
            The images: files, or uint8 pixels. If only a last layer is trained, embeddings by the
            same network save time. Pixels of files are held in memory, one byte per value.
        y : sequence of length n, or array of shape (n, n_classes)
            The class of each image, or a list, tuple or set of classes of each, or columns of 0 and
            1; see :func:`clusterkit.classifiers.tasks.as_labels`.  A pandas index that holds the
            paths of the images must be in their order.
        validation_data : tuple (X, y), optional
            Images for early stopping and for calibration. A last layer alone, whose validation is
            cross-validation, is trained on them as well.
        checkpoint : path, optional
            An ``.npz`` file that stores the state of the training after each epoch. If it exists
            and is of the same parameters and images, the training is resumed; remove it when the
            result is saved.

        Returns
        -------
        self
            The fitted classifier.

        Raises
        ------
        InvalidInputError
            If a parameter is out of range, the labels do not fit, or the pixels do not fit into
            memory.
        ImageError
            If a file cannot be read as an image.
        NotFoundError
            If the folder of the checkpoint does not exist.
        WeightsError
            If the ImageNet weights cannot be read or downloaded.
        """
        check_parameters(self.get_params())
        if checkpoint is not None:
            checkpoint = check_output(checkpoint, overwrite=True)
        seed = draw_seed(self.random_state)
        X, y = _check_pair(X, y)
        if validation_data is not None:
            validation_data = _check_validation(validation_data)
        # If this fails, the classes would not be those of an earlier network.
        self._head = self._model = None
        self.task_ = Task.from_labels(y)
        self.classes_ = self.task_.classes
        self.fingerprint_ = self._embedder().fingerprint if self._is_transfer else None
        self.input_shape_ = self._choose_shape(X)
        inputs = self._read_inputs(X, is_divided=validation_data is None)
        truth = self.task_.indicators(y)
        if validation_data is None:
            train, val = self._split(inputs, y, seed)
            training = inputs[train], truth[train]
            validation = inputs[val], truth[val]
        else:
            training = inputs, truth
            validation = (
                self._read_inputs(validation_data[0]),
                self.task_.indicators(validation_data[1]),
            )
        trained = self._train(training, validation, checkpoint, seed)
        self._set_network(trained.network)
        self.history_, self.best_epoch_ = trained.history, trained.best_epoch
        self.temperature_, self.thresholds_ = trained.temperature, trained.thresholds
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
            In order of ``classes_``; rows sum to 1, except for multilabel tasks.
        """
        check_is_fitted(self)
        X = as_images(X)
        if isinstance(X, Embeddings) or self._is_stored(X):
            return self.task_.probabilities(self._run_head(self._read_inputs(X)))
        outputs = np.empty((len(X), self.task_.n_outputs), np.float32)
        for rows, pixels in self._read_batches(X):
            outputs[rows] = run_network(self.model_, pixels, default_batch_size())
        return self.task_.probabilities(outputs)

    def predict(self, X: Any) -> NDArray[Any] | list[tuple[Any, ...]]:
        """Return the class of each image.

        Returns
        -------
        ndarray of shape (n,), or list of tuple
            The predicted classes; for multilabel tasks, a tuple of classes for each image.
        """
        probabilities = self.predict_proba(X)
        return self.task_.names(self.task_.decide(probabilities, self.thresholds_))

    def score(self, X: Any, y: Sequence[Any], sample_weight: Any = None) -> float:
        """Return the accuracy: the share of images whose class, or set of classes, is predicted.

        Parameters
        ----------
        X, y : as for :meth:`fit`
            The images and their labels.
        sample_weight : array-like of shape (n,), optional
            Sample weights.

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        InvalidInputError
            If there is no image, the numbers of images, labels and weights differ, or the weights
            have no sum above 0.
        """
        check_is_fitted(self)
        X, y = _check_pair(X, y)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        if not y or (weights is not None and weights.shape != (len(y),)):
            raise InvalidInputError(
                "a score needs at least one image, and one sample weight per image. "
                f"Received: {len(y):,} images"
                f"{'' if weights is None else f', weights of shape {weights.shape}'}"
            )
        if weights is not None and not weights.sum() > 0:
            raise InvalidInputError(
                f"the sum of the sample weights must be above 0. Received: {weights.sum()}"
            )
        pairs = zip(self.predict(X), y, strict=True)
        right = [self.task_.same(predicted, label) for predicted, label in pairs]
        return float(np.average(right, weights=weights))

    def save(self, path: str | Path, *, overwrite: bool = False, **notes: Any) -> Path:
        """Write the classifier to one ``.keras`` file.

        It holds a plain Keras model from pixels to probabilities, a transferred network included,
        which ``keras.models.load_model`` opens without clusterkit.

        Parameters
        ----------
        path : path
            The file, ending in ``.keras``.
        overwrite : bool
            Whether an existing file may be replaced.
        **notes
            Further JSON-able values for its document, such as the accuracy on test images.

        Returns
        -------
        pathlib.Path
            The file.
        """
        check_is_fitted(self)
        path = check_model_path(path, overwrite=overwrite)
        write_classifier(path, self.model_, self._document() | notes)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a classifier that :meth:`save` or ``clusterkit train classifier`` wrote.

        Parameters
        ----------
        path : path
            The ``.keras`` file.

        Returns
        -------
        Classifier
            The fitted classifier.

        Raises
        ------
        WeightsError
            If the file is missing, damaged, or not a classifier of clusterkit.
        """
        network, document = read_classifier(path)
        try:
            classifier = cls(**document["parameters"])
        except TypeError as error:
            raise WeightsError(
                f"{path} was trained by clusterkit {document['versions'].get('clusterkit')} with "
                f"parameters that this version does not have ({error}): train it again"
            ) from error
        try:
            check_parameters(classifier.get_params())
        except (InvalidInputError, TypeError) as error:
            raise WeightsError(
                f"{path} is damaged ({error}): copy it again, or train it again"
            ) from error
        thresholds = document["thresholds"]
        classifier.classes_ = np.array(document["classes"])
        classifier.task_ = Task(document["task"], classifier.classes_)
        classifier.input_shape_ = tuple(document["input_shape"])
        classifier.thresholds_ = None if thresholds is None else np.array(thresholds)
        classifier.history_ = document["history"]
        classifier.best_epoch_ = document["best_epoch"]
        classifier.temperature_ = document["temperature"]
        classifier.fingerprint_ = document["fingerprint"]
        classifier._set_network(network)
        return classifier

    @property
    def _is_transfer(self) -> bool:
        """Whether the network is one of ``keras.applications``, with a new last layer."""
        return self.network in NETWORKS

    def _document(self) -> dict[str, Any]:
        """Return what a model file needs besides the network, JSON-able."""
        return {
            "task": self.task_.kind,
            "classes": self.classes_.tolist(),
            "input_shape": list(self.input_shape_),
            "temperature": self.temperature_,
            "thresholds": None if self.thresholds_ is None else self.thresholds_.tolist(),
            "parameters": training_parameters(self.get_params()),
            "fingerprint": self.fingerprint_,
            "history": self.history_,
            "best_epoch": self.best_epoch_,
        }

    def _set_network(self, network: Any) -> None:
        """Store a trained network: a whole one, or only the last layer of a transfer."""
        is_head = network.name == HEAD
        self._model = None if is_head else network
        self._head = network if is_head else network.get_layer(HEAD)

    def _run_head(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the outputs of the last layer, without tracing a function for it."""
        import keras

        return np.asarray(keras.ops.convert_to_numpy(self._head(vectors)))

    def _choose_shape(self, X: Any) -> tuple[int, int, int]:
        """Return (height, width, channels) of the network's input for images like X."""
        if self._is_transfer:
            return (*self.extractor.image_size, 3)
        side = as_plain(self.image_size)
        if is_pixels(X):
            _, height, width, channels = check_pixels(X).shape
            return (side or height, side or width, channels)
        side = side or RECIPES[self.network].side
        return (side, side, 3)

    def _read_batches(self, X: Any) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
        """Read images in the network's size; every file must be readable."""
        return strict_batches(X, self.input_shape_, default_batch_size(), resize=self.resize)

    def _read_inputs(self, X: Any, *, is_divided: bool = False) -> NDArray[Any]:
        """Return the training inputs: vectors if only a last layer is trained, else pixels."""
        if isinstance(X, Embeddings):
            return self._check_space(X)
        if not self.takes_embeddings:
            self._check_memory(len(X), is_divided=is_divided)
            inputs = np.empty((len(X), *self.input_shape_), np.uint8)
            for rows, pixels in self._read_batches(X):
                inputs[rows] = pixels
            return inputs
        extractor = self._embedder(self.fingerprint_)
        if self._is_stored(X):
            return self._read_stored(X, extractor)
        vectors = np.empty((len(X), extractor.dimension), np.float32)
        for rows, pixels in self._read_batches(X):
            vectors[rows] = extractor.extract(pixels).vectors
        return vectors

    def _check_memory(self, n_images: int, *, is_divided: bool) -> None:
        """Check that pixels fit into memory: otherwise the system may end the process.

        Those that are divided into training and validation are copied.
        """
        height, width, _ = shape = self.input_shape_
        needed, free = n_images * math.prod(shape) * (2 if is_divided else 1), available_memory()
        if free is not None and needed > free:
            smaller = "" if self._is_transfer else "a smaller image_size (--image-size), "
            raise InvalidInputError(
                f"{plural(n_images, 'image')} of {height}x{width} pixels take {format_gb(needed)}"
                f"{', with the copy for training,' if is_divided else ','} and {format_gb(free)} "
                f"of memory are free: choose {smaller}fewer images, or a last layer on "
                "embeddings, such as network='xception' without fine_tune"
            )

    def _is_stored(self, X: Any) -> bool:
        """Return whether the vectors of images are looked up in the store."""
        return self.store is not None and self.takes_embeddings and not is_pixels(X)

    def _read_stored(self, X: Any, extractor: Extractor) -> NDArray[np.float32]:
        """Return the vectors of files, known ones from the store; every file must be readable."""
        files = list_files(X)
        vectors, _, failures = read_features(files, extractor, self.store, progress=self.progress)
        for row, reason in failures:
            raise ImageError(f"{files[row]}: {reason}")
        return vectors

    def _check_space(self, X: Embeddings) -> NDArray[np.float32]:
        """Return the vectors of embeddings, which must be of the network that is transferred."""
        if not self.takes_embeddings:
            raise InvalidInputError(
                f"{self.network} takes images; embeddings are for networks of "
                "keras.applications that are not fine-tuned. "
                f"Received: {X!r}, fine_tune={self.fine_tune}"
            )
        if X.fingerprint not in (None, self.fingerprint_):
            raise SpaceMismatchError(
                f"the embeddings must be of {self.network} with this classifier's weights and "
                f"resize={self.resize!r}. Received: {X!r}"
            )
        find_largest(X.vectors, "the embeddings")  # an error if any is NaN
        return X.vectors

    def _train(
        self, training: Part, validation: Part, checkpoint: str | Path | None, seed: int
    ) -> TrainedNetwork:
        """Train: a last layer alone, the top blocks below it as well, or a whole network."""
        import keras

        from clusterkit.classifiers.training.fine_tuning import train_top_blocks
        from clusterkit.classifiers.training.fitting import train_network

        keras.utils.set_random_seed(seed)
        if self.takes_embeddings:
            return self._train_head(training, validation, seed)
        parameters = self._fit_parameters(training, validation, checkpoint, seed)
        if self._is_transfer:
            return train_top_blocks(
                self.task_, self.extractor, self.fine_tune, training, validation, parameters
            )
        return train_network(self._build, self.task_, training, validation, parameters)

    def _train_head(self, training: Part, validation: Part, seed: int) -> TrainedNetwork:
        """Train a last layer on all images: its validation is cross-validation."""
        from clusterkit.classifiers.training.heads import train_head
        from clusterkit.classifiers.training.tensorboard import write_history

        vectors, truth = (np.concatenate(both) for both in zip(training, validation, strict=True))
        trained = train_head(self.task_, (vectors, truth), balance=self.balance, random_state=seed)
        if self.tensorboard is not None:
            write_history(self.tensorboard, trained.history)
        return trained

    def _fit_parameters(
        self, training: Part, validation: Part, checkpoint: str | Path | None, seed: int
    ) -> FitParameters:
        """Return the parameters of a training by epochs, with the network's defaults."""
        from clusterkit.classifiers.training.checkpoint import open_checkpoint
        from clusterkit.classifiers.training.fine_tuning import EPOCHS
        from clusterkit.classifiers.training.fitting import FitParameters

        precision = self.precision
        if precision == "auto":
            precision = "bfloat16" if gpu_has_bfloat16() else "float32"
        kept = None
        if checkpoint is not None:
            parameters = training_parameters(self.get_params())
            kept = open_checkpoint(checkpoint, parameters, *training, *validation)
        return FitParameters(
            epochs=self.epochs or (EPOCHS if self._is_transfer else RECIPES[self.network].epochs),
            batch_size=self.batch_size,
            learning_rate=as_plain(self.learning_rate),
            patience=self.patience,
            balance=self.balance,
            random_state=seed,
            precision=precision,
            progress=self.progress,
            tensorboard=self.tensorboard,
            checkpoint=kept,
        )

    def _build(self) -> Any:
        """Build a network that is trained from scratch."""
        task, shape = self.task_, self.input_shape_
        chosen = self.augmentation
        options = {} if chosen is None else {"augmentation": tuple(chosen)}
        try:
            build = RECIPES[self.network].build
            return build(shape, task.n_outputs, task.activation, **options)
        except ValueError as error:
            raise InvalidInputError(
                f"{self.network} needs larger images. Received: {shape[0]}x{shape[1]} pixels"
            ) from error

    def _split(
        self, inputs: NDArray[Any], y: list[Any], seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Draw training and validation rows."""
        data = LabelledImages(inputs, list(map(str, range(len(y)))), y, is_multilabel(y))
        # Not split(), which would tell again, of each fold, of images in two classes.
        parts = divide(
            data,
            test_split=0,
            validation_split=self.validation_split,
            random_state=seed,
        ).parts
        return np.flatnonzero(parts == TRAIN), np.flatnonzero(parts == VALIDATION)


def _check_pair(X: Any, y: Any) -> tuple[Any, list[Any]]:
    """Return images and labels in their internal forms, one label per image."""
    paths = getattr(X, "paths", None)
    # An index of other names than paths says nothing of the order.
    if paths and is_named(y) and list(y.index) != paths and y.index.isin(paths).any():
        raise InvalidInputError(
            "y must have a label for each image, in order. Received: an index that names the "
            "images in another order, or others; y.loc[X.paths] has theirs"
        )
    X, y = as_images(X), as_labels(y)
    if len(X) != len(y):
        raise InvalidInputError(
            f"there must be one label per image. Received: {len(X):,} images, {len(y):,} labels"
        )
    return X, y


def _check_validation(given: Any) -> tuple[Any, list[Any]]:
    """Return validation images and labels in their internal forms, at least one."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InvalidInputError(
            "validation_data must be two values, (X, y). Received: "
            + (f"{len(given)} values" if isinstance(given, tuple | list) else repr(given))
        )
    X, y = _check_pair(*given)
    if not y:
        raise InvalidInputError("validation_data must have at least one image. Received: none")
    return X, y


def check_classifier(classifier: Any) -> None:
    """Check a classifier and its parameters before anything is read or trained.

    Raises
    ------
    InvalidInputError
        If it is no :class:`Classifier`, or as for :func:`check_parameters`.
    """
    if not isinstance(classifier, Classifier):
        raise InvalidInputError(
            'classifier must be a Classifier, such as Classifier("xception"). Received: '
            f"{classifier!r:.100}"
        )
    check_parameters(classifier.get_params())


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check the parameters of a classifier before anything is read or trained.

    Parameters
    ----------
    parameters : mapping of str to object
        From :meth:`Classifier.get_params`.

    Raises
    ------
    InvalidInputError
        If one is out of range, or two do not fit together.
    """
    network, fine_tune = parameters["network"], parameters["fine_tune"]
    image_size, augmentation = parameters["image_size"], parameters["augmentation"]
    if network not in network_names():
        raise InvalidInputError(
            f"network must be one of {', '.join(network_names())}. Received: {network!r}"
            f"{did_you_mean(str(network), network_names())}"
        )
    is_transfer = network in NETWORKS
    if is_transfer and image_size is not None:
        raise InvalidInputError(
            f"image_size is for networks that are trained from scratch; {network} has its own. "
            f"Received: image_size={image_size}"
        )
    if check_at_least(fine_tune, 0, "fine_tune") and not is_transfer:
        raise InvalidInputError(
            "fine_tune is for networks of keras.applications. "
            f"Received: fine_tune={fine_tune}, network={network!r}"
        )
    if parameters["weights"] is not None and not is_transfer:
        raise InvalidInputError(
            f"weights are for networks of keras.applications; {network} is trained from scratch. "
            f"Received: weights={str(parameters['weights'])!r}"
        )
    if is_transfer and augmentation is not None:
        raise InvalidInputError(
            f"augmentation is for networks that are trained from scratch, not for {network}. "
            f"Received: augmentation={augmentation!r}"
        )
    check_augmentation(augmentation or ())
    for name in ("image_size", "epochs", "patience", "batch_size"):
        value = parameters[name]
        if value is not None or name == "batch_size":
            check_at_least(value, 1, name)
    share, rate = parameters["validation_split"], parameters["learning_rate"]
    if not (is_number(share) and 0 < share < 1):
        raise InvalidInputError(
            "validation_split must be between 0 and 1, both excluded. "
            f"Received: validation_split={share!r}"
        )
    choices = {"balance": _BALANCES, "resize": RESIZE_MODES, "precision": PRECISIONS}
    for name, allowed in choices.items():
        if parameters[name] not in allowed:
            raise InvalidInputError(
                f"{name} must be one of {', '.join(map(str, allowed))}. "
                f"Received: {parameters[name]!r}"
            )
    if not (is_number(rate) and 0 < rate <= 1):
        raise InvalidInputError(
            f"learning_rate must be above 0, and at most 1. Received: learning_rate={rate!r}"
        )
    folder = parameters["tensorboard"]
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise InvalidInputError(f"tensorboard must be a folder. Received: {folder}, a file")


def training_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that determine the result of a training, JSON-able.

    Parameters
    ----------
    parameters : mapping of str to object
        From :meth:`Classifier.get_params`.
    """
    kept = {name: as_plain(value) for name, value in parameters.items()}
    del kept["progress"], kept["tensorboard"], kept["store"]
    if kept["weights"] is None and kept["network"] in NETWORKS and default_weights() != "imagenet":
        kept["weights"] = default_weights()
    kept["weights"] = None if kept["weights"] is None else str(kept["weights"])
    if kept["augmentation"] is not None:
        kept["augmentation"] = list(kept["augmentation"])
    return kept
