"""The table of labels and facts of gathered pictures."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clusterkit.datasets.label_tables import LABEL_SEPARATOR
from clusterkit.datasets.tables import to_csv
from clusterkit.errors import ClusterkitWarning
from clusterkit.images.folder import digest_bytes, digest_file
from clusterkit.preparation.gathering.manifest import STORED, WITH_TABLE, GatherManifest
from clusterkit.utils.files import write_whole

TABLE_NAME = "labels.csv"


def write_label_table(
    manifest: GatherManifest, newest: Mapping[str, dict[str, str]]
) -> Path | None:
    """Write the labels and facts of all pictures, unless their folders are the only labels.

    Parameters
    ----------
    manifest : GatherManifest
        The manifest, which remembers what was written.
    newest : mapping of str to dict
        The facts of addresses, as they are now.

    Returns
    -------
    pathlib.Path or None
        The table; None if there is none.  A table that was changed by hand is kept, and another
        file is written.

    Warns
    -----
    ClusterkitWarning
        If it was changed by hand, or a label contains the separator of several labels.
    """
    rows = [
        replace(row, facts=newest.get(row.address, row.facts))
        for row in manifest.rows.values()
        if row.outcome == STORED and not row.is_copy and manifest.is_there(row)
    ]
    names = list(dict.fromkeys(name for row in rows for name in row.facts))
    if not rows or not (names or manifest.layout == WITH_TABLE):
        return None
    has_labels = any(row.labels for row in rows)
    split = [label for row in rows for label in row.labels if LABEL_SEPARATOR in label]
    if split:
        warnings.warn(
            f"the label {split[0]!r} reads as several ones in a table of labels. If they are, a "
            f'recipe has separator = "{LABEL_SEPARATOR}" at its field, and another folder',
            ClusterkitWarning,
            stacklevel=3,
        )
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
            ClusterkitWarning,
            stacklevel=3,
        )
    manifest.add_table(digest_bytes(content.encode()))
    write_whole(target, content)
    return target
