"""Find the files of a sorting that someone has moved on by hand, within the sorted folder."""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clusterkit.images.folder import digest_file
from clusterkit.routing.manifest import MANIFEST_NAME
from clusterkit.routing.transfer import Transfer, find_parts


class Strays:
    """The files below a sorted folder that are not where its manifest has them.

    The folder is read when something is asked for the first time; most sortings need it never.

    Parameters
    ----------
    folder : pathlib.Path
        The sorted folder.
    transfers : iterable of Transfer
        All of its manifest.
    """

    def __init__(self, folder: Path, transfers: Iterable[Transfer]) -> None:
        self._folder = folder
        self._transfers = list(transfers)
        self._found: dict[str, list[Path]] | None = None

    def find(self, transfer: Transfer) -> Path | None:
        """Return where the file of a transfer lies now, and give it to no other transfer."""
        if self._found is None:
            self._found = self._read()
        places = self._found.get(_key(transfer), [])
        # In its old place it is no stray, where that is below the sorted folder.
        for place in places:
            if str(place) != transfer.source and transfer.is_brought_by(place):
                places.remove(place)
                return place
        return None

    def _read(self) -> dict[str, list[Path]]:
        """List the files by their content, those of links by where they lead."""
        places = defaultdict(list)
        for transfer in self._transfers:
            places[self._folder / transfer.target].append(_key(transfer))
        found = defaultdict(list)
        for root, folders, names in os.walk(self._folder):
            # What is hidden is not the user's sorting: version control, a store.
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
            for file in [*files, *find_parts(Path(root))]:
                if file.name == MANIFEST_NAME or not (file.is_symlink() or file.is_file()):
                    continue
                with suppress(OSError):  # what cannot be read is nobody's file
                    key = os.readlink(file) if file.is_symlink() else digest_file(file)  # noqa: PTH115
                    if key not in places.get(file, ()):
                        found[key].append(file)
        return found


def _key(transfer: Transfer) -> str:
    """Return what the file of a transfer is known by."""
    return transfer.source if transfer.digest is None else transfer.digest
