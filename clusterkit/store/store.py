"""The store on disk, a folder per embedding space, and embeddings that are given in any form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError, StoreError
from clusterkit.store.embeddings import Embeddings, RandomSample, describe_space
from clusterkit.store.space import Space
from clusterkit.store.space_files import ABOUT, is_part, read_sealed, write_sealed
from clusterkit.store.stream import VectorStream
from clusterkit.utils.arguments import as_plain, check_at_least, generator_from
from clusterkit.utils.files import DEFAULT_STORE
from clusterkit.utils.locations import as_path, glob
from clusterkit.utils.memory import available_memory
from clusterkit.utils.text import did_you_mean

# Longest name of an extractor in bytes: that of a folder, without the start of the fingerprint.
_MAX_NAME = 255 - len("-01234567")
# A space is large if its vectors take more bytes than this, or than this share of the free memory.
# The first limit usually applies, so that the result does not depend on the machine.
_LARGE_BYTES, _LARGE_SHARE = 2**30, 0.25


class Store:
    """A folder of embeddings, with one sub-folder per embedding space.

    One space is the default, which is used if none is named: the first that was embedded, until
    :meth:`use` sets another.  Embedding further spaces does not change it.

    Parameters
    ----------
    folder : path, optional
        The folder, or an address on object storage such as ``s3://bucket/store``; created with its
        first space.

    Examples
    --------
    >>> Store(".clusterkit").read("xception")  # doctest: +SKIP
    Embeddings(380 x 2048, xception-5d41402a)
    """

    def __init__(self, folder: str | os.PathLike[str] = DEFAULT_STORE) -> None:
        self.folder = as_path(folder)
        self.default_file = self.folder / ABOUT / "store.json"

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    @property
    def default(self) -> Space | None:
        """The default space; None in a store without embeddings."""
        return self._default_of(self._filled())

    def _default_of(self, spaces: list[Space]) -> Space | None:
        """Return the default of all spaces with rows."""
        chosen = self._read_default()
        named = [space for space in spaces if space.folder.name == chosen]
        # Stores of earlier versions record no default, which was the last embedded space.
        return max(named or spaces, key=lambda space: space.used_ns, default=None)

    def use(self, extractor: str) -> Space:
        """Make a space the default, and return it.

        Parameters
        ----------
        extractor : str
            Which space, as for :meth:`space`.

        Returns
        -------
        Space
            The space.

        Raises
        ------
        NotFoundError
            If there is no such space.
        StoreError
            If the store cannot be written.
        """
        space = self.space(extractor)
        self._write_default(space)
        return space

    def _read_default(self) -> str | None:
        """Return the name of the default space's folder, if one was recorded.

        Raises
        ------
        StoreError
            If the file cannot be opened: another space would be the default without a word.
        """
        try:
            name = read_sealed(self.default_file).get("default")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None  # of an earlier version, or damaged
        except OSError as error:
            raise StoreError(
                f"cannot read {self.default_file}, which names the default space: "
                f"{error.strerror or error}. Make it readable, and run again"
            ) from error
        return name if isinstance(name, str) else None

    def _write_default(self, space: Space) -> None:
        """Record the default space."""
        if space.folder.name == self._read_default():
            return
        try:
            self.default_file.parent.mkdir(exist_ok=True)
            write_sealed(self.default_file, {"default": space.folder.name})
        except OSError as error:
            raise space.folders.cannot_write(error) from error

    def _keep_default(self) -> None:
        """Record the default space, if there is one, before another is written."""
        default = self.default
        if default is not None:
            self._write_default(default)

    @contextmanager
    def writing(self, space: Space) -> Iterator[None]:
        """Lock a space for writing, see :meth:`Space.writing`; the default does not change.

        Raises
        ------
        StoreError
            If another process holds the lock, or the store cannot be written.
        """
        self._keep_default()
        with space.writing():
            yield

    @contextmanager
    def adding(self, space: Space, writer: str) -> Iterator[None]:
        """Add rows to a space concurrently with other writers, see :meth:`Space.adding`.

        Raises
        ------
        InvalidInputError
            If the writer's name has other characters than digits and small letters.
        StoreError
            If another process writes under the same name, or the store cannot be written.
        """
        self._keep_default()
        with space.adding(writer):
            yield

    def spaces(self) -> list[Space]:
        """Return all spaces with rows: the default, then the others, the oldest first."""
        found = self._filled()
        default = self._default_of(found)
        if default is None:
            return []
        others = [space for space in found if space.folder != default.folder]
        return [
            default,
            *sorted(others, key=lambda space: (space.description.created, space.folder.name)),
        ]

    def summaries(self) -> list[dict[str, Any]]:
        """Return :meth:`Space.summary` of every space, or ``space`` and ``error`` if it is damaged.

        Each also tells whether it is the ``default``.

        Returns
        -------
        list of dict
            One per space, in order of name.

        Raises
        ------
        NotFoundError
            If there is no store.
        """
        found = []
        filled = {space.folder.name for space in self._filled()}
        # Other folders were left by runs that failed before their first part.
        spaces = [
            space
            for space in self._folders(required=True)
            if space.folder.name in filled or space.ledgers.has_parts()
        ]
        default = self._default_of(spaces)
        for space in spaces:
            try:
                summary = space.summary()
            except StoreError as error:
                summary = {"space": space.folder.name, "error": str(error)}
            is_default = default is not None and space.folder == default.folder
            found.append(summary | {"default": is_default})
        return found

    def verify(self) -> list[tuple[Path, str]]:
        """Read all files, and return the damaged ones with a description of the damage.

        Returns
        -------
        list of (pathlib.Path, str)
            Damaged files, with the damage.

        Raises
        ------
        NotFoundError
            If there is no store.
        """
        damages = []
        for space in self._folders(required=True):
            try:
                damages += space.verify()
            except StoreError as error:
                damages.append((space.info_file, str(error)))
        return damages

    def follow(self, moves: Mapping[str, str]) -> None:
        """Record the new paths of moved files, so that their embeddings are found.

        Parameters
        ----------
        moves : mapping of str to str
            Absolute path of each file before and after.

        Raises
        ------
        StoreError
            If another run is writing to a space, or it cannot be written.
        """
        self._keep_default()
        for space in self._folders():
            space.follow(moves)

    def _filled(self) -> list[Space]:
        """Return all spaces with rows, in order of name."""
        files = glob(self.folder, ["*/*.parquet", f"{ABOUT}/*/*.parquet"])
        names = {file.parent.name for file in files if is_part(file.name)}
        return [Space(self.folder / name) for name in sorted(names)]

    def _folders(self, *, required: bool = False) -> list[Space]:
        """Return all spaces in order of name."""
        names = ("space.json", "parts.json", "part-*.parquet")
        places = [f"{place}*/{name}" for place in ("", f"{ABOUT}/") for name in names]
        files = glob(self.folder, places)
        if required and not files:
            raise self._nothing_here()
        return [Space(self.folder / name) for name in sorted({file.parent.name for file in files})]

    def _nothing_here(self) -> NotFoundError:
        """Return an error with a remedy for a store without embeddings."""
        return NotFoundError(
            f"no embeddings in the store {self.folder}: run `clusterkit embed FOLDER` first"
        )

    def space(self, extractor: str | None = None) -> Space:
        """Return a space of the store.

        Parameters
        ----------
        extractor : str, optional
            Name of the extractor ("xception") or of the space's folder, or the ``.keras`` file that
            made it; of several spaces the last that was embedded.  By default the default space.

        Returns
        -------
        Space
            The space.

        Raises
        ------
        NotFoundError
            If there is no such space; the message lists the available ones.
        """
        spaces = self.spaces()
        if not spaces:
            raise self._nothing_here()
        if extractor is None:
            return spaces[0]
        matching = self.spaces_of(extractor)
        if not matching:
            names = [space.folder.name for space in spaces]
            known = [*names, *(name.rpartition("-")[0] for name in names)]
            raise NotFoundError(
                f"no space of {extractor!r} in the store {self.folder}. It holds: "
                f"{', '.join(names)}{did_you_mean(extractor, known)}"
            )
        return matching[0]

    def spaces_of(self, extractor: str) -> list[Space]:
        """Return the spaces that match a name, see :meth:`space`; the last embedded first.

        Spaces that were imported under the name of an extractor come after its own.
        """
        matching = [space for space in self.spaces() if space.answers_to(extractor)]
        if len(matching) < 2:
            return matching
        return sorted(matching, key=lambda space: (_is_imported(space), -space.used_ns))

    def read(self, extractor: str | None = None) -> Embeddings:
        """Load the embeddings of a space, see :meth:`space` and :meth:`Space.read`.

        Parameters
        ----------
        extractor : str, optional
            Which space; by default the default space.

        Returns
        -------
        Embeddings
            One row per embedded image, sorted by path, and the failures.

        Raises
        ------
        NotFoundError
            If there is no such space.
        """
        return self.space(extractor).read()

    def open_space(self, description: dict[str, Any]) -> Space:
        """Return the space of an extractor; its folder is created at the first write.

        Parameters
        ----------
        description : dict
            ``fingerprint``, ``extractor``, ``dimension`` and other properties of the extractor.

        Returns
        -------
        Space
            The space.

        Raises
        ------
        InvalidInputError
            If the extractor's name cannot be that of a folder.
        StoreError
            If the folder has a newer format.
        SpaceMismatchError
            If the folder of that name contains a different space, or vectors of other numbers than
            the description's ``vectors``, if it has any.
        """
        name = describe_space(description)
        is_long = len(os.fsencode(description["extractor"])) > _MAX_NAME
        if is_long or name.startswith(".") or any(character in name for character in "/\\\0"):
            raise InvalidInputError(
                f"the name of an extractor is that of its folder in the store: up to {_MAX_NAME} "
                "bytes, without slashes and without a dot at the start. "
                f"Received: {description['extractor']!r}"
            )
        space = Space(self.folder / name, description)
        recorded = space.read_info()
        space.description.check_numbers()
        if recorded and recorded["fingerprint"] != description["fingerprint"]:
            raise SpaceMismatchError(
                f"{space.folder} holds vectors of fingerprint {recorded['fingerprint']}. "
                f"Received: {description['fingerprint']}. Choose another folder with --store"
            )
        return space


def as_store(store: Store | str | os.PathLike[str]) -> Store:
    """Return a store itself, or the one in a folder."""
    return store if isinstance(store, Store) else Store(store)


def is_large(space: Space) -> bool:
    """Return whether a space is to be read part by part instead of being loaded.

    It is if its vectors take more than 1 GiB, or more than a quarter of the available memory:
    loading them needs up to four times as much.

    Parameters
    ----------
    space : Space
        The space.

    Returns
    -------
    bool
        Whether it is large.
    """
    free = available_memory()
    limit = _LARGE_BYTES if free is None else min(_LARGE_BYTES, int(_LARGE_SHARE * free))
    return space.vector_bytes > limit


def read_or_stream(space: Space, *, stream: bool | None = None) -> Embeddings | VectorStream:
    """Load a space, or open it as a stream of its parts.

    Parameters
    ----------
    space : Space
        The space.
    stream : bool, optional
        Whether to open it as a stream; by default if it is large, see :func:`is_large`.
    """
    return space.stream() if (is_large(space) if stream is None else stream) else space.read()


def as_space(source: Any) -> Any:
    """Return the default space of a store or of its path; return anything else unchanged."""
    if isinstance(source, str | os.PathLike):
        source = Store(source)
    return source.space() if isinstance(source, Store) else source


def as_vectors(source: Any, *, stream: bool | None = None) -> Embeddings | VectorStream:
    """Return embeddings, or those of a large space as a stream.

    Parameters
    ----------
    source : Embeddings, VectorStream, array-like, Store, Space, or path of a store
        Of a store, its default space.
    stream : bool, optional
        Whether to open a space as a stream; by default if it is large, see :func:`is_large`.

    Raises
    ------
    NotFoundError
        If there is no such store.
    InvalidInputError
        If the source is none of these.
    """
    source = as_space(source)
    if isinstance(source, Space):
        return read_or_stream(source, stream=stream)
    return source if isinstance(source, Embeddings | VectorStream) else Embeddings(source)


def as_embeddings(source: Any) -> Embeddings:
    """Return embeddings, read from the store if one is given.

    Parameters
    ----------
    source : Embeddings, array-like of shape (n, dimension), Store, Space, or path of a store
        Of a store, its default space.

    Returns
    -------
    Embeddings
        The given ones, those of a space, or an array as embeddings without paths.

    Raises
    ------
    NotFoundError
        If there is no such store.
    InvalidInputError
        If it is none of these, such as a stream.
    """
    source = as_space(source)
    if isinstance(source, Embeddings):
        return source
    if isinstance(source, VectorStream):
        raise InvalidInputError(
            "all vectors are needed in memory: pass the space, or a sample of the stream, "
            f"stream.sample(). Received: {source!r}"
        )
    return source.read() if isinstance(source, Space) else Embeddings(source)


def as_sample(
    source: Any,
    size: int | None = None,
    *,
    random_state: int | None = None,
    progress: bool = False,
) -> Embeddings:
    """Return embeddings, or a random sample of them if they are too many to be loaded.

    Parameters
    ----------
    source : Embeddings, VectorStream, array-like, Store, Space, or path of a store
        Of a store, its default space.
    size : int, optional
        Maximum number of images; by default 20,000 of a stream or a large space (see
        :func:`is_large`), otherwise all.
    random_state : int, optional
        Seed of the sample.
    progress : bool
        Whether to show a progress bar while a stream is read.

    Returns
    -------
    Embeddings
        ``sampled`` describes the sample, if it is one.

    Raises
    ------
    NotFoundError
        If there is no such store.
    InvalidInputError
        If the size is below 1, or the source is none of these.
    """
    if size is not None:
        size = check_at_least(size, 1, "sample")
    loaded = as_vectors(source)
    if isinstance(loaded, VectorStream):
        return loaded.sample(size, random_state=random_state, progress=progress)
    n = len(loaded)
    if size is None or size >= n:
        return loaded
    rows = np.sort(generator_from(random_state).choice(n, size, replace=False))
    some = replace(loaded[rows], failures=loaded.failures)
    return replace(some, sampled=RandomSample(size, n, as_plain(random_state)))


def _is_imported(space: Space) -> bool:
    """Return whether another program made the vectors of a space; False if it is damaged."""
    try:
        return "imported_from" in (space.read_info() or {})
    except StoreError:
        return False
