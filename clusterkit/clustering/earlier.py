"""Continue from the clusters of an earlier run: a clustering in memory, or its table."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clusterkit.clustering.decisions import Decisions, read_edits
from clusterkit.clustering.saved import ClustersTable, Origin, read_clusters
from clusterkit.errors import ClusterkitWarning, InvalidInputError, Notice
from clusterkit.store.embeddings import Embeddings, Selection, describe_space
from clusterkit.store.stream import VectorStream
from clusterkit.utils.locations import is_absolute, join, relative
from clusterkit.utils.noise import MAX_CLUSTER, NOISE
from clusterkit.utils.text import plural


class EarlierClusters(NamedTuple):
    """An earlier clustering.

    Attributes
    ----------
    labels : list of int
        Cluster of each image, after edits by hand; -1 is noise.
    paths : list of str
        The images.
    root : str or None
        Folder that the paths are relative to; None if unknown.
    fingerprint : str or None
        Identity of the embedding space; None if unknown.
    space : str
        Its short name.
    digests : list of (str or None), optional
        SHA-256 digest of each image file, by which moved files are found.
    names : dict of int to str
        The names of the clusters that have one.
    decisions : Decisions
        A person's decisions, including edits of the table.
    made_by : dict
        Description of the clustering; empty if unknown.
    selections : tuple of Selection
        How the images were selected from more.
    next_number : int
        The first number that no cluster has or had.
    notes : dict of str to list of str
        Other columns of the table.
    """

    labels: list[int]
    paths: list[str]
    root: str | None = None
    fingerprint: str | None = None
    space: str = "unknown space"
    digests: list[str | None] | None = None
    names: Mapping[int, str] = {}
    decisions: Decisions = Decisions()
    made_by: Mapping[str, Any] = {}
    selections: tuple[Selection, ...] = ()
    next_number: int = 0
    notes: Mapping[str, Sequence[str]] = {}

    def notes_by_image(self) -> dict[str, dict[str, str]]:
        """Return the other columns of the table, with the cell of each image."""
        return {
            name: dict(zip(self.paths, cells, strict=True)) for name, cells in self.notes.items()
        }


def network_fingerprint(embeddings: Embeddings | VectorStream) -> str | None:
    """Return the fingerprint of the space that a network made, whatever was removed from it."""
    made_from = embeddings.space.get("made_from_fingerprint")
    return made_from if isinstance(made_from, str) else embeddings.fingerprint


def read_earlier(previous: Any) -> EarlierClusters:
    """Read the clusters of an earlier run.

    Parameters
    ----------
    previous : Clustering, path or ClustersTable
        A clustering, or a table with the columns ``path`` and ``cluster``.  Its description is read
        from the ``.json`` file beside it, if any.

    Returns
    -------
    EarlierClusters
        Labels and images, the decisions about them, and their space if known.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If the file is not such a table, or its clusters are not numbers, or it is something else.

    Warns
    -----
    Notice
        If the description is damaged.
    """
    if not isinstance(previous, str | Path | ClustersTable):
        if not hasattr(previous, "embeddings"):
            raise InvalidInputError(
                "an earlier clustering must be what cluster returns, or the path of its table. "
                f"Received: {type(previous).__name__}"
            )
        made = previous.embeddings
        return EarlierClusters(
            previous.labels.tolist(),
            made.paths,
            None if made.root is None else str(made.root),
            network_fingerprint(made),
            describe_space(made.space),
            getattr(made, "digests", None),
            previous.names,
            previous.decisions,
            previous.to_dict(),
            made.selections,
            _next_number(previous.labels.tolist(), previous.names, previous.decisions),
            {
                name: [cells.get(path, "") for path in made.paths]
                for name, cells in previous.notes.items()
            },
        )
    table = previous if isinstance(previous, ClustersTable) else read_clusters(previous)
    return _earlier(table, Origin.read(Path(table.file).with_suffix(".json")))


def _earlier(table: ClustersTable, origin: Origin | None) -> EarlierClusters:
    """Compare a table with its description."""
    numbers = [label for label in table.clusters if isinstance(label, int) and label >= NOISE]
    if len(numbers) < len(table.clusters):
        # One word makes all labels text.
        rows = range(len(table.clusters))
        row = next((row for row in rows if not _is_number(table.clusters[row])), 0)
        raise InvalidInputError(
            f"clusters must be numbers from {NOISE}; their names belong in the column name. "
            f"Received: cluster {table.clusters[row]} in {table.file}, for {table.paths[row]}"
        )
    if max(numbers) > MAX_CLUSTER:
        raise InvalidInputError(
            f"numbers of clusters must be at most {MAX_CLUSTER}. Received: {max(numbers)} in "
            f"{table.file}"
        )
    known = (origin or Origin({})).named_as(table.paths)
    edited = read_edits(
        table.paths,
        numbers,
        table.cells,
        written=known.clusters,
        digests=known.digests,
        names=known.names,
    )
    decisions = known.decisions | edited.decisions
    names = {**known.names, **decisions.names}
    present = set(edited.labels)
    made_by = known.made_by
    fingerprint = made_by.get("fingerprint")
    return EarlierClusters(
        edited.labels,
        table.paths,
        known.root,
        fingerprint if isinstance(fingerprint, str) else None,
        str(made_by.get("space", "unknown space")),
        [known.digests.get(path) for path in table.paths] if known.digests else None,
        {number: name for number, name in names.items() if name and number in present},
        decisions,
        made_by,
        known.selections,
        _next_number([*present, *known.clusters.values()], names, decisions),
        table.notes,
    )


def _is_number(label: int | str) -> bool:
    """Return whether a label, perhaps as text, can be the number of a cluster or noise."""
    try:
        return float(label) >= NOISE
    except ValueError:
        return False


def _next_number(labels: list[int], names: Mapping[int, str], decisions: Decisions) -> int:
    """Return the first number that no cluster has or had."""
    placed = [image.cluster for image in decisions.placed]
    return max([*labels, *names, *decisions.fixed, *placed], default=NOISE) + 1


def check_earlier(
    earlier: EarlierClusters,
    embeddings: Embeddings | VectorStream,
    *,
    any_space: bool = False,
    is_previous: bool = False,
) -> EarlierClusters:
    """Match the images of an earlier clustering to present ones.

    Parameters
    ----------
    earlier : EarlierClusters
        The earlier clustering.
    embeddings : Embeddings or VectorStream
        The images.
    any_space : bool
        Whether the clustering may be of another space.
    is_previous : bool
        Whether it is compared with a new one, for the words of the warning; otherwise it is shown
        or measured as it is.

    Returns
    -------
    EarlierClusters
        The earlier clustering, with paths relative to the root of the embeddings.  A file that is
        not there under its path is followed to another file of the same content.

    Raises
    ------
    InvalidInputError
        If no image is in both.

    Warns
    -----
    ClusterkitWarning
        If the spaces are known to differ, without ``any_space``.
    """
    present = set(embeddings.paths)
    here = str(embeddings.root)
    is_elsewhere = earlier.root not in (None, here) or any(map(is_absolute, earlier.paths))
    if embeddings.root is not None and is_elsewhere:
        moved = [relative(join(earlier.root or here, path), here) for path in earlier.paths]
        if present.intersection(moved):
            earlier = earlier._replace(paths=moved)
    earlier = _follow(earlier, embeddings)
    if not present.intersection(earlier.paths):
        remedy = (
            ""
            if earlier.made_by
            else ". No .json file beside the table tells which folder its paths are in: copy that "
            "of the original table, too"
        )
        raise InvalidInputError(
            "the two clusterings must have an image in common. Received: "
            f"{len(embeddings):,} images now, such as {embeddings.paths[0]}, and "
            f"{len(earlier.paths):,} before, such as {earlier.paths[0]}{remedy}"
        )
    is_other = network_fingerprint(embeddings) not in (None, earlier.fingerprint)
    if earlier.fingerprint and is_other and not any_space:
        space = describe_space(embeddings.space)
        warnings.warn(
            f"the earlier clusters are of the space {earlier.space}, these of {space}: the numbers "
            "are matched by common images, but the two spaces may group by different things"
            if is_previous
            else f"the clusters are of the space {earlier.space}, the vectors of {space}: centres, "
            "distances and neighbours are measured in the latter, which may group by different "
            "things",
            ClusterkitWarning,
            stacklevel=3,
        )
    return earlier


def say_other_part(earlier: EarlierClusters, embeddings: Embeddings | VectorStream) -> None:
    """Tell how to select the images of an earlier clustering again, if the present ones differ."""
    before, now = (
        [chosen[:3] for chosen in selections]
        for selections in (earlier.selections, embeddings.selections)
    )
    if before and before != now:
        which = ", then of these ".join(map(str, earlier.selections))
        options = " ".join(chosen.options for chosen in earlier.selections)
        warnings.warn(
            f"the earlier clustering was only of {which}, this one is of "
            f"{plural(len(embeddings), 'image')}: {options} selects the same again",
            Notice,
            stacklevel=3,
        )


def _follow(earlier: EarlierClusters, embeddings: Embeddings | VectorStream) -> EarlierClusters:
    """Give earlier images that were renamed or moved their present paths."""
    digests = getattr(embeddings, "digests", None)
    if digests is None or earlier.digests is None:
        return earlier
    present, taken = set(embeddings.paths), set(earlier.paths)
    free: dict[str, list[str]] = {}
    for path, digest in zip(embeddings.paths, digests, strict=True):
        if digest and path not in taken:
            free.setdefault(digest, []).append(path)
    paths = [
        path if path in present or not free.get(digest or "") else free[digest or ""].pop(0)
        for path, digest in zip(earlier.paths, earlier.digests, strict=True)
    ]
    return earlier._replace(paths=paths)


def find_placed(earlier: EarlierClusters, embeddings: Embeddings | VectorStream) -> dict[str, int]:
    """Return the present images that were put into a cluster by hand, and these clusters.

    Files that are gone are followed to another one of the same content, unless that was put into a
    cluster itself.
    """
    present = set(embeddings.paths)
    known = [
        *zip(earlier.digests or (), earlier.paths, strict=False),
        *zip(getattr(embeddings, "digests", None) or (), embeddings.paths, strict=False),
    ]
    path_of = {digest: path for digest, path in known if digest and path in present}
    placed = earlier.decisions.placed
    moved = {
        path_of[image.digest]: image.cluster
        for image in placed
        if image.path not in present and image.digest in path_of
    }
    return moved | {image.path: image.cluster for image in placed if image.path in present}
