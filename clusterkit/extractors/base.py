"""Base class of extractors: parameters, batching, checks and the fingerprint."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images.batches import read_batches
from clusterkit.images.folder import ImageFolder
from clusterkit.images.pixels import as_images
from clusterkit.images.resizing import check_resize_mode
from clusterkit.utils.arguments import as_plain, check_at_least
from clusterkit.utils.locations import as_path
from clusterkit.utils.parallel import default_batch_size

# Number of ImageNet classes.
N_CLASSES = 1000


class _Parameterized:
    """What scikit-learn's ``clone``, pipelines and searches need, without its import.

    Parameters are the arguments of ``__init__``, which only stores them under their names.
    """

    @classmethod
    def _parameter_defaults(cls) -> dict[str, Any]:
        """Return the names of the parameters, sorted, with their defaults."""
        if cls.__init__ is object.__init__:
            return {}
        found = list(inspect.signature(cls.__init__).parameters.values())[1:]
        named = (each for each in found if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL))
        return {each.name: each.default for each in sorted(named, key=lambda each: each.name)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool
            Whether to return the parameters of parameters that are estimators, too, as
            ``<parameter>__<name>``.
        """
        parameters: dict[str, Any] = {}
        for name in self._parameter_defaults():
            value = getattr(self, name)
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                inner = value.get_params()
                parameters |= {f"{name}__{key}": inner[key] for key in inner}
            parameters[name] = value
        return parameters

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters, and return the object.

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        """
        names = list(self._parameter_defaults())
        for name, value in parameters.items():
            name, is_inner, inner = name.partition("__")
            if name not in names:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: "
                    f"{names!r}."
                )
            if is_inner:
                getattr(self, name).set_params(**{inner: value})
            else:
                setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Return the call that makes the object, with parameters that are not defaults."""
        defaults, values = self._parameter_defaults(), self.get_params(deep=False)
        changed = (
            f"{name}={value!r}"
            for name, value in values.items()
            if repr(value) != repr(defaults[name])
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn assumes of any estimator."""
        from sklearn.utils import Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=None,
            classifier_tags=None,
            regressor_tags=None,
        )


class Extraction(NamedTuple):
    """Output of an extractor for one batch.

    Attributes
    ----------
    vectors : ndarray of shape (n, dimension), float32
        The embeddings.
    probabilities : ndarray of shape (n, 1000), float32, or None
        ImageNet class probabilities, if the network predicts them.
    """

    vectors: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None = None


class Extractor(_Parameterized, ABC):
    """A network with its own preprocessing: uint8 images in, float32 vectors out.

    A subclass only stores its parameters in ``__init__``, defines ``name``, ``image_size`` and
    ``dimension`` without loading the network, and implements :meth:`_forward`.  ``fit`` does
    nothing, so that an extractor can be the first step of a scikit-learn pipeline.

    State that :meth:`_forward` sets on the object, such as a loaded network, is dropped when the
    parameters or the fingerprint change.

    Attributes
    ----------
    name : str
        Command-line name.
    image_size : tuple of int
        (height, width) of the network's input in pixels.
    dimension : int
        Length of a vector.
    batch_size : int or None
        Images per forward pass; None for a default that depends on the hardware.
    resize : {"stretch", "crop", "pad"}
        How images are resized to ``image_size``; see
        :func:`clusterkit.images.resizing.resize_image`.
    """

    name: str
    image_size: tuple[int, int]
    dimension: int
    batch_size: int | None = None
    resize: str = "stretch"
    # Increment in a subclass when a change of preprocessing changes the vectors.
    preprocessing_version: int = 2
    # Parameters that do not affect the vectors and are not part of the fingerprint.
    _neutral_parameters: frozenset[str] = frozenset({"batch_size"})
    # Parameters of the cached state, and the attributes that existed before it.
    _made_with: tuple[str, dict[str, str]]
    _own_names: set[str]

    @property
    def full_batch(self) -> int:
        """Number of images in a full batch: ``batch_size`` or the hardware's default."""
        if self.batch_size is None:
            return default_batch_size()
        return check_at_least(self.batch_size, 1, "batch_size")

    @abstractmethod
    def _forward(self, images: NDArray[np.uint8]) -> Extraction | NDArray[Any]:
        """Preprocess and embed one batch of shape (n, height, width, 3), ``1 <= n <= full_batch``.

        Without probabilities, the vectors alone may be returned.

        Networks compiled for one batch size pad with :func:`~clusterkit.images.batches.pad_batch`.
        """

    def _identity(self) -> dict[str, Any]:
        """JSON-able parameters that affect the vectors; weights as a digest, never as a path."""
        parameters = self.get_params(deep=False)
        return {k: as_plain(v) for k, v in parameters.items() if k not in self._neutral_parameters}

    def describe(self) -> dict[str, Any]:
        """Return name, identity and preprocessing version of the extractor."""
        return {
            "extractor": self.name,
            "image_size": list(self.image_size),
            "preprocessing_version": self.preprocessing_version,
            "parameters": self._identity(),
        }

    def origin(self) -> dict[str, Any]:
        """Return where the network is from and how it runs, which is not part of its identity.

        A space records it, so that it need not be given again.

        Returns
        -------
        dict
            ``weights_source`` (an absolute path, ``"imagenet"``, or None), ``resize``,
            ``precision`` and ``runtime`` as they were asked for; None where there is no choice.
        """
        return {
            "weights_source": self._weights_source(),
            "resize": self.resize,
            "precision": getattr(self, "precision", None),
            "runtime": getattr(self, "runtime", None),
        }

    def _weights_source(self) -> str | None:
        """Return the absolute path of the weights, if there are any."""
        weights = getattr(self, "weights", None)
        return None if weights is None else os.path.abspath(weights)  # noqa: PTH100 (links stay)

    def prepare(self, n_images: int) -> None:
        """Load the network for a number of images, while the first of them are being read.

        Without it, the first batch loads the network, for any number of images.

        Parameters
        ----------
        n_images : int
            Number of images that will be embedded.  For few images the runtime that starts fastest
            is used, for many the one that runs fastest.
        """
        self._drop_outdated()
        self._prepare(n_images)

    def _prepare(self, n_images: int) -> None:
        """Do nothing: most networks load as fast for many images as for few."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of :meth:`describe`, in hexadecimal: the identity of the embedding space.

        Computed without loading the network.
        """
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def extract(self, images: NDArray[np.uint8]) -> Extraction:
        """Embed up to ``full_batch`` images in one forward pass.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3), uint8
            RGB images, ``1 <= n <= full_batch``, of this extractor's ``image_size``.

        Returns
        -------
        Extraction
            ``n`` vectors, and ``n`` rows of probabilities if the network predicts them.

        Raises
        ------
        InvalidInputError
            If the shape or dtype is invalid, or the shape of what :meth:`_forward` returns.
        """
        images = self._check_batch(images)
        self._drop_outdated()
        return self._check_extraction(self._forward(images), len(images))

    def feature_maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return the features of each location of images, whose average is the vector.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3), uint8
            As for :meth:`extract`.

        Returns
        -------
        ndarray of shape (n, h, w, dimension), float32, or None
            The last feature maps of the network; None if its vectors are not averages of such maps.

        Raises
        ------
        InvalidInputError
            If the shape or dtype is invalid.
        """
        images = self._check_batch(images)
        self._drop_outdated()
        maps = self._forward_maps(images)
        return None if maps is None else np.ascontiguousarray(maps, dtype=np.float32)

    def _forward_maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return None: most vectors are not averages of maps."""
        return None

    def _check_images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Check that images have the dtype and shape for this extractor."""
        images = np.asarray(images)
        expected = (*self.image_size, 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
            raise InvalidInputError(
                f"{self.name} takes uint8 images of shape (n, {expected[0]}, {expected[1]}, 3). "
                f"Received: {images.dtype} {images.shape}"
            )
        return images

    def _check_batch(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Check that images are a batch for this extractor."""
        images = self._check_images(images)
        n, full = len(images), self.full_batch
        if not 1 <= n <= full:
            raise InvalidInputError(f"a batch holds 1 to batch_size={full} images. Received: {n}")
        return images

    def _check_extraction(self, made: Any, n: int) -> Extraction:
        """Return the output for ``n`` images as float32, after a check of its shape."""
        # Without this, an array of the vectors of two images would be vectors and probabilities.
        is_pair = isinstance(made, tuple) and len(made) == 2
        vectors, probabilities = made if is_pair else Extraction(made)
        vectors = self._as_numbers(vectors)
        if vectors.shape != (n, self.dimension):
            raise InvalidInputError(
                f"{type(self).__name__}._forward must return vectors of shape (n, dimension) = "
                f"({n}, {self.dimension}). Received: {vectors.shape}"
            )
        if probabilities is not None:
            probabilities = self._as_numbers(probabilities)
            if probabilities.shape != (n, N_CLASSES):
                raise InvalidInputError(
                    f"{type(self).__name__}._forward must return probabilities of the ImageNet "
                    f"classes, of shape (n, {N_CLASSES}) = ({n}, {N_CLASSES}), or None. "
                    f"Received: {probabilities.shape}"
                )
        return Extraction(vectors, probabilities)

    def _as_numbers(self, values: Any) -> NDArray[np.float32]:
        """Return an output as float32, after a check that it is an array of real numbers."""
        try:
            array = np.asarray(values)
        except ValueError:  # rows of different lengths
            array = np.array(None)
        if array.dtype.kind in "cOSU":
            raise InvalidInputError(
                f"{type(self).__name__}._forward must return an array of real numbers, or an "
                f"Extraction of two. Received: {values!r:.100}"
            )
        return np.ascontiguousarray(array, dtype=np.float32)

    def _drop_outdated(self) -> None:
        """Drop cached state if the parameters or the weights file have changed."""
        parameters = self.get_params(deep=False)
        current = self.fingerprint, {name: repr(value) for name, value in parameters.items()}
        if not hasattr(self, "_made_with"):
            self._own_names = set(vars(self))
        elif self._made_with != current:
            for name in vars(self).keys() - self._own_names - {"_own_names"}:
                delattr(self, name)
        self._made_with = current

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Do nothing: the network is already trained."""
        return self

    def transform(self, X: ImageFolder | NDArray[np.uint8] | Iterable[Any]) -> NDArray[np.float32]:
        """Embed images in memory or on disk.

        Parameters
        ----------
        X : ImageFolder, list of paths, or ndarray of shape (n, height, width, 3), uint8
            The images.

        Returns
        -------
        ndarray of shape (n, dimension), float32
            One vector per image.

        Raises
        ------
        ImageError
            If an image cannot be read; :func:`clusterkit.embed` skips and lists it instead.
        InvalidInputError
            If there are no images, or the shape or dtype of an array is invalid.
        """
        check_resize_mode(self.resize)
        vectors = [self.extract(batch).vectors for batch in self._batches(X)]
        if not vectors:
            raise InvalidInputError(f"{self.name} needs at least one image. Received: none")
        return np.concatenate(vectors)

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Embed images; the same as :meth:`transform`."""
        return self.transform(X)

    def _batches(self, X: Any) -> Iterator[NDArray[np.uint8]]:
        """Yield arrays of at most ``full_batch`` images."""
        full = self.full_batch
        X = as_images(X)
        if isinstance(X, np.ndarray):
            if len(X):
                self.prepare(len(X))
            for start in range(0, len(X), full):
                yield X[start : start + full]
            return
        files = X.files if hasattr(X, "files") else [as_path(x) for x in X]
        if files:
            self.prepare(len(files))
        for batch in read_batches(files, self.image_size, full, resize=self.resize):
            for row, reason in batch.failures:
                raise ImageError(f"{files[row]}: {reason}")
            yield batch.images
