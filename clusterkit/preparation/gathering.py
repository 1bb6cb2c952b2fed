"""Gather pictures from the web into a folder that can be trained on."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clusterkit.datasets.label_tables import LABEL_SEPARATOR
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.datasets.tables import to_csv
from clusterkit.errors import ClusterkitError, InvalidInputError
from clusterkit.images.folder import digest_bytes, digest_file
from clusterkit.preparation.gather_manifest import (
    BY_CLASS,
    FAILED,
    PLAIN,
    STORED,
    WAITING,
    WITH_TABLE,
    Gathered,
    GatherManifest,
)
from clusterkit.preparation.picture_files import picture_suffix, why_no_picture, why_unreadable
from clusterkit.preparation.picture_names import FreeNames
from clusterkit.routing.plan import folder_names
from clusterkit.utils.asynchronous import run_apart
from clusterkit.utils.files import write_whole
from clusterkit.utils.optional_imports import require
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import join_lines, plural

if TYPE_CHECKING:
    from clusterkit.preparation.addresses import Wanted
    from clusterkit.preparation.downloads import Downloader
    from clusterkit.preparation.recipes import Page, Recipe

TABLE_NAME = "labels.csv"
_PICTURES = "images"
_RECIPE_SUFFIX = ".toml"
# Reasons that are listed; the table has all.
_MAX_REASONS = 12


@dataclass(frozen=True, repr=False)
class Gathering(TableResult):
    """Result of :func:`gather`, a row an address.

    Attributes
    ----------
    into : pathlib.Path
        The folder.
    rows : list of Gathered
        What became of each address, in the order of the source; pages that could not be read are
        at the end.
    done : set of str
        The addresses that this run asked for.
    table : pathlib.Path or None
        The table of labels.
    seconds : float
        How long it took; of a dry run, how long it takes at least.
    dry_run : bool
        Whether this was only planned.
    """

    into: Path
    rows: list[Gathered]
    done: set[str] = field(default_factory=set)
    table: Path | None = None
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def stored(self) -> list[Gathered]:
        """The rows whose pictures are there, without further addresses of the same picture."""
        return [row for row in self._with(STORED) if not row.is_copy and self._is_there(row)]

    @property
    def removed(self) -> list[Gathered]:
        """The rows whose pictures were gathered, and taken away since."""
        return [row for row in self._with(STORED) if not self._is_there(row)]

    @property
    def failures(self) -> list[Gathered]:
        """The rows without a picture, for some reason."""
        return self._with(FAILED)

    @property
    def waiting(self) -> list[Gathered]:
        """The rows that were not asked for, as in a dry run."""
        return self._with(WAITING)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of pictures of each label, in a dry run as if all were there."""
        shown = self.waiting + self.stored if self.dry_run else self.stored
        return dict(sorted(Counter(label for row in shown for label in row.labels).items()))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "into": str(self.into),
            "n": len(self.stored),
            "n_new": sum(row.address in self.done for row in self.stored),
            "n_copies": sum(row.is_copy for row in self.rows),
            "n_failed": len(self.failures),
            "n_waiting": len(self.waiting),
            "n_removed": len(self.removed),
            "classes": self.class_counts,
            "table": None if self.table is None else str(self.table),
            "failures": [
                {"address": row.address, "reason": row.reason, "may_pass": row.may_pass}
                for row in self.failures
            ],
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
        }

    def to_text(self) -> str:
        """Return the number of pictures of each class, and of failures by their reason."""
        lines = [f"{count:>7}  {label}" for label, count in self.class_counts.items()]
        lines += self._plan() if self.dry_run else self._outcome()
        reasons = Counter((row.reason or "", row.may_pass) for row in self.failures)
        if reasons:
            lines.append(f"{len(self.failures)} failed:")
            for (reason, may_pass), count in reasons.most_common(_MAX_REASONS):
                lines.append(f"{count:>7}  {reason}{' (may pass)' if may_pass else ''}")
            if (more := len(reasons) - _MAX_REASONS) > 0:
                lines.append(f"         and {plural(more, 'more reason')}, which --table writes")
            lines.append(self._advice())
        return join_lines(lines)

    def _plan(self) -> list[str]:
        """Return what a dry run found."""
        hosts = Counter(urlsplit(row.address).hostname for row in self.waiting)
        there = f"; {len(self.stored)} are there" if self.stored else ""
        return [
            f"{plural(len(self.waiting), 'picture')} would be gathered from "
            f"{plural(len(hosts), 'host')} into {self.into}, in {_duration(self.seconds)} at "
            f"least{there}"
        ]

    def _outcome(self) -> list[str]:
        """Return what was done."""
        n_new = sum(row.address in self.done for row in self.stored)
        before = len(self.stored) - n_new
        lines = [
            f"{plural(len(self.stored), 'picture')} in {self.into}: {n_new} new"
            + (f", {before} there before" if before else "")
        ]
        if n_copies := sum(row.is_copy for row in self.rows):
            lines.append(
                f"{n_copies} of the addresses gave a picture that another gave: it is stored once"
            )
        twins = [row for row in self.stored if row.reason]
        if twins:
            lines.append(
                f"{plural(len(twins), 'picture')} came under different labels as well, such as "
                f"{twins[0].file}: {twins[0].reason}"
            )
        if self.removed:
            lines.append(
                f"{plural(len(self.removed), 'picture')} taken away since: not gathered again"
            )
        if self.table is not None:
            lines.append(f"their labels and facts are in {self.table}")
        return lines

    def _advice(self) -> str:
        """Return which failures the next run tries again."""
        n_passing = sum(row.may_pass for row in self.failures)
        if n_passing == len(self.failures):
            return "the same command tries them again"
        if not n_passing:
            return "only --retry-failed tries them again"
        return f"the same command tries {n_passing} of them again, --retry-failed all"

    def _headline(self) -> str:
        return (self._plan() if self.dry_run else self._outcome())[0]

    def _table(self) -> Rows:
        """Return a row an address."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.facts))
        header = [
            "address",
            "file",
            "label",
            "outcome",
            "reason",
            "may_pass",
            "final_address",
            "date",
            "digest",
            "n_bytes",
        ]
        cells = [
            [
                row.address,
                row.file,
                LABEL_SEPARATOR.join(row.labels) or None,
                row.outcome,
                row.reason,
                row.may_pass,
                row.final_address,
                row.date,
                row.digest,
                row.n_bytes,
                *(row.facts.get(name) for name in names),
            ]
            for row in self.rows
        ]
        return Rows(header + names, cells)

    def _with(self, outcome: str) -> list[Gathered]:
        return [row for row in self.rows if row.outcome == outcome]

    def _is_there(self, row: Gathered) -> bool:
        return row.file is not None and os.path.lexists(self.into / row.file)


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

    Each address gets a line in ``clusterkit-gathered.jsonl``: what came, from where, when, its
    digest, or why nothing came.  The same call goes on after an interruption, asks for nothing that
    is there already, and tries again what failed for a reason that may pass.  Pictures that were
    taken away by hand are not gathered again.  Nothing is overwritten.

    Servers are asked politely: as their robots.txt and X-Robots-Tag wish, at a rate for each host,
    later if they say so, and under an honest name.  Private addresses are refused when a connection
    is made, on each hop of a redirect.

    Parameters
    ----------
    source : path
        One of

        - a ``.txt`` file with one address per line, and its label behind it if it has one;
        - a table with a column of addresses, and of labels if they have some;
        - a ``.toml`` recipe: pages, and CSS selectors of their items, of each item's picture, and
          of facts, see :func:`clusterkit.preparation.recipes.read_recipe`.
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
        Gather only so many, the first of the source.
    max_bytes : int, default 20,000,000
        Of one file or page, as sent and after decompression.
    max_seconds : float, default 60
        For one request, from the connection to the last byte.
    rate : float, default 1
        Requests per second to one host, or fewer if its robots.txt says so.
    per_host, parallel : int, default 2 and 8
        Requests at a time to one host, and to all together.
    attempts : int, default 3
        How often to ask for an address, if that may help.
    allow_private : iterable of str
        IP addresses and networks that may be asked although they are not public, or ``"all"``.
    obey_robots : bool, default True
        Whether robots.txt and X-Robots-Tag (noai, noimageai, noindex) count.  Only the owner of a
        server can say that they do not.
    contact : str, optional
        An address of yours, which servers are told as well.
    retry_failed : bool, default False
        Whether to ask again for all that failed, also where it hardly helps.
    dry_run : bool, default False
        Whether to only plan, without writing anything; the pages of a recipe are looked at.
    random_state : int, optional
        Seed of the length of waits after failures.
    progress : bool, default False
        Whether to show a progress bar on stderr.

    Returns
    -------
    Gathering
        A row an address.

    Raises
    ------
    NotFoundError
        If there is no source.
    OutputExistsError
        If the folder holds files that were not gathered.
    InvalidInputError
        If the source or an argument is invalid, the selectors of a recipe find nothing, or the disk
        refuses.
    MissingDependencyError
        If httpx, protego or selectolax is not installed.

    Warns
    -----
    UserWarning
        About what is left out, and a table of labels that was changed by hand.
    Notice
        How the source was interpreted.

    Examples
    --------
    >>> gather("addresses.csv", "animals/")  # doctest: +SKIP
    """
    for name in ("httpx", "protego", "selectolax"):
        require(name, extra="gather", caller="gather")
    from clusterkit.preparation.addresses import read_addresses
    from clusterkit.preparation.downloads import Downloader, Limits
    from clusterkit.preparation.network_guard import parse_networks
    from clusterkit.preparation.recipes import read_recipe

    for name, value, least in (
        ("max_images", 1 if max_images is None else max_images, 1),
        ("max_bytes", max_bytes, 1),
        ("per_host", per_host, 1),
        ("parallel", parallel, 1),
        ("attempts", attempts, 1),
    ):
        if value < least:
            raise InvalidInputError(f"{name} must be at least {least}. Received: {value}")
    for name, number in (("rate", rate), ("max_seconds", max_seconds)):
        if not 0 < number < float("inf"):
            raise InvalidInputError(f"{name} must be a positive number. Received: {number}")
    if contact is not None and not (contact.isascii() and contact.isprintable()):
        raise InvalidInputError(f"contact must be printable ASCII. Received: {contact!r}")
    limits = Limits(
        max_bytes=max_bytes,
        seconds=max_seconds,
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
    source, into = Path(source), Path(os.path.abspath(into))  # noqa: PTH100
    found: Recipe | list[Wanted]
    if source.suffix.lower() == _RECIPE_SUFFIX:
        found = read_recipe(source)
        layout = _layout_of(found)
    else:
        found = read_addresses(
            source,
            address_column=address_column,
            label_column=label_column,
            label_separator=label_separator,
        )
        layout = _layout_for(found)
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
                wanted = await run.read_pages(wanted, downloader, max_images, keeps=not dry_run)
            run.start(wanted)
            if not dry_run:
                await run.download(downloader, per_host)

    if dry_run:
        run_apart(work)
        hosts = Counter(urlsplit(row.address).hostname for row in run.todo)
        seconds = max(hosts.values(), default=0) / rate
        return Gathering(into, run.rows(), seconds=seconds, dry_run=True)
    table = None
    with manifest.writing(layout):
        try:
            run_apart(work)
        except OSError as error:
            if isinstance(error, ClusterkitError):
                raise
            raise InvalidInputError(
                f"cannot write in {into}: {error.strerror or error}. The same command goes on with "
                "the rest"
            ) from error
        finally:
            # After Ctrl-C as well: what is there can be used.
            table = _write_table(manifest, run.wanted)
        manifest.finish()
    return Gathering(into, run.rows(), run.done, table, time.monotonic() - started)


class _Run:
    """One run: which addresses there are, and what becomes of each."""

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
        self._names = FreeNames(manifest.folder, ())
        self._by_digest: dict[str, list[Gathered]] = defaultdict(list)

    def start(self, wanted: list[Wanted]) -> None:
        """Plan what is to be done: first what is new, then what failed before."""
        self.wanted = wanted
        self._folders = _plan_folders(wanted, self.layout, self.manifest.folder)
        known = self.manifest.rows
        self._names = FreeNames(
            self.manifest.folder, (row.file for row in known.values() if row.file)
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
                stacklevel=4,
            )
        self.todo = new + again

    def rows(self) -> list[Gathered]:
        """Return what became of each address so far."""
        waiting = {row.address: row for row in self.todo}
        found = []
        for one in self.wanted:
            row = self.manifest.rows.get(one.address)
            if row is None or (one.address in waiting and one.address not in self.done):
                row = waiting[one.address]
            found.append(replace(row, facts=one.facts))
        return found + self.page_failures

    async def read_pages(
        self, recipe: Recipe, downloader: Downloader, max_images: int | None, *, keeps: bool
    ) -> list[Wanted]:
        """Return the items of all pages of a recipe, whose selectors must find something."""
        version = digest_file(recipe.file)
        queue, pages = deque(recipe.pages), []
        seen: set[str] = set()
        total = None if recipe.next is not None else len(recipe.pages)
        with progress_bar(name="pages", unit="page", enabled=self._progress, total=total) as bar:
            while queue and len(seen) < recipe.max_pages:
                address = queue.popleft()
                if address in seen:
                    continue
                seen.add(address)
                kept = self.manifest.pages.get(address)
                page: Page | None
                if kept is not None and kept.get("recipe") == version:
                    page = _page_from(kept)
                else:
                    page = await self._read_page(recipe, downloader, address, keeps=keeps)
                    if page is not None and keeps:
                        self.manifest.add_page(address, {"recipe": version, **asdict(page)})
                bar.update()
                if page is None:
                    continue
                pages.append(page)
                if page.next is not None:
                    queue.append(page.next)
                if max_images is not None and sum(len(one.items) for one in pages) >= max_images:
                    break
        self._check_found(recipe, pages)
        return _select(_unite(pages), self.layout, max_images)

    async def _read_page(
        self, recipe: Recipe, downloader: Downloader, address: str, *, keeps: bool
    ) -> Page | None:
        """Return what is on a page; None if it cannot be read."""
        from clusterkit.preparation.downloads import FailedError
        from clusterkit.preparation.recipes import extract, page_objection

        try:
            answer = await downloader.fetch(address)
            kind = answer.content_type.partition(";")[0].strip().lower()
            if kind and "html" not in kind:
                raise FailedError(f"it is {kind}, no web page")
            word = page_objection(answer.content, answer.content_type)
            if downloader.limits.obeys_robots and word is not None:
                raise FailedError(f"the page says {word} (meta robots)")
        except FailedError as failure:
            row = Gathered(
                address,
                outcome=FAILED,
                reason=f"page: {failure}",
                may_pass=True,
                date=_now(),
            )
            self.page_failures.append(row)
            if keeps:
                self.manifest.add(row)
            return None
        return extract(recipe, answer.content, answer.content_type, answer.address)

    def _check_found(self, recipe: Recipe, pages: Sequence[Page]) -> None:
        """Raise an error if a selector finds nothing; warn of what single pages lack."""
        if not pages:
            first = self.page_failures[0]
            raise InvalidInputError(
                f"none of the pages of {recipe.file} can be read: {first.address}: {first.reason}"
            )
        where = f"{pages[0].address} (its title is {pages[0].title!r})"
        if not any(page.n_items for page in pages):
            raise InvalidInputError(
                f"{recipe.file}: item = {recipe.item!r} fits nothing on {where}"
            )
        for name, selector in {"picture": recipe.picture, **recipe.fields}.items():
            if not any(page.found[name] for page in pages):
                raise InvalidInputError(
                    f"{recipe.file}: {name} = {selector.select!r} fits nothing in the "
                    f"{plural(sum(page.n_items for page in pages), 'item')} of {where}"
                )
        if bare := [page for page in pages if not page.n_items]:
            warnings.warn(
                f"item = {recipe.item!r} fits nothing on {plural(len(bare), 'page')}, such as "
                f"{bare[0].address} (its title is {bare[0].title!r})",
                stacklevel=4,
            )
        if n_bare := sum(page.n_items - page.found["picture"] for page in pages):
            warnings.warn(f"left out {plural(n_bare, 'item')} without a picture", stacklevel=4)
        if unusable := [one for page in pages for one in page.unusable]:
            warnings.warn(
                f"left out {plural(len(unusable), 'item')} whose picture has no address of the "
                f"web, such as {unusable[0][:60]}; in pages that load pictures late it may be in "
                'another attribute: picture = {select = "img", attribute = ["data-src", "src"]}',
                stacklevel=4,
            )

    async def download(self, downloader: Downloader, per_host: int) -> None:
        """Download all that is to be done, the hosts beside each other."""
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

            try:
                async with asyncio.TaskGroup() as group:
                    for queue in queues.values():
                        for _ in range(min(per_host, len(queue))):
                            group.create_task(work_through(queue))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _gather_one(self, row: Gathered, downloader: Downloader) -> None:
        """Download one picture, and write down what became of it."""
        from clusterkit.preparation.downloads import FailedError

        row = replace(row, date=_now())
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
        file = self._names.take(place.get(self.layout, "."), row.address, suffix)
        row = replace(row, file=file)
        if same:
            row = replace(row, reason=f"the same picture as {same[0].file}")
        self.manifest.store(row, content)
        same.append(row)


def _layout_of(recipe: Recipe) -> str:
    """Return what the folder of a recipe is like."""
    if recipe.label is None:
        return PLAIN
    return WITH_TABLE if recipe.fields[recipe.label].is_list else BY_CLASS


def _layout_for(wanted: Sequence[Wanted]) -> str:
    """Return what the folder of a list is like."""
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
            stacklevel=4,
        )
    return kept[:max_images]


def _unite(pages: Sequence[Page]) -> list[Wanted]:
    """Return the items of all pages, each picture once."""
    found: dict[str, Wanted] = {}
    others = []
    for one in (one for page in pages for one in page.items):
        if found.setdefault(one.address, one) != one:
            others.append(one)
    if others:
        what = ", ".join([*others[0].labels, *others[0].facts.values()])
        warnings.warn(
            f"left out {plural(len(others), 'item')} that have the picture of an earlier one and "
            f"other facts, such as {others[0].address} ({what})",
            stacklevel=4,
        )
    return list(found.values())


def _plan_folders(wanted: Sequence[Wanted], layout: str, into: Path) -> dict[str, str]:
    """Return the folder of each label, or raise an error if two would be one."""
    if layout != BY_CLASS:
        return {}
    return folder_names([label for one in wanted for label in one.labels], into)


def _page_from(kept: dict[str, Any]) -> Page:
    """Return a page as an earlier run found it."""
    from clusterkit.preparation.addresses import Wanted
    from clusterkit.preparation.recipes import Page

    values = {name: kept[name] for name in Page.__dataclass_fields__}
    items = [Wanted(one["address"], tuple(one["labels"]), one["facts"]) for one in kept["items"]]
    return Page(**{**values, "items": items})


def _write_table(manifest: GatherManifest, wanted: Sequence[Wanted]) -> Path | None:
    """Write the labels and facts of all pictures, if folders do not say everything."""
    newest = {one.address: one.facts for one in wanted}
    rows = [
        replace(row, facts=newest.get(row.address, row.facts))
        for row in manifest.rows.values()
        if row.outcome == STORED and not row.is_copy and manifest.is_there(row)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row.facts))
    if not rows or not (names or manifest.layout == WITH_TABLE):
        return None
    has_labels = any(row.labels for row in rows)
    header = ["path", *(["label"] if has_labels else []), *names]
    cells = [
        [
            row.file,
            *([LABEL_SEPARATOR.join(row.labels)] if has_labels else []),
            *(row.facts.get(name, "") for name in names),
        ]
        for row in sorted(rows, key=lambda row: row.file or "")
    ]
    content = to_csv(header, cells)
    target = manifest.folder / TABLE_NAME
    number = 1
    while os.path.lexists(target) and digest_file(target) not in manifest.tables:
        number += 1
        target = target.with_name(f"labels ({number}).csv")
    if number > 1:
        warnings.warn(
            f"{manifest.folder / TABLE_NAME} was changed since it was written, and is kept: the "
            f"table of this run is {target.name}",
            stacklevel=3,
        )
    manifest.add_table(digest_bytes(content.encode()))
    write_whole(target, content)
    return target


def _now() -> str:
    """Return the time of day in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
