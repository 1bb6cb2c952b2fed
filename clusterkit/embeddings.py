"""Embeddings in memory: vectors that stay glued to their paths and to what made them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError

T = TypeVar("T")
# The most probable ImageNet classes of an image, as (name, probability) pairs.
TopClasses = list[tuple[str, float]]


class Failure(NamedTuple):
    """An image that could not be embedded, and why."""

    path: str
    reason: str


@dataclass(eq=False)
class Embeddings:
    """Vectors of images in one embedding space, accepted wherever scikit-learn takes X.

    Parameters
    ----------
    vectors : ndarray of shape (n, dimension), float32
        One row per embedded image.
    paths : list of str, optional
        The images, relative to ``root``; by default the row numbers.
    root : pathlib.Path, optional
        Absolute folder that the paths are relative to.
    space : dict, optional
        What made the vectors; its ``fingerprint`` is the identity of the embedding space.
    top5 : list, optional
        For each row the five most probable ImageNet classes as (name, probability) pairs.
    digests : list of str, optional
        SHA-256 of each image file's bytes.
    failures : list of Failure, optional
        Images that have no vector.

    Examples
    --------
    >>> emb = Embeddings(np.eye(3, dtype="float32"), paths=["a.png", "b.png", "c.png"])
    >>> emb[["c.png", "a.png"]].paths
    ['c.png', 'a.png']
    >>> np.asarray(emb).shape
    (3, 3)
    """

    vectors: NDArray[np.float32]
    paths: list[str] = field(default_factory=list)
    root: Path | None = None
    space: dict[str, Any] = field(default_factory=dict)
    top5: list[TopClasses | None] | None = None
    digests: list[str] | None = None
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vectors = np.asarray(self.vectors, dtype=np.float32)
        if self.vectors.ndim != 2:
            raise InvalidInputError(
                f"vectors must have shape (n, dimension). Received: {self.vectors.shape}"
            )
        if not self.paths:
            self.paths = [str(row) for row in range(len(self.vectors))]
        if len(self.paths) != len(self.vectors):
            raise InvalidInputError(
                "there must be one path per vector. "
                f"Received: {len(self.paths)} paths, {len(self.vectors)} vectors"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(number of images, dimension)."""
        return self.vectors.shape[0], self.vectors.shape[1]

    @property
    def fingerprint(self) -> str | None:
        """Identity of the embedding space, where it is known."""
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

    def __getitem__(self, key: Any) -> "Embeddings":
        """Select images by a slice, row numbers, a boolean mask, or paths."""
        if isinstance(key, str | os.PathLike | int | np.integer):
            key = [key]
        if isinstance(key, slice):
            rows = np.arange(len(self))[key]
        elif len(key) and all(isinstance(item, str | os.PathLike) for item in key):
            rows = np.array([self.row(item) for item in key])
        else:
            rows = np.arange(len(self))[np.asarray(key, dtype=None if len(key) else int)]
        return Embeddings(
            self.vectors[rows],
            paths=[self.paths[row] for row in rows],
            root=self.root,
            space=self.space,
            top5=_take(self.top5, rows),
            digests=_take(self.digests, rows),
        )

    def row(self, path: str | os.PathLike[str]) -> int:
        """Return the row of an image, named by its path in the space or by its file.

        Raises
        ------
        NotFoundError
            If there is no such image; the reason is given where it could not be embedded.
        """
        row = self.find(path)
        if row is not None:
            return row
        for failure in self.failures:
            if str(path) == failure.path or self._file(failure.path) == _absolute(path):
                raise NotFoundError(f"{path} could not be embedded: {failure.reason}")
        raise NotFoundError(f"{path} is not among the {len(self)} embedded images")

    def find(self, path: str | os.PathLike[str]) -> int | None:
        """Return the row of an image as :meth:`row` does, or None where there is none."""
        rows = self._rows()
        row = rows.get(os.fspath(path))
        if row is None and self.root is not None:
            relative = os.path.relpath(_absolute(path), self.root).replace(os.sep, "/")
            row = rows.get(relative)
        return row

    def check_same_space(self, other: Any) -> None:
        """Refuse to go on where the other vectors are known to be of another space.

        Raises
        ------
        SpaceMismatchError
            If both fingerprints are known and differ.
        """
        theirs = getattr(other, "fingerprint", None)
        if self.fingerprint and theirs and theirs != self.fingerprint:
            raise SpaceMismatchError(
                "vectors of two embedding spaces never mix. Received: "
                f"{describe_space(self.space)} and {describe_space(other.space)}"
            )

    def _file(self, path: str) -> Path:
        """Return where an image of this space lies."""
        return self.root / path if self.root else Path(path)

    def _rows(self) -> dict[str, int]:
        """Map each path to its row, once."""
        if not hasattr(self, "_row_of_path"):
            self._row_of_path = {path: row for row, path in enumerate(self.paths)}
        return self._row_of_path

    def __repr__(self) -> str:
        return f"Embeddings({len(self)} x {self.shape[1]}, {describe_space(self.space)})"


def concatenate(parts: Sequence[Embeddings]) -> Embeddings:
    """Join embeddings of one space and one root, row after row.

    Raises
    ------
    SpaceMismatchError
        If two of them are of different spaces.
    InvalidInputError
        If there is none, or their roots differ.
    """
    if not parts:
        raise InvalidInputError("concatenate needs at least one Embeddings. Received: none")
    first = parts[0]
    for part in parts[1:]:
        first.check_same_space(part)
        if part.root != first.root:
            raise InvalidInputError(
                f"paths must share one root. Received: {first.root} and {part.root}"
            )
    return Embeddings(
        np.concatenate([part.vectors for part in parts]),
        paths=[path for part in parts for path in part.paths],
        root=first.root,
        space=first.space,
        top5=_chain([part.top5 for part in parts]),
        digests=_chain([part.digests for part in parts]),
        failures=[failure for part in parts for failure in part.failures],
    )


def describe_space(space: dict[str, Any]) -> str:
    """Name a space in a few characters: its extractor and the start of its fingerprint."""
    if not space.get("fingerprint"):
        return "unknown space"
    return f"{space.get('extractor', 'unknown')}-{space['fingerprint'][:8]}"


def _take(values: list[T] | None, rows: NDArray[np.int64]) -> list[T] | None:
    """Select rows of an optional list."""
    return None if values is None else [values[row] for row in rows]


def _chain(lists: list[list[T] | None]) -> list[T] | None:
    """Join optional lists; None where one is missing."""
    present = [values for values in lists if values is not None]
    return [value for values in present for value in values] if len(present) == len(lists) else None


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Make a path absolute without following links."""
    return Path(os.path.abspath(path))  # noqa: PTH100
