"""Gather pictures from the web into a folder that can be trained on."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clusterkit.errors import ClusterkitError, ClusterkitWarning, InvalidInputError
from clusterkit.images.folder import digest_bytes
from clusterkit.preparation.gathering.label_table import write_label_table
from clusterkit.preparation.gathering.manifest import (
    BY_CLASS,
    FAILED,
    PLAIN,
    STORED,
    WITH_TABLE,
    Gathered,
    GatherManifest,
    now,
)
from clusterkit.preparation.gathering.picture_files import (
    picture_suffix,
    why_no_picture,
    why_unreadable,
)
from clusterkit.preparation.gathering.picture_names import stem_of, without_suffix
from clusterkit.preparation.gathering.result import Gathering
from clusterkit.routing.plan import FreeNames, folder_names
from clusterkit.routing.transfer import is_inside
from clusterkit.utils.arguments import check_at_least
from clusterkit.utils.asynchronous import run_apart
from clusterkit.utils.imports import require
from clusterkit.utils.locations import absolute_here
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import plural

if TYPE_CHECKING:
    from clusterkit.preparation.gathering.addresses import Wanted
    from clusterkit.preparation.gathering.downloads import Downloader
    from clusterkit.preparation.gathering.recipes import Recipe

_PICTURES = "images"
RECIPE_SUFFIX = ".toml"
# Hosts that are accessed at the same time; a million would fill the memory.
_MAX_HOSTS = 1000


def gather(
    source: str | Path,
    into: str | Path,
    *,
    address_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    max_images: int | None = None,
    max_bytes: int = 20_000_000,
    max_seconds: float = 60.0,
    rate: float = 1.0,
    per_host: int = 2,
    parallel: int = 8,
    attempts: int = 3,
    allow_private: Iterable[str] = (),
    obey_robots: bool = True,
    contact: str | None = None,
    retry_failed: bool = False,
    dry_run: bool = False,
    random_state: int | None = None,
    progress: bool = False,
) -> Gathering:
    """Gather pictures from the web into class folders, or into one with a table of labels.

    Each address gets a line in ``clusterkit-gathered.jsonl``: the picture, its origin, date and
    digest, or the reason of the failure.  The same call continues an interrupted run, skips what is
    there already, and retries failures that may be temporary.  Pictures that were removed by hand
    are not gathered again.  Nothing is overwritten.

    robots.txt, X-Robots-Tag and Retry-After are respected, the rate per host is limited, and the
    user agent names clusterkit.  Private addresses are rejected when a connection is made, at each
    redirect.

    Parameters
    ----------
    source : path
        One of

        - a ``.txt`` file with one address per line, and its label behind it if it has one;
        - a table with a column of addresses, and of labels if they have some;
        - a ``.toml`` recipe: pages, and CSS selectors of their items, of each item's picture, and
          of facts, see :func:`clusterkit.preparation.gathering.recipes.read_recipe`.
    into : path
        The folder: new, empty, or gathered before.  Pictures with one label go to a folder for
        each; without labels, to the folder itself; with several, to ``images``, with ``labels.csv``
        beside it, which :func:`clusterkit.train_classifier` reads.
    address_column : str, optional
        The column of addresses.  By default the one that holds them.
    label_column, label_separator
        See :func:`clusterkit.datasets.label_tables.read_label_table`; the label column "none" is
        for none.
    max_images : int, optional
        Maximum number of pictures, the first of the source.
    max_bytes : int, default 20,000,000
        Maximum size of a file or page, as sent and after decompression.
    max_seconds : float, default 60
        Time limit of a request in seconds, from the connection to the last byte.
    rate : float, default 1
        Requests per second to one host, or fewer if its robots.txt asks for it.
    per_host, parallel : int, default 2 and 8
        Concurrent requests to one host, and to all hosts.
    attempts : int, default 3
        Maximum number of attempts per address.
    allow_private : iterable of str
        IP addresses and networks that may be accessed although they are not public, or ``"all"``.
    obey_robots : bool, default True
        Whether to respect robots.txt and X-Robots-Tag (noai, noimageai, noindex).  Set it to False
        only with the permission of the server's owner.
    contact : str, optional
        Contact address for the user agent, which some servers require.
    retry_failed : bool, default False
        Whether to retry all failures, not only those that may be temporary.
    dry_run : bool, default False
        Whether to only plan, without writing anything; the pages of a recipe are read.
    random_state : int, optional
        Seed of the length of waits after failures.
    progress : bool, default False
        Whether to show a progress bar on stderr.

    Returns
    -------
    Gathering
        One row per address.

    Raises
    ------
    NotFoundError
        If the source does not exist.
    OutputExistsError
        If the folder holds files that were not gathered.
    InvalidInputError
        If the source or an argument is invalid, the selectors of a recipe find nothing, or the disk
        cannot be written.
    MissingDependencyError
        If httpx, protego or selectolax is not installed.

    Warns
    -----
    ClusterkitWarning
        About what is left out, and a table of labels that was changed by hand.
    Notice
        How the source was interpreted.

    Examples
    --------
    >>> gather("addresses.csv", "animals/")  # doctest: +SKIP
    """
    for name in ("httpx", "protego", "selectolax"):
        require(name, extra="gather", caller="gather")
    from clusterkit.preparation.gathering.downloads import Downloader, Limits
    from clusterkit.preparation.gathering.network_guard import parse_networks
    from clusterkit.preparation.gathering.recipe_pages import PageReader

    if max_images is not None:
        check_at_least(max_images, 1, "max_images")
    limits = Limits(
        max_bytes=max_bytes,
        max_seconds=max_seconds,
        rate=rate,
        per_host=per_host,
        parallel=parallel,
        attempts=attempts,
        obeys_robots=obey_robots,
        allowed=parse_networks(
            [allow_private] if isinstance(allow_private, str) else allow_private
        ),
        contact=contact,
    )
    limits.check()
    source, into = Path(source), absolute_here(into)
    found, layout = _read_source(
        source,
        address_column=address_column,
        label_column=label_column,
        label_separator=label_separator,
    )
    if isinstance(found, list):
        found = _select(found, layout, max_images)
        _plan_folders(found, layout, into)
    manifest = GatherManifest(into)
    if manifest.layout not in (None, layout):
        raise InvalidInputError(
            f"{into} was gathered into {manifest.layout}, and {source} needs {layout}: gather it "
            "into another folder"
        )
    started = time.monotonic()
    run = _Run(manifest, layout, retry_failed=retry_failed, progress=progress)

    async def work() -> None:
        async with Downloader(limits, random_state) as downloader:
            wanted = found
            if not isinstance(wanted, list):
                reader = PageReader(wanted, downloader, manifest, keeps=not dry_run)
                run.page_failures = reader.failures
                wanted = await reader.read(max_images, progress=progress)
                wanted = _select(wanted, layout, max_images)
            run.start(wanted)
            if not dry_run:
                await run.download(downloader, per_host)

    if dry_run:
        run_apart(work)
        hosts = Counter(urlsplit(row.address).hostname for row in run.todo)
        seconds = max(hosts.values(), default=0) / rate
        return Gathering(into, run.rows(), seconds=seconds, dry_run=True)
    table = None
    try:
        with manifest.writing(layout):
            try:
                run_apart(work)
            finally:
                # After Ctrl-C as well: what was gathered can be used.
                table = write_label_table(manifest, {one.address: one.facts for one in run.wanted})
            manifest.finish()
    except OSError as error:
        if isinstance(error, ClusterkitError):
            raise
        raise InvalidInputError(
            f"cannot write in {into}: {error.strerror or error}. The same command continues with "
            "the rest"
        ) from error
    return Gathering(into, run.rows(), run.done, table, time.monotonic() - started)


def _read_source(source: Path, **columns: Any) -> tuple[Recipe | list[Wanted], str]:
    """Return a recipe, or what a list or table names, and the layout of the folder for it."""
    from clusterkit.preparation.gathering.addresses import read_addresses
    from clusterkit.preparation.gathering.recipes import read_recipe

    if source.suffix.lower() == RECIPE_SUFFIX:
        recipe = read_recipe(source)
        return recipe, _layout_of(recipe)
    wanted = read_addresses(source, **columns)
    return wanted, _layout_for(wanted)


class _Run:
    """One run: the addresses, and the result of each."""

    def __init__(
        self, manifest: GatherManifest, layout: str, *, retry_failed: bool, progress: bool
    ) -> None:
        self.manifest, self.layout = manifest, layout
        self.wanted: list[Wanted] = []
        self.todo: list[Gathered] = []
        self.done: set[str] = set()
        self.page_failures: list[Gathered] = []
        self._retry_failed, self._progress = retry_failed, progress
        self._folders: dict[str, str] = {}
        self._names = FreeNames(manifest.folder, (), without_suffix)
        self._by_digest: dict[str, list[Gathered]] = defaultdict(list)

    def start(self, wanted: list[Wanted]) -> None:
        """Plan what is to be done: first what is new, then what failed before."""
        self.wanted = wanted
        self._folders = _plan_folders(wanted, self.layout, self.manifest.folder)
        known = self.manifest.rows
        self._names = FreeNames(
            self.manifest.folder,
            (row.file for row in known.values() if row.file),
            without_suffix,
        )
        for row in known.values():
            if row.digest is not None and not row.is_copy and self.manifest.is_there(row):
                self._by_digest[row.digest].append(row)
        new, again, relabelled = [], [], []
        for one in wanted:
            row = Gathered(one.address, one.labels, one.facts)
            earlier = known.get(one.address)
            if earlier is None:
                new.append(row)
            elif earlier.outcome == FAILED:
                if earlier.may_pass or self._retry_failed:
                    again.append(row)
            elif set(earlier.labels) != set(one.labels):
                relabelled.append(one.address)
        if relabelled:
            warnings.warn(
                f"{plural(len(relabelled), 'picture')} had other labels when they were gathered, "
                f"such as {relabelled[0]}: they stay where they are",
                ClusterkitWarning,
                stacklevel=4,
            )
        self.todo = new + again

    def rows(self) -> list[Gathered]:
        """Return the result of each address so far."""
        waiting = {row.address: row for row in self.todo}
        found = []
        for one in self.wanted:
            row = self.manifest.rows.get(one.address)
            if row is None or (one.address in waiting and one.address not in self.done):
                row = waiting[one.address]
            found.append(replace(row, facts=one.facts))
        return found + self.page_failures

    async def download(self, downloader: Downloader, per_host: int) -> None:
        """Download all pending pictures, from several hosts at the same time."""
        queues: dict[str | None, deque[Gathered]] = defaultdict(deque)
        for row in self.todo:
            queues[urlsplit(row.address).hostname].append(row)
        with progress_bar(
            name="gather", unit="picture", enabled=self._progress, total=len(self.todo)
        ) as bar:

            async def work_through(queue: deque[Gathered]) -> None:
                while queue:
                    await self._gather_one(queue.popleft(), downloader)
                    bar.update()

            async def take_hosts() -> None:
                for queue in waiting:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(per_host, len(queue))):
                            group.create_task(work_through(queue))

            waiting = iter(queues.values())
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(_MAX_HOSTS, len(queues))):
                        group.create_task(take_hosts())
            except BaseExceptionGroup as errors:
                error: BaseException = errors
                while isinstance(error, BaseExceptionGroup):
                    error = error.exceptions[0]
                raise error from None

    async def _gather_one(self, row: Gathered, downloader: Downloader) -> None:
        """Download one picture, and record the result."""
        from clusterkit.preparation.gathering.downloads import FailedError

        row = replace(row, date=now())
        try:
            answer = await downloader.fetch(row.address, why_wrong=why_no_picture)
            if reason := await asyncio.to_thread(why_unreadable, answer.content):
                raise FailedError(reason)
        except FailedError as failure:
            self.manifest.add(
                replace(row, outcome=FAILED, reason=str(failure), may_pass=failure.may_pass)
            )
        else:
            row = replace(row, outcome=STORED, final_address=answer.address)
            self._keep(row, answer.content)
        self.done.add(row.address)

    def _keep(self, row: Gathered, content: bytes) -> None:
        """Store a picture, unless it is there already with the same labels."""
        digest = digest_bytes(content)
        row = replace(row, digest=digest, n_bytes=len(content))
        same = self._by_digest[digest]
        for other in same:
            if set(other.labels) == set(row.labels) and self.manifest.is_there(other):
                reason = f"the same picture as {other.address}"
                self.manifest.add(replace(row, file=other.file, is_copy=True, reason=reason))
                return
        place = {BY_CLASS: self._folders.get("".join(row.labels), ""), WITH_TABLE: _PICTURES}
        suffix = picture_suffix(content)
        assert suffix is not None
        file = self._names.take(place.get(self.layout, "."), stem_of(row.address) + suffix)
        row = replace(row, file=file)
        if same:
            row = replace(row, reason=f"the same picture as {same[0].file}")
        self.manifest.store(row, content)
        same.append(row)


def _layout_of(recipe: Recipe) -> str:
    """Return the layout of the folder for a recipe."""
    if recipe.label is None:
        return PLAIN
    return WITH_TABLE if recipe.fields[recipe.label].is_list else BY_CLASS


def _layout_for(wanted: Sequence[Wanted]) -> str:
    """Return the layout of the folder for a list."""
    most = max(len(one.labels) for one in wanted)
    return (PLAIN, BY_CLASS)[most] if most < 2 else WITH_TABLE


def _select(wanted: list[Wanted], layout: str, max_images: int | None) -> list[Wanted]:
    """Return the first pictures; with a folder per class, without those that have no label."""
    kept = [one for one in wanted if one.labels or layout != BY_CLASS]
    if len(kept) < len(wanted):
        without = next(one for one in wanted if not one.labels)
        warnings.warn(
            f"left out {plural(len(wanted) - len(kept), 'picture')} without a label, such as "
            f"{without.address}",
            ClusterkitWarning,
            stacklevel=4,
        )
    return kept[:max_images]


def _plan_folders(wanted: Sequence[Wanted], layout: str, into: Path) -> dict[str, str]:
    """Return the folder of each label, or raise an error if two would be one, or one elsewhere."""
    folders = {}
    if layout == BY_CLASS:
        folders = folder_names([label for one in wanted for label in one.labels], into)
    for name in (*folders.values(), _PICTURES):
        if not is_inside(into / name, into):
            raise InvalidInputError(
                f"{into / name} is a link that leads out of {into}: remove the link"
            )
    return folders
