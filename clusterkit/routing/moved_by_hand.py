"""Find sorted files that were moved by hand within the sorted folder."""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from clusterkit.images.folder import digest_file
from clusterkit.routing.manifest import MANIFEST_NAME
from clusterkit.routing.transfer import Transfer, find_parts


class Strays:
    """The files below a sorted folder that are not in the place of its manifest.

    The folder is read on first use, since most sortings do not need it.

    Parameters
    ----------
    folder : pathlib.Path
        The sorted folder.
    transfers : iterable of Transfer
        All transfers of its manifest.
    """

    def __init__(self, folder: Path, transfers: Iterable[Transfer]) -> None:
        self._folder = folder
        self._transfers = list(transfers)
        # The original places of each content.
        self._homes = defaultdict(set)
        for transfer in self._transfers:
            self._homes[_key(transfer)].add(transfer.source)
        self._found: dict[str, list[Path]] | None = None

    def find(self, transfer: Transfer) -> Path | None:
        """Return the present path of a transfer's file, and assign it to no other transfer."""
        if self._found is None:
            self._found = self._read()
        places = self._found.get(_key(transfer), [])
        # A file in its original place below the sorted folder was not moved by hand; nor was its
        # twin, which may have been put back there just now.
        homes = self._homes[_key(transfer)]
        for place in places:
            if str(place) not in homes and transfer.is_brought_by(place):
                places.remove(place)
                return place
        return None

    def _read(self) -> dict[str, list[Path]]:
        """Return files by digest, and links by target."""
        places = defaultdict(list)
        for transfer in self._transfers:
            places[self._folder / transfer.target].append(_key(transfer))
        found = defaultdict(list)
        for root, folders, names in os.walk(self._folder):
            # Skip hidden folders, such as version control or a store.
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
            for file in [*files, *find_parts(Path(root))]:
                if file.name == MANIFEST_NAME or not (file.is_symlink() or file.is_file()):
                    continue
                with suppress(OSError):  # skip unreadable files
                    key = os.readlink(file) if file.is_symlink() else digest_file(file)  # noqa: PTH115
                    if key not in places.get(file, ()):
                        found[key].append(file)
        return found


def _key(transfer: Transfer) -> str:
    """Return the digest or link target of a transfer."""
    return transfer.source if transfer.digest is None else transfer.digest
