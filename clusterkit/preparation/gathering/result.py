"""What was gathered, as a result."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clusterkit.datasets.label_tables import LABEL_SEPARATOR
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.preparation.gathering.manifest import FAILED, STORED, WAITING, Gathered
from clusterkit.utils.text import join_lines, plural

# Number of listed reasons; the table has all.
_MAX_REASONS = 12


@dataclass(frozen=True, repr=False)
class Gathering(TableResult):
    """Result of :func:`gather`, one row per address.

    Attributes
    ----------
    into : pathlib.Path
        The folder.
    rows : list of Gathered
        The result of each address, in the order of the source; pages that could not be read are at
        the end.
    done : set of str
        The addresses that this run asked for.
    table : pathlib.Path or None
        The table of labels.
    seconds : float
        Wall time; for a dry run, the minimum wall time of the real run.
    dry_run : bool
        Whether this was only planned.
    """

    into: Path
    rows: list[Gathered]
    done: set[str] = field(default_factory=set)
    table: Path | None = None
    seconds: float = 0.0
    dry_run: bool = False

    @cached_property
    def stored(self) -> list[Gathered]:
        """The rows whose pictures are there, without further addresses of the same picture."""
        found: dict[str | None, Gathered] = {}
        # The address that it was stored from may no longer be in the source.
        for row in sorted(self._with(STORED), key=lambda row: row.is_copy):
            if self._is_there(row):
                found.setdefault(row.file, row)
        chosen = {row.address for row in found.values()}
        return [row for row in self._with(STORED) if row.address in chosen]

    @property
    def _n_new(self) -> int:
        """Number of pictures stored by this run."""
        return sum(row.address in self.done and not row.is_copy for row in self.stored)

    @cached_property
    def removed(self) -> list[Gathered]:
        """The rows whose pictures were gathered, and removed since."""
        return [row for row in self._with(STORED) if not self._is_there(row)]

    @property
    def failures(self) -> list[Gathered]:
        """The failed rows."""
        return self._with(FAILED)

    @property
    def waiting(self) -> list[Gathered]:
        """The rows that were not asked for, as in a dry run."""
        return self._with(WAITING)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of pictures of each label; in a dry run, as if all were gathered."""
        shown = self.waiting + self.stored if self.dry_run else self.stored
        return dict(sorted(Counter(label for row in shown for label in row.labels).items()))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "into": str(self.into),
            "n": len(self.stored),
            "n_new": self._n_new,
            "n_copies": sum(row.is_copy for row in self.rows),
            "n_failed": len(self.failures),
            "n_waiting": len(self.waiting),
            "n_removed": len(self.removed),
            "classes": self.class_counts,
            "labels": None if self.table is None else str(self.table),
            "failures": [
                {"address": row.address, "reason": row.reason, "may_pass": row.may_pass}
                for row in self.failures
            ],
            "seconds": round(self.seconds, 3),
            "dry_run": self.dry_run,
        }

    def to_text(self) -> str:
        """Return the number of pictures of each class, and of failures by their reason."""
        lines = [f"{count:>7,}  {label}" for label, count in self.class_counts.items()]
        lines += self._plan() if self.dry_run else self._outcome()
        reasons = Counter((row.reason or "", row.may_pass) for row in self.failures)
        if reasons:
            lines.append(f"{len(self.failures):,} failed:")
            for (reason, may_pass), count in reasons.most_common(_MAX_REASONS):
                lines.append(f"{count:>7,}  {reason}{' (may be temporary)' if may_pass else ''}")
            if (more := len(reasons) - _MAX_REASONS) > 0:
                lines.append(f"         and {plural(more, 'more reason')}, which --table writes")
            lines.append(self._advice())
        return join_lines(lines)

    def _plan(self) -> list[str]:
        """Return what a dry run found."""
        hosts = Counter(urlsplit(row.address).hostname for row in self.waiting)
        there = f"; {len(self.stored):,} are there" if self.stored else ""
        return [
            f"{plural(len(self.waiting), 'picture')} would be gathered from "
            f"{plural(len(hosts), 'host')} into {self.into}, in {_duration(self.seconds)} at "
            f"least{there}"
        ]

    def _outcome(self) -> list[str]:
        """Return what was done."""
        n_new = self._n_new
        before = len(self.stored) - n_new
        lines = [
            f"{plural(len(self.stored), 'picture')} in {self.into}: {n_new:,} new"
            + (f", {before} there before" if before else "")
        ]
        if n_copies := sum(row.is_copy for row in self.rows):
            lines.append(
                f"{n_copies:,} of the addresses gave a picture that another gave: it is stored once"
            )
        twins = [row for row in self.stored if row.reason and not row.is_copy]
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
        return f"the same command tries {n_passing:,} of them again, --retry-failed all"

    def _headline(self) -> str:
        return (self._plan() if self.dry_run else self._outcome())[0]

    def _table(self) -> Rows:
        """Return one row per address."""
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
        # A fact may have the name of another column, such as the date of a film.
        titles = [f"{name} (fact)" if name in header else name for name in names]
        return Rows(header + titles, cells)

    def _with(self, outcome: str) -> list[Gathered]:
        return [row for row in self.rows if row.outcome == outcome]

    def _is_there(self, row: Gathered) -> bool:
        return row.file is not None and os.path.lexists(self.into / row.file)


def _duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return plural(max(1, round(seconds)), "second")
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
