"""The served state: loaded from files, and loaded again in the background when these change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.clustering.selection import find_space
from clusterkit.errors import InvalidInputError, NotFoundError, StoreError
from clusterkit.extractors.by_name import WITHOUT_NETWORK
from clusterkit.images.folder import FileStatus
from clusterkit.serve.networks import (
    LoadedClassifier,
    LoadedNetwork,
    load_classifier,
    load_extractor,
)
from clusterkit.serve.phases import Phases
from clusterkit.similarity.catalogue import Catalogue
from clusterkit.store.space import Space
from clusterkit.store.store import Store

if TYPE_CHECKING:
    from clusterkit.serve.groups import Groups

# Identity of the content of a file, see FileStatus, or of a space.
Status = tuple[int, int, int] | str | None


@dataclass(frozen=True)
class Served:
    """A consistent state; requests that start with one also end with it.

    Attributes
    ----------
    catalogue, extractor
        The images of the store, and the network that made them; None without a store, or for
        imported vectors.
    groups : Groups or None
        The groups of ``--clusters``.
    classifier : LoadedClassifier or None
        The classifier of ``--model``.
    statuses : dict of str to Status
        The source files.
    """

    catalogue: Catalogue | None
    extractor: LoadedNetwork | None
    groups: Groups | None
    classifier: LoadedClassifier | None
    statuses: dict[str, Status]


@dataclass(frozen=True)
class Sources:
    """The files of a server.

    Attributes
    ----------
    store : path or None
        The store.
    extractor : str or None
        Which of its spaces.
    weights : path or None
        The weights of its network, if their file has moved.
    model : path or None
        A classifier.
    clusters : path or None
        A table of clusters.
    """

    store: Path | None = None
    extractor: str | None = None
    weights: Path | None = None
    model: Path | None = None
    clusters: Path | None = None

    def load(self, before: Served | None = None, phases: Phases | None = None) -> Served:
        """Load what has changed since an earlier state, and take the rest from it.

        Parameters
        ----------
        before : Served, optional
            The earlier state.
        phases : Phases, optional
            Measures the time.

        Raises
        ------
        ClusterkitError
            If something is missing or damaged, or there is nothing to serve.
        """
        phases = phases or Phases()
        # Before anything is read, so that later changes are loaded again.
        now = self.statuses()
        space = self._find_space()
        if space is None and self.model is None:
            raise InvalidInputError("there is nothing to serve: name a store or a model")
        if self.clusters is not None and space is None:
            raise InvalidInputError("clusters are served with the store of their images")
        old = before.statuses if before is not None else {}
        same = {name for name in now if name in old and now[name] == old[name]}
        catalogue = extractor = groups = classifier = None
        if space is not None:
            if before is not None and before.catalogue is not None and "store" in same:
                catalogue = before.catalogue
            else:
                with phases.phase("catalogue"):
                    catalogue = Catalogue(space)
            extractor = self._load_extractor(catalogue, before, phases)
        if self.clusters is not None and space is not None and catalogue is not None:
            is_same = {"store", "clusters", "clusters.json"} <= same
            if before is not None and is_same:
                groups = before.groups
            else:
                with phases.phase("groups"):
                    from clusterkit.serve.groups import Groups

                    groups = Groups(self.clusters, catalogue)
        if self.model is not None:
            if before is not None and "model" in same:
                classifier = before.classifier
            else:
                with phases.phase("classifier"):
                    classifier = load_classifier(self.model)
        return Served(catalogue, extractor, groups, classifier, now)

    def statuses(self) -> dict[str, Status]:
        """Return the identity of the content of each file, and of the store."""
        files: dict[str, Path] = {}
        if self.model is not None:
            files["model"] = self.model
        if self.clusters is not None:
            files["clusters"] = self.clusters
            files["clusters.json"] = self.clusters.with_suffix(".json")
        found = {name: _status_of(file) for name, file in files.items()}
        space = self._find_space()
        return found if space is None else found | {"store": _state_of(space)}

    def _find_space(self) -> Space | None:
        """Return the served space: that of the extractor, of the table, or the default."""
        if self.store is None:
            return None
        store = Store(self.store)
        of_table = None
        if self.clusters is not None and self.extractor is None:
            if not self.clusters.exists():
                raise NotFoundError(f"no such file: {self.clusters}")
            of_table = find_space(self.clusters, store)
        return of_table or store.space(self.extractor)

    def _load_extractor(
        self, catalogue: Catalogue, before: Served | None, phases: Phases
    ) -> LoadedNetwork | None:
        """Return the network of a space; the earlier one if the space is the same.

        Imported vectors have none.
        """
        source, name = catalogue.space.get("weights_source"), catalogue.space.get("extractor")
        if source is None and name not in WITHOUT_NETWORK:
            return None
        if (
            before is not None
            and before.extractor is not None
            and before.catalogue is not None
            and before.catalogue.fingerprint == catalogue.fingerprint
        ):
            return before.extractor
        files = [catalogue.file_of(row) for row in range(min(len(catalogue), 16))]
        return load_extractor(catalogue.space, weights=self.weights, files=files, phases=phases)


def _state_of(space: Space) -> Status:
    """Return the identity of the rows of a space; None if it is damaged."""
    try:
        return space.state
    except StoreError:
        return None


def _status_of(file: Path) -> Status:
    """Return the identity of the content of a file; None if there is no file."""
    status = FileStatus.of(file)
    if status.size is None or status.mtime_ns is None:
        return None
    return status.mtime_ns, status.size, status.inode or 0
