"""Embeddings in memory: vectors with their paths and a description of their space."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.labels import is_named
from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError
from clusterkit.utils import html
from clusterkit.utils.arguments import check_vectors
from clusterkit.utils.locations import absolute, as_path, relative
from clusterkit.utils.text import first_few

T = TypeVar("T")
# Number of images shown in a notebook.
_N_SHOWN = 5
# The most probable ImageNet classes of an image, as (name, probability) pairs.
TopClasses = list[tuple[str, float]]


class Failure(NamedTuple):
    """An image that could not be embedded, and why."""

    path: str
    reason: str


class Selection(NamedTuple):
    """A selection by :func:`clusterkit.select`: images of these folders, and of these clusters.

    Attributes
    ----------
    only : tuple of str
        Folders or patterns; empty for all.
    clusters : tuple of str
        Numbers or names of clusters of ``of``; empty for all.
    of : str or None
        The table of these clusters; None for a clustering that was in memory.
    n_images, n_before : int
        Number of selected images, and of images before.
    """

    only: tuple[str, ...]
    clusters: tuple[str, ...]
    of: str | None
    n_images: int
    n_before: int

    @property
    def options(self) -> str:
        """Command-line options that select the same images."""
        words = [word for pattern in self.only for word in ("--only", pattern)]
        words += [word for cluster in self.clusters for word in ("--only-cluster", cluster)]
        return shlex.join([*words, "--of", self.of] if self.of else words)

    def __str__(self) -> str:
        said = []
        if self.clusters:
            table = f" of {self.of}" if self.of else ""
            said.append(f"cluster {', '.join(self.clusters)}{table}")
        if self.only:
            said.append(" or ".join(self.only))
        return f"{' and '.join(said)} ({self.n_images:,} of {self.n_before:,} images)"


class RandomSample(NamedTuple):
    """A uniform random sample, without replacement, of the images of a large space.

    Attributes
    ----------
    n_images, n_before : int
        Number of images in the sample, and of all images.
    random_state : int or None
        Its seed.
    """

    n_images: int
    n_before: int
    random_state: int | None

    def __str__(self) -> str:
        return f"a random sample of {self.n_images:,} of {self.n_before:,} images"


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of images in one embedding space, accepted as X by scikit-learn.

    Rows are selected as in an array, or by path, and keep their paths: ``emb[:5]``, ``emb[mask]``,
    ``emb[["a.png"]]``.  Selecting columns returns an array: ``emb[:5, :3]``.  Attributes cannot be
    assigned to; :func:`dataclasses.replace` returns a changed copy.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension), float32
        One row per embedded image; also a data frame, or its column with a vector in each cell.
    paths : sequence of str, optional
        The images, relative to ``root``; by default the index of a data frame if it is text, each
        once, otherwise the row numbers.  Stored as a list.
    root : path, optional
        Folder that the paths are relative to; stored as an absolute path.
    space : dict, optional
        Description of what made the vectors; its ``fingerprint`` identifies the embedding space.
    top5 : list, optional
        The five most probable ImageNet classes of each row as (name, probability) pairs.
    digests : list of str, optional
        SHA-256 digest of each image file.
    failures : list of Failure, optional
        Images without a vector.
    selections : tuple of Selection, optional
        How these images were selected from more, one selection after the other.
    sampled : RandomSample, optional
        The random sample that they are, see :meth:`clusterkit.store.VectorStream.sample`.

    Raises
    ------
    InvalidInputError
        If the vectors are not two-dimensional real numbers within the range of float32, are sparse
        or masked, or there is not one path, digest and list of classes per vector.

    Examples
    --------
    >>> emb = Embeddings(np.eye(3, dtype="float32"), paths=["a.png", "b.png", "c.png"])
    >>> emb[["c.png", "a.png"]].paths
    ['c.png', 'a.png']
    >>> np.asarray(emb).shape
    (3, 3)
    >>> emb[1:, 0]
    array([0., 0.], dtype=float32)
    """

    vectors: NDArray[np.float32]
    paths: list[str] = field(default_factory=list)
    root: Path | None = None
    space: dict[str, Any] = field(default_factory=dict)
    top5: list[TopClasses | None] | None = None
    digests: list[str] | None = None
    failures: list[Failure] = field(default_factory=list)
    selections: tuple[Selection, ...] = ()
    sampled: RandomSample | None = None

    def __post_init__(self) -> None:
        given: Any = self.vectors
        check_vectors(given, "vectors")
        vectors = _as_float32(given)
        if vectors.ndim != 2:
            raise InvalidInputError(
                f"vectors must have shape (n, dimension). Received: {vectors.shape}"
            )
        paths = _names(self.paths) or _names(given.index if is_named(given) else [])
        paths = paths or [str(row) for row in range(len(vectors))]
        for what, values in (
            ("path", paths),
            ("list of classes", self.top5),
            ("digest", self.digests),
        ):
            if values is not None and len(values) != len(vectors):
                raise InvalidInputError(
                    f"there must be one {what} per vector. "
                    f"Received: {len(values):,} {what}s, {len(vectors):,} vectors"
                )
        # A frozen dataclass converts its fields this way.
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "failures", list(self.failures))
        if self.root is not None:
            object.__setattr__(self, "root", as_path(absolute(self.root)))

    @property
    def shape(self) -> tuple[int, int]:
        """(number of images, dimension)."""
        return self.vectors.shape[0], self.vectors.shape[1]

    @property
    def ndim(self) -> int:
        """Number of array dimensions: 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Data type: float32."""
        return self.vectors.dtype

    @property
    def fingerprint(self) -> str | None:
        """Identity of the embedding space; None if unknown."""
        return self.space.get("fingerprint")

    @property
    def files(self) -> list[Path]:
        """Absolute path of each image."""
        return [self._file(path) for path in self.paths]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.vectors, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter(self.vectors)

    def __contains__(self, path: object) -> bool:
        """Return whether there is an image with this path in the space, or this file."""
        return _is_path(path) and self.find(path) is not None

    def __getitem__(self, key: Any) -> Any:
        """Select images by a slice, row numbers, a boolean mask or paths.

        With rows and columns, ``emb[rows, columns]``, return an array.
        """
        if isinstance(key, tuple) and not (key and all(map(_is_path, key))):
            rows, *columns = key or (slice(None),)
            if not all(map(_is_whole, columns)):
                return self.vectors[(self._select(rows), *columns)]
            key = rows
        selected = self._select(key)
        if np.ndim(selected) > 1:
            return self.vectors[selected]
        rows = np.atleast_1d(np.arange(len(self))[selected])
        return Embeddings(
            self.vectors[rows],
            paths=[self.paths[row] for row in rows],
            root=self.root,
            space=self.space,
            top5=_take(self.top5, rows),
            digests=_take(self.digests, rows),
            selections=self.selections,
            sampled=self.sampled,
        )

    def _select(self, key: Any) -> Any:
        """Convert paths in a key to row numbers."""
        if _is_path(key):
            return self.row(key)
        if isinstance(key, np.ndarray):
            # Table columns hold rows, masks and paths as objects.
            key = key.tolist() if key.dtype.kind in "OUT" or not key.size else key
        elif isinstance(key, Iterable):
            key = list(key)
        if isinstance(key, list):
            if key and all(map(_is_path, key)):
                return np.array([self.row(path) for path in key])
            return np.array(key, dtype=None if key else int)
        return key

    def row(self, path: str | os.PathLike[str]) -> int:
        """Return the row of an image, given by its path in the space or by its file.

        Parameters
        ----------
        path : path
            The path in the space, the file, or the end of one path, such as the name of a file.

        Returns
        -------
        int
            The row.

        Raises
        ------
        NotFoundError
            If there is no such image, or it could not be embedded.
        InvalidInputError
            If several paths have this end.
        """
        return row_of_image(self, path)

    def rows_of_content(self, digest: str) -> list[int]:
        """Return the rows of all files with a SHA-256 digest."""
        return [row for row, known in enumerate(self.digests or ()) if known == digest]

    def find(self, path: str | os.PathLike[str]) -> int | None:
        """Return the row of an image as :meth:`row` does, or None if there is none."""
        rows = self._row_of_path
        row = rows.get(str(path))
        if row is None and self.root is not None:
            row = rows.get(relative(absolute(path), self.root))
        return row

    def check_same_space(self, other: Any) -> None:
        """Check that the other vectors are not from a different space.

        Raises
        ------
        SpaceMismatchError
            If both fingerprints are known and differ.
        """
        check_one_space(self, other)

    def _file(self, path: str) -> Path:
        """Return the absolute path of an image."""
        return self.root / path if self.root else as_path(path)

    @cached_property
    def _row_of_path(self) -> dict[str, int]:
        """Row of each path."""
        return {path: row for row, path in enumerate(self.paths)}

    def __repr__(self) -> str:
        return f"Embeddings({len(self)} x {self.shape[1]}, {describe_space(self.space)})"

    def _repr_html_(self) -> str:
        """Return the first images with their most probable classes, for a notebook."""
        header, rows = ["path"], [[path] for path in self.paths[:_N_SHOWN]]
        if self.top5 is not None:
            header.append("most probable class")
            for row, top in zip(rows, self.top5, strict=False):
                row.append(f"{top[0][0]} ({top[0][1]:.2f})" if top else "")
        failed = f", {len(self.failures):,} without a vector" if self.failures else ""
        left = f", the first {len(rows):,} of them shown" if len(rows) < len(self) else ""
        space, d = describe_space(self.space), self.shape[1]
        said = f"{len(self):,} images in {d:,} dimensions, {space}{failed}{left}"
        return html.paragraph(said) + html.table(header, rows)


def fingerprint_of(X: Any) -> str | None:
    """Return the fingerprint of the vectors' space; None for a plain array."""
    fingerprint = getattr(X, "fingerprint", None)
    return fingerprint if isinstance(fingerprint, str) else None


def row_of_image(images: Any, path: str | os.PathLike[str]) -> int:
    """Return the row of an image among others, in memory or on disk; see :meth:`Embeddings.row`."""
    row: int | None = images.find(path)
    if row is not None:
        return row
    for failure in images.failures:
        file = images.root / failure.path if images.root else as_path(failure.path)
        if str(path) == failure.path or str(file) == absolute(path):
            raise NotFoundError(f"{path} could not be embedded: {failure.reason}")
    meant = find_by_end(str(path), images.paths)
    if meant is not None:
        return int(images.find(meant))
    raise NotFoundError(f"{path} is not among the {len(images):,} embedded images")


def find_by_end(image: str, paths: Collection[str]) -> str | None:
    """Return the path that ends with what a user typed, such as a file's name, or None.

    Raises
    ------
    InvalidInputError
        If there are several.
    """
    # Windows paths have backslashes; elsewhere, a name may have one, too.
    for typed in dict.fromkeys((image, image.replace("\\", "/"))):
        if typed in paths:
            return typed
        ends = [path for path in paths if path.endswith(f"/{typed}")]
        if len(ends) > 1:
            raise InvalidInputError(
                f"{image} could be {ends[0]} or {ends[1]}: give the path with its folders"
            )
        if ends:
            return ends[0]
    return None


def check_one_space(known: Any, other: Any) -> None:
    """Check that vectors are not from a different space than others.

    Raises
    ------
    SpaceMismatchError
        If both fingerprints are known and differ.
    """
    ours, theirs = fingerprint_of(known), fingerprint_of(other)
    if ours and theirs and theirs != ours:
        raise SpaceMismatchError(
            "vectors of two embedding spaces never mix. Received: "
            f"{describe_space(known.space)} and {describe_space(other.space)}"
        )


def check_fitted_space(estimator: Any, X: Any) -> None:
    """Check that vectors are not from a different space than the one an estimator was fitted on.

    Parameters
    ----------
    estimator : object
        Its ``fingerprint_`` identifies the space; None if it was fitted on a plain array.
    X : Embeddings, VectorStream or array-like
        Plain arrays have no known space and are always accepted.

    Raises
    ------
    SpaceMismatchError
        If both fingerprints are known and differ.
    """
    fitted, received = estimator.fingerprint_, fingerprint_of(X)
    if fitted and received and fitted != received:
        raise SpaceMismatchError(
            f"this {type(estimator).__name__} was fitted on vectors of another embedding space, "
            f"{fitted[:8]}, and vectors of two spaces never mix. "
            f"Received: {describe_space(X.space)}"
        )


def describe_space(space: dict[str, Any]) -> str:
    """Return a short name of a space: its extractor and the start of its fingerprint."""
    if not space.get("fingerprint"):
        return "unknown space"
    return f"{space.get('extractor', 'unknown')}-{space['fingerprint'][:8]}"


def _as_float32(given: Any) -> NDArray[np.float32]:
    """Return vectors as float32, or raise InvalidInputError if they are not such numbers."""
    columns = getattr(given, "columns", None)  # of a data frame
    try:
        if np.iscomplexobj(given):
            raise TypeError("complex numbers")
        if not isinstance(given, list | tuple):
            given = np.asarray(given)
            if given.ndim == 1 and given.dtype == np.object_:
                # A column of a data frame, with a vector in each cell.
                given = list(given)
            elif given.dtype.kind in "mM":
                # NumPy would count the days or seconds.
                raise TypeError("dates or times")
        with np.errstate(over="raise"):
            return np.asarray(given, dtype=np.float32)
    except (FloatingPointError, OverflowError):
        raise InvalidInputError(
            "vectors must be within the range of float32, 3.4e38. Received: a larger number"
        ) from None
    except (TypeError, ValueError) as error:
        if columns is not None:
            raise InvalidInputError(
                "vectors must be numbers of shape (n, dimension), or a column with one in each "
                "cell, such as table['vector'], in pandas table.set_index('path')['vector'] for "
                f"their paths. Received: a table with the columns {first_few(map(str, columns))}"
            ) from None
        raise InvalidInputError(
            f"vectors must be numbers of shape (n, dimension). Received: {error}"
        ) from error


def _names(paths: Iterable[Any]) -> list[str]:
    """Return any sequence of paths as a list of strings."""
    if isinstance(paths, str):
        raise InvalidInputError(f"paths must be a sequence of paths. Received: {paths!r}")
    names = list(paths)
    for name in names:
        if not _is_path(name):
            raise InvalidInputError(f"paths must be strings. Received: {name!r}")
    return [str(name) for name in names]


def _is_path(key: object) -> TypeGuard[str | os.PathLike[str]]:
    """Return whether the key is a path."""
    return isinstance(key, str | os.PathLike)


def _is_whole(key: Any) -> bool:
    """Return whether the key selects all columns."""
    return key is Ellipsis or (isinstance(key, slice) and key == slice(None))


def _take(values: list[T] | None, rows: NDArray[np.int64]) -> list[T] | None:
    """Select rows of an optional list."""
    return None if values is None else [values[row] for row in rows]
