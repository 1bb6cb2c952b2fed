"""The report's page of the served images, with a form for other pictures."""

from __future__ import annotations

import gzip
import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from clusterkit.serve.limits import RefusedError
from clusterkit.serve.served import Served, Sources

# A page holds about 2 KB of each image.
MAX_ON_PAGE = 100_000
_LOG = logging.getLogger("clusterkit.serve")
_POLICY = re.compile('<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


@dataclass(frozen=True)
class Page:
    """A page for the server.

    Attributes
    ----------
    html : bytes
        The page.
    policy : str
        Its content security policy.
    sheets : dict of str to bytes
        Thumbnails beside it, by their names.
    kind : str
        Their type.
    compressed : bytes
        The page in gzip; empty if it is not compressed.
    """

    html: bytes
    policy: str
    sheets: dict[str, bytes] = field(default_factory=dict)
    kind: str = ""
    compressed: bytes = b""


def make_page(served: Served, sources: Sources) -> Page:
    """Make the page of a store.

    Parameters
    ----------
    served : Served
        The served state, with a store of at most 100,000 images.
    sources : Sources
        Its files: the table of the groups.

    Returns
    -------
    Page
        The map, the groups and the neighbours, without the slow parts that ``clusterkit report``
        adds: the verdict on the number of clusters, and the audit.
    """
    # Only the page needs matplotlib and scikit-learn.
    from clusterkit.report.assembly import assemble
    from clusterkit.report.page_images import read_page_images

    catalogue = served.catalogue
    assert catalogue is not None
    embeddings = catalogue.embeddings()
    page_images = (
        read_page_images(embeddings)
        if served.groups is None
        else read_page_images(sources.clusters, embeddings)
    )
    parts = {
        "predict": served.classifier,
        "cluster": served.groups and served.extractor,
        "similar": served.extractor,
    }
    made = assemble(
        page_images,
        address="sheets",
        is_served=True,
        uploads=[kind for kind, part in parts.items() if part is not None],
    )
    policy = _POLICY.search(made.html)
    assert policy is not None  # the template has one
    html = made.html.encode()
    return Page(
        html,
        f"{policy[1].replace('&#39;', chr(39))}; frame-ancestors 'none'",
        made.sheets,
        made.sheet_kind,
        # Once, in the thread that makes the page: a middleware would do it at each request, which
        # takes 25 ms of processor time per MB.
        gzip.compress(html, 6, mtime=0),
    )


class PageKeeper:
    """Makes the page in a thread at the first request, and again after changes.

    Parameters
    ----------
    sources : Sources
        The files of the server.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._pool = ThreadPoolExecutor(1, "page")
        self._made: Page | None = None
        self._making: tuple[Served, Future[Page | None]] | None = None

    def get(self, served: Served) -> Page | None:
        """Return the page, the old one while a new one is made, or None while the first is made.

        Raises
        ------
        RefusedError
            If there can be no page, or the first one cannot be made.
        """
        if served.catalogue is None:
            raise RefusedError(404, "there is a page only with a store")
        is_done = self._making is None or self._making[1].done()
        if is_done and (self._making is None or self._making[0] is not served):
            self._making = served, self._pool.submit(self._make, served)
        elif is_done and self._making is not None:
            made = self._making[1].result()
            if made is None and self._made is None:
                raise RefusedError(500, "the page could not be made; the server's log says why")
            self._made = made or self._made
        return self._made

    def _make(self, served: Served) -> Page | None:
        """Make the page, in the thread; None if it cannot be made."""
        try:
            return make_page(served, self._sources)
        except Exception as error:
            _LOG.warning("the page could not be made: %s", error)
            return None

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(cancel_futures=True)
