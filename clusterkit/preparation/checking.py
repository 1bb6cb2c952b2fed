"""Check folders of images for broken, blurred, duplicated and off-topic ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.places import Place, read_places
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.datasets.split import MAX_RATIO
from clusterkit.errors import InvalidInputError
from clusterkit.images.folder import ImageFolder
from clusterkit.images.thumbnails import thumbnails
from clusterkit.preparation.faults import find_faults
from clusterkit.preparation.file_inspection import FileInfo, inspect_files
from clusterkit.preparation.findings import KINDS, Finding, check_kinds
from clusterkit.preparation.not_copies import read_not_copies
from clusterkit.preparation.off_topic import MIN_IMAGES, OFF_TOPIC, score_off_topic
from clusterkit.preparation.quarantining import QUARANTINED, check_quarantine, quarantine
from clusterkit.preparation.shared_pictures import check_keep, find_shared_pictures, rank_to_keep
from clusterkit.routing.sorting import Sorting, check_local
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store, as_store
from clusterkit.utils.arguments import as_list
from clusterkit.utils.files import DEFAULT_STORE
from clusterkit.utils.html import Markup
from clusterkit.utils.locations import absolute, as_path
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import first_few, in_shell, join_lines, plural

# Number of pictures in a notebook.
_SHOWN = 20
_NO_EMBEDDINGS = (
    "There was no search for off-topic images: the store has no embeddings of these images, which "
    "`clusterkit embed` makes."
)


@dataclass(frozen=True, eq=False, repr=False)
class Check(TableResult):
    """What a check found, see :func:`check`.

    Attributes
    ----------
    root : pathlib.Path
        The folder that paths are relative to.
    paths : list of str
        The images.
    findings : list of Finding
        What was found, in the order of their kinds and paths.
    classes, parts, formats : dict of str to int
        Number of readable images of each class (by its folder), part of the data and format.
    shapes : ndarray of shape (n, 2), int64
        (height, width) of each image; zeros for those that cannot be read.
    notes : list of str
        What was not checked, and remarks on the whole set.
    keep : str
        Which of several copies is kept.
    off_topic : ndarray of shape (n,), float64, or None
        Modified z-score of how unlike the others of its folder each image is; NaN if unknown.  None
        if unknown for all.
    moved : Sorting or None
        The files that were quarantined, or would be.
    """

    root: Path
    paths: list[str]
    findings: list[Finding]
    classes: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    shapes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    notes: list[str] = field(default_factory=list)
    keep: str = "largest"
    off_topic: NDArray[np.float64] | None = None
    moved: Sorting | None = None

    @property
    def files(self) -> list[Path]:
        """The files of the images."""
        return [self.root / path for path in self.paths]

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each kind."""
        counts = Counter(finding.kind for finding in self.findings)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    def of_kind(self, kind: str) -> list[Finding]:
        """Return the findings of one kind.

        Parameters
        ----------
        kind : str
            A key of :data:`clusterkit.preparation.KINDS`.

        Returns
        -------
        list of Finding
            In order of path.

        Raises
        ------
        InvalidInputError
            If there is no such kind.
        """
        check_kinds([kind])
        return [finding for finding in self.findings if finding.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "root": str(self.root),
            "images": len(self.paths),
            "readable": int((self.shapes[:, 0] > 0).sum()),
            "counts": self.counts,
            "findings": [
                {
                    "path": finding.path,
                    "kind": finding.kind,
                    "figure": finding.figure,
                    "related": finding.related,
                    "detail": finding.detail,
                    "suggestion": finding.suggestion,
                }
                for finding in self.findings
            ],
            "classes": self.classes,
            "parts": self.parts,
            "formats": self.formats,
            "notes": self.notes,
            "keep": self.keep,
            "quarantine": None if self.moved is None else self.moved.to_dict(),
        }

    def to_text(self) -> str:
        """Return the findings of each kind with advice, and a description of the images."""
        lines = [self._headline()]
        for kind, count in self.counts.items():
            said, advice = KINDS[kind]
            lines.append(f"{count:>7,}  {kind}: {said}")
            for finding in self.of_kind(kind)[:3]:
                other = f", as {finding.related}" if finding.related else ""
                lines.append(f"           {finding.path}{other} ({finding.detail})")
            lines.append(f"         {advice}")
        if any(finding.related for finding in self.findings):
            rule = {"folder": "in the first folder"}.get(self.keep, self.keep)
            lines.append(f"Of several copies, the one that is {rule} is kept.")
        lines += self._describe_set()
        lines += self.notes
        if self.moved is not None:
            lines.append(self.moved.to_text())
            if self.moved.transfers and not self.moved.dry_run:
                lines.append(f"`clusterkit undo {in_shell(self.moved.into)}` takes them back")
        return "\n".join(map(join_lines, (line.split("\n") for line in lines)))

    def _describe_set(self) -> list[str]:
        """Describe the images."""
        lines = []
        shapes = self.shapes[self.shapes[:, 0] > 0]
        if len(shapes):
            height, width = np.median(shapes, axis=0).astype(int)
            areas = shapes.prod(axis=1)
            (least, most) = (shapes[areas.argmin()], shapes[areas.argmax()])
            sizes = f"median {width} x {height} pixels"
            if len(np.unique(shapes, axis=0)) > 1:
                sizes += f", {least[1]} x {least[0]} to {most[1]} x {most[0]}"
            lines.append(f"Images: {_counted(self.formats)}; {sizes}")
        if self.parts:
            lines.append(f"Parts: {_counted(self.parts)}")
        if self.classes:
            lines.append(f"Folders: {_counted(self.classes)}")
        return lines

    def _headline(self) -> str:
        """Return the number of findings."""
        n_files = len({finding.row for finding in self.findings})
        found = plural(len(self.findings), "finding") if self.findings else "nothing found"
        where = f" in {plural(n_files, 'file')}" if n_files else ""
        return f"{plural(len(self.paths), 'image')} of {self.root}: {found}{where}"

    def _table(self) -> Rows:
        """Return one row per finding."""
        header = ["path", "kind", "figure", "related", "detail", "suggestion"]
        cells = [
            [one.path, one.kind, one.figure, one.related, one.detail, one.suggestion]
            for one in self.findings
        ]
        return Rows(header, cells, decimals=4)

    def _table_shown(self) -> Rows:
        """Return the images with their findings."""
        header, cells, _ = self._table()
        pictures = [Markup()] * len(cells)
        files = [self.root / finding.path for finding in self.findings[:_SHOWN]]
        pictures[: len(files)] = thumbnails(files)
        rows = [[picture, *row] for picture, row in zip(pictures, cells, strict=True)]
        return Rows(["image", *header], rows)


def check(
    folders: str | Path | Iterable[str | Path],
    *,
    exclude: str | Iterable[str] = (),
    keep: str = "largest",
    not_copies: str | Path | None = None,
    quarantine_into: str | Path | None = None,
    kinds: str | Iterable[str] = QUARANTINED,
    store: Store | str | Path = DEFAULT_STORE,
    extractor: str | None = None,
    dry_run: bool = False,
    progress: bool = False,
) -> Check:
    """Check images: broken, blurred, duplicated, under two labels, off-topic.

    Every file is read and decoded once.  Nothing is changed without ``quarantine_into``.

    Parameters
    ----------
    folders : path or iterable of paths
        Folders, image files and lists of paths, as for :class:`clusterkit.ImageFolder`.  Folders
        such as ``train`` and ``test`` beside each other are parts of the data; the folders below
        them, or otherwise the first folders, are classes.
    exclude : str or iterable of str
        Patterns of files and folders to leave out.
    keep : {"largest", "oldest", "folder"}
        Which of several copies is kept: the one with the most pixels; the one with the oldest
        modification time; or the one in the folder that was given first, ties by path.
    not_copies : path, optional
        Images that look alike but are not copies: a text or CSV file with two paths per line, or a
        table of clusters with decisions of ``clusterkit label --not-copies``.
    quarantine_into : path, optional
        Folder to which the found files are moved; ``clusterkit undo`` moves them back.
    kinds : str or iterable of str
        Kinds of findings that are moved: keys of :data:`clusterkit.preparation.KINDS`, by default
        those that are certainly useless.
    store : Store or path
        A store; if it holds embeddings of these images, they are used to find off-topic images and
        more copies.
    extractor : str, optional
        Extractor whose embeddings are used; by default the default space.
    dry_run : bool
        Whether to only plan what would be moved.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    Check
        The findings, and a description of the images.

    Raises
    ------
    NotFoundError
        If a folder, the file of pairs or the named space does not exist.
    InvalidInputError
        If there are no images, an argument is invalid, or nothing can be moved to the folder.
    OutputExistsError
        If ``quarantine_into`` holds other files.

    Examples
    --------
    >>> check("photos/").counts  # doctest: +SKIP
    {'truncated': 2, 'duplicate': 14, 'blurred': 3}
    """
    given, kinds = as_list(folders), as_list(kinds)
    check_keep(keep)
    check_kinds(kinds)
    if dry_run and quarantine_into is None:
        raise InvalidInputError("dry_run plans what would be moved: name a folder to move it to")
    images = ImageFolder(given, exclude=exclude)
    files, paths = images.files, images.paths
    tops = [as_path(absolute(one)) for one in given if as_path(one).is_dir()]
    if quarantine_into is not None:
        check_local(files)
        check_quarantine(quarantine_into, tops, {file.parent for file in files})
    pairs = read_not_copies(not_copies)
    embeddings = _read_embeddings(images, store, extractor)
    infos = _inspect(files, progress=progress)
    places = read_places(paths)
    findings, common = find_faults(paths, infos)
    faulty = set() if quarantine_into is None else {f.row for f in findings if f.kind in kinds}
    vectors = _align(embeddings, paths, infos)
    digest_of = {path: info.digest for path, info in zip(paths, infos, strict=True)}
    findings += find_shared_pictures(
        files,
        paths,
        infos,
        places,
        # A kept copy must not be one that is moved for another reason.
        [
            (int(row in faulty), *rank)
            for row, rank in enumerate(rank_to_keep(infos, files, tops, keep))
        ],
        vectors=vectors,
        apart=pairs.resolve(digest_of, images.root),
        progress=progress,
    )
    scores, off_topic, said = _find_off_topic(paths, places, infos, vectors)
    findings += off_topic
    order = list(KINDS)
    findings.sort(key=lambda finding: (order.index(finding.kind), finding.path))
    moved = None
    if (into := quarantine_into) is not None:
        options: dict[str, Any] = {"store": store, "dry_run": dry_run, "progress": progress}
        moved = quarantine(files, findings, into, kinds=kinds, **options)
    readable = [row for row, info in enumerate(infos) if info.quality is not None]
    return Check(
        images.root,
        paths,
        findings,
        classes=_count(places[row].label for row in readable),
        parts=_count(places[row].part for row in readable),
        formats=_count(infos[row].format for row in readable),
        shapes=np.array([info.shape for info in infos], np.int64),
        notes=[
            *_describe_common(common, len(readable)),
            *_describe_classes([places[row] for row in readable]),
            *said,
            *([f"Passed over: {skipped}."] if (skipped := images.passed_over_in_words) else []),
        ],
        keep=keep,
        off_topic=scores,
        moved=moved,
    )


def _inspect(files: Sequence[Path], *, progress: bool) -> list[FileInfo]:
    """Return the inspection of each file."""
    infos = []
    with progress_bar(total=len(files), name="checking", enabled=progress, unit="image") as bar:
        for info in inspect_files(files):
            infos.append(info)
            bar.update()
    return infos


def _read_embeddings(
    images: ImageFolder, store: Store | str | Path, extractor: str | None
) -> Embeddings | None:
    """Return the embeddings of the images; None if there are none, and none were requested."""
    found = as_store(store)
    if extractor is None and not found.spaces():
        return None
    embeddings = found.space(extractor).read(images)
    return embeddings if len(embeddings) else None


def _align(
    embeddings: Embeddings | None, paths: Sequence[str], infos: Sequence[FileInfo]
) -> NDArray[np.float32] | None:
    """Return a vector for each image; zeros for images without one, or that have changed since."""
    if embeddings is None:
        return None
    row_of = {path: row for row, path in enumerate(paths)}
    vectors = np.zeros((len(paths), embeddings.shape[1]), np.float32)
    digests = embeddings.digests or [""] * len(embeddings)
    for path, digest, vector in zip(embeddings.paths, digests, embeddings.vectors, strict=True):
        row = row_of[path]
        if digest == infos[row].digest:
            vectors[row] = vector
    return vectors


def _find_off_topic(
    paths: Sequence[str],
    places: Sequence[Place],
    infos: Sequence[FileInfo],
    vectors: NDArray[np.float32] | None,
) -> tuple[NDArray[np.float64] | None, list[Finding], list[str]]:
    """Return the scores of all images, the findings, and remarks on what was not checked."""
    if vectors is None:
        return None, [], [_NO_EMBEDDINGS]
    folders = [
        place.label or path.rpartition("/")[0] for path, place in zip(paths, places, strict=True)
    ]
    known = np.flatnonzero(vectors.any(axis=1))
    scores = np.full(len(paths), np.nan)
    scores[known] = score_off_topic(vectors[known], [folders[row] for row in known])
    findings = [
        Finding(
            row,
            paths[row],
            "off-topic",
            float(scores[row]),
            "",
            f"{scores[row]:.1f} times the usual spread from the others of "
            f"{folders[row] or 'the folder'}",
        )
        for row in np.flatnonzero(scores >= OFF_TOPIC).tolist()
    ]
    said = []
    n_readable = sum(info.quality is not None for info in infos)
    if len(known) < n_readable:
        n_unknown = plural(n_readable - len(known), "image")
        said.append(f"Not compared with the others of the folder, without embeddings: {n_unknown}.")
    sizes = Counter(folders[row] for row in known)
    if small := sorted(folder for folder, size in sizes.items() if size < MIN_IMAGES):
        shown = first_few(folder or "the folder itself" for folder in small)
        said.append(f"Too few images to tell what is off-topic (fewer than {MIN_IMAGES}): {shown}.")
    return scores, findings, said


def _describe_common(common: Sequence[str], n_images: int) -> list[str]:
    """Return remarks on kinds that hold for too many images to be findings."""
    return [
        f"{kind}: {count:,} of {plural(n_images, 'image')}, so this is usual here and not listed."
        for kind, count in Counter(common).items()
    ]


def _describe_classes(places: Sequence[Place]) -> list[str]:
    """Return remarks on the number of images of each class."""
    counts = _count(place.label for place in places)
    if len(counts) == 1 and all(place.label for place in places):
        return [
            f"All images are in one folder, {first_few(counts)}: if that is a class, there is one."
        ]
    if len(counts) < 2:
        return []
    (largest, most), *_, (smallest, least) = Counter(counts).most_common()
    said = []
    if most > MAX_RATIO * least:
        said.append(
            f"{largest} ({most:,}) has {most / least:.1f} times the images of {smallest} "
            f"({least:,}): gather more of the small ones, or let `train classifier` weight them."
        )
    if n_outside := sum(place.label is None for place in places):
        said.append(f"In no folder of a class: {plural(n_outside, 'image')}.")
    return said


def _count(names: Iterable[str | None]) -> dict[str, int]:
    """Return the number of each name, in order of name."""
    return dict(sorted(Counter(name for name in names if name is not None).items()))


def _counted(counts: Mapping[str, int]) -> str:
    """Return counts as text, the largest first."""
    ranked = Counter(counts).most_common()
    return first_few((f"{name} {count:,}" for name, count in ranked), max_items=10)
