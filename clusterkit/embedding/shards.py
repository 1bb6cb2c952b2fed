"""Parts of a list of images for concurrent runs, such as the tasks of a job array."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from clusterkit.errors import InvalidInputError
from clusterkit.images.folder import ImageFolder
from clusterkit.utils.locations import is_address
from clusterkit.utils.text import escape_path

_MAX_COUNT = 100_000
_ALLOWED = f"NUMBER/COUNT with 1 <= NUMBER <= COUNT <= {_MAX_COUNT}, such as 3/8"


class Shard(NamedTuple):
    """One of several parts of the images.

    The digest of its path determines the shard of an image.  Whatever is added to a folder while
    shards wait for their turn, each image is in exactly one of them; they differ a little in size,
    about as much as the square root of their number of images.

    Attributes
    ----------
    number : int
        Which shard, from 1.
    of : int
        How many shards there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard from text such as ``"3/8"``.

        Raises
        ------
        InvalidInputError
            If it is not a shard.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        if match is None:
            raise InvalidInputError(f"a shard must be {_ALLOWED}. Received: {text!r}")
        return cls(int(match[1]), int(match[2])).check()

    def check(self) -> Self:
        """Check the numbers, and return the shard itself.

        Raises
        ------
        InvalidInputError
            If they are out of range.
        """
        is_whole = all(isinstance(value, int | np.integer) for value in self)
        if not is_whole or not 1 <= self.number <= self.of <= _MAX_COUNT:
            raise InvalidInputError(f"a shard must be {_ALLOWED}. Received: {self}")
        return self

    @classmethod
    def of_pair(cls, pair: Any) -> Self:
        """Return the shard of a number and a count, such as ``(3, 8)``.

        Raises
        ------
        InvalidInputError
            If they are not two numbers, or out of range.
        """
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidInputError(
                f"a shard must be a number and a count, such as (3, 8). Received: {pair!r}"
            )
        return cls(*pair).check()

    @property
    def writer(self) -> str:
        """Name of the run, whose list of parts is its own."""
        return f"{self.number}of{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def select(self, images: ImageFolder, place: Path) -> ImageFolder:
        """Return the images of this shard.

        Parameters
        ----------
        images : ImageFolder
            The images of all shards.
        place : path
            The folder that contains the store.  Paths below it count from there, so that images
            and store can be elsewhere on another machine.
        """
        root, inside = (
            f"{folder}/" if is_address(folder) else os.path.join(folder, "")  # noqa: PTH118
            for folder in (images.root, place)
        )
        # Also of a root above the store: the root is not the same for every list of images.
        names = ((root + path).removeprefix(inside) for path in images.paths)
        return images[[row for row, name in enumerate(names) if self._holds(name)]]

    def _holds(self, name: str) -> bool:
        """Return whether an image is in this shard."""
        digest = hashlib.sha256(escape_path(name.replace(os.sep, "/")).encode()).digest()
        return int.from_bytes(digest[:8]) % self.of == self.number - 1
