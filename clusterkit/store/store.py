"""The store on disk: a folder with a sub-folder per embedding space."""

import os
from pathlib import Path
from typing import Any

from clusterkit.errors import NotFoundError, SpaceMismatchError, StoreError
from clusterkit.store.embeddings import describe_space
from clusterkit.store.space import ABOUT, Space
from clusterkit.utils.files import DEFAULT_STORE


class Store:
    """A folder of embeddings, with one sub-folder per embedding space.

    Parameters
    ----------
    folder : path, optional
        The folder; created with its first space.

    Examples
    --------
    >>> Store(".clusterkit").space("xception").read()  # doctest: +SKIP
    Embeddings(380 x 2048, xception-5d41402a)
    """

    def __init__(self, folder: str | os.PathLike[str] = DEFAULT_STORE) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def spaces(self) -> list[Space]:
        """Return all spaces with rows, the most recently used first."""
        found = [space for space in self._folders() if not space.is_empty]
        return sorted(found, key=lambda space: (-space.used_ns, space.folder.name))

    def summaries(self) -> list[dict[str, Any]]:
        """Return :meth:`Space.summary` of every space, or ``space`` and ``error`` if it is damaged.

        Raises
        ------
        NotFoundError
            If there is no store.
        """
        found = []
        for space in self._folders(required=True):
            if space.is_empty:
                continue  # left by a run that failed before its first part
            try:
                found.append(space.summary())
            except StoreError as error:
                found.append({"space": space.folder.name, "error": str(error)})
        return found

    def verify(self) -> list[tuple[Path, str]]:
        """Read all files, and return the damaged ones with a description of the damage.

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

    def _folders(self, *, required: bool = False) -> list[Space]:
        """Return all spaces in order of name."""
        names = ("space.json", "parts.json", "part-*.parquet")
        places = [f"{place}*/{name}" for place in ("", f"{ABOUT}/") for name in names]
        files = [file for place in places for file in self.folder.glob(place)]
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
            made it.  By default the most recently used space.

        Raises
        ------
        NotFoundError
            If there is no such space; the message lists the available ones.
        """
        spaces = self.spaces()
        if not spaces:
            raise self._nothing_here()
        matching = [space for space in spaces if extractor is None or space.answers_to(extractor)]
        if not matching:
            names = ", ".join(space.folder.name for space in spaces)
            raise NotFoundError(
                f"no space of {extractor!r} in the store {self.folder}. It holds: {names}"
            )
        return matching[0]

    def open_space(self, description: dict[str, Any]) -> Space:
        """Return the space of an extractor; its folder is created at the first write.

        Parameters
        ----------
        description : dict
            ``fingerprint``, ``extractor``, ``dimension`` and other properties of the extractor.

        Raises
        ------
        StoreError
            If the folder has a newer format.
        SpaceMismatchError
            If the folder of that name contains a different space.
        """
        space = Space(self.folder / describe_space(description), description)
        recorded = space.read_info()
        if recorded and recorded["fingerprint"] != description["fingerprint"]:
            raise SpaceMismatchError(
                f"{space.folder} holds vectors of fingerprint {recorded['fingerprint']}. "
                f"Received: {description['fingerprint']}. Choose another folder with --store"
            )
        return space
