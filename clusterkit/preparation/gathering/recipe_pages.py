"""Read the pages of a recipe: which pictures they have, and what they lack."""

import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from clusterkit.errors import ClusterkitWarning, InvalidInputError
from clusterkit.images.folder import digest_file
from clusterkit.preparation.gathering.addresses import Wanted
from clusterkit.preparation.gathering.downloads import Downloader, FailedError
from clusterkit.preparation.gathering.manifest import FAILED, Gathered, GatherManifest, now
from clusterkit.preparation.gathering.recipes import (
    Page,
    Recipe,
    extract,
    is_nested_too_deep,
    page_objection,
)
from clusterkit.utils.progress import progress_bar
from clusterkit.utils.text import plural


class PageReader:
    """Reads the pages of a recipe.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    downloader : Downloader
        Downloads pages.
    manifest : GatherManifest
        Holds the pages of an interrupted run, which are not downloaded again.
    keeps : bool
        Whether to record pages in it.

    Attributes
    ----------
    failures : list of Gathered
        The pages that could not be read.
    """

    def __init__(
        self, recipe: Recipe, downloader: Downloader, manifest: GatherManifest, *, keeps: bool
    ) -> None:
        self.failures: list[Gathered] = []
        self._recipe, self._downloader = recipe, downloader
        self._manifest, self._keeps = manifest, keeps
        self._version = digest_file(recipe.file)
        # If labels are folders, an item without a label has no folder.
        self._needs_label = recipe.label is not None and not recipe.fields[recipe.label].is_list

    async def read(self, max_images: int | None = None, *, progress: bool = False) -> list[Wanted]:
        """Return the pictures of all pages, each once.

        Parameters
        ----------
        max_images : int, optional
            Stop reading pages when there are this many.
        progress : bool
            Whether to show a progress bar.

        Raises
        ------
        InvalidInputError
            If no page can be read, or a selector finds nothing.

        Warns
        -----
        ClusterkitWarning
            If pages or items lack something, or there are pages beyond ``max_pages``.
        """
        queue, seen = deque(self._recipe.pages), set[str]()
        pages: list[Page] = []
        usable = set[str]()
        total = None if self._recipe.next is not None else len(queue)
        with progress_bar(name="pages", unit="page", enabled=progress, total=total) as bar:
            while queue and len(seen) < self._recipe.max_pages:
                address = queue.popleft()
                if address in seen:
                    continue
                seen.add(address)
                page = await self._read_once(address)
                bar.update()
                if page is None:
                    continue
                pages.append(page)
                if page.next is not None:
                    queue.append(page.next)
                usable |= {one.address for one in page.items if one.labels or not self._needs_label}
                if max_images is not None and len(usable) >= max_images:
                    break
            else:
                if left := [address for address in dict.fromkeys(queue) if address not in seen]:
                    warnings.warn(
                        f"left out {plural(len(left), 'page')} of {self._recipe.file}, such as "
                        f"{left[0]}: max_pages is {self._recipe.max_pages}",
                        ClusterkitWarning,
                        stacklevel=3,
                    )
        self._check_found(pages)
        _warn_of_gaps(self._recipe, pages)
        return _unite(pages)

    async def _read_once(self, address: str) -> Page | None:
        """Return a page as recorded by an interrupted run, or as it is now."""
        kept = self._manifest.pages.get(address)
        if kept is not None and kept.get("recipe") == self._version:
            return _page_from(kept)
        page = await self._read(address)
        if page is not None and self._keeps:
            self._manifest.add_page(address, {"recipe": self._version, **asdict(page)})
        return page

    async def _read(self, address: str) -> Page | None:
        """Return what is on a page; None if it cannot be read."""
        try:
            answer = await self._downloader.fetch(address)
            kind = answer.content_type.partition(";")[0].strip().lower()
            if kind and "html" not in kind:
                raise FailedError(f"it is {kind}, not a web page")
            if is_nested_too_deep(answer.content):
                raise FailedError("its elements are nested too deep")
            word = page_objection(answer.content, answer.content_type)
            if self._downloader.limits.obeys_robots and word is not None:
                raise FailedError(f"the page forbids it: {word} (meta robots)")
        except FailedError as failure:
            # Pages are read by each run.
            row = Gathered(
                address, outcome=FAILED, reason=f"page: {failure}", may_pass=True, date=now()
            )
            self.failures.append(row)
            if self._keeps:
                self._manifest.add(row)
            return None
        return extract(self._recipe, answer.content, answer.content_type, answer.address)

    def _check_found(self, pages: Sequence[Page]) -> None:
        """Raise an error if a selector finds nothing."""
        recipe = self._recipe
        if not pages:
            first = self.failures[0]
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


def _warn_of_gaps(recipe: Recipe, pages: Sequence[Page]) -> None:
    """Warn of pages without items, and of items without a picture."""
    if bare := [page for page in pages if not page.n_items]:
        warnings.warn(
            f"item = {recipe.item!r} fits nothing on {plural(len(bare), 'page')}, such as "
            f"{bare[0].address} (its title is {bare[0].title!r})",
            ClusterkitWarning,
            stacklevel=4,
        )
    if n_bare := sum(page.n_items - page.found["picture"] for page in pages):
        warnings.warn(
            f"left out {plural(n_bare, 'item')} without a picture", ClusterkitWarning, stacklevel=4
        )
    if unusable := [one for page in pages for one in page.unusable]:
        warnings.warn(
            f"left out {plural(len(unusable), 'item')} whose picture has no address of the web, "
            f"such as {unusable[0][:60]}. Pages that load pictures late have it in another "
            'attribute: picture = {select = "img", attribute = ["data-src", "src"]}',
            ClusterkitWarning,
            stacklevel=4,
        )


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
            f"left out {plural(len(others), 'item')} with the picture of an earlier one and other "
            f"facts, such as {others[0].address} ({what})",
            ClusterkitWarning,
            stacklevel=4,
        )
    return list(found.values())


def _page_from(kept: dict[str, Any]) -> Page:
    """Return a page as recorded by an earlier run."""
    values = {name: kept[name] for name in Page.__dataclass_fields__}
    items = [Wanted(one["address"], tuple(one["labels"]), one["facts"]) for one in kept["items"]]
    return Page(**{**values, "items": items})
