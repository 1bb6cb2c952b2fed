"""``clusterkit promote``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    dry_run_option,
    into_option,
    mode_option,
    name_option,
    store_option,
    strict_option,
)
from clusterkit.cli.outputs import LocalPath, Outputs, outputs, say_result


@click.command()
@click.argument("clusters_csv", type=LocalPath(dir_okay=False))
@into_option("Make the classes' folders in this one.")
@name_option(
    "What a cluster is called.  Can be given several times.  [default: the table's column name]"
)
@click.option(
    "--root",
    type=LocalPath(exists=True, file_okay=False),
    help="The folder that the table's paths are relative to; needed where its images are not in "
    "the store.  [default: as in the .json file beside the table, or that of the store]",
)
@store_option
@mode_option
@strict_option
@dry_run_option
@outputs()
def promote(
    clusters_csv: Path,
    into: Path,
    names: dict[int, str],
    root: Path | None,
    store: Path,
    mode: str,
    strict: bool,
    dry_run: bool,
    outputs: Outputs,
) -> None:
    """Turn the named clusters of CLUSTERS_CSV into class folders, to train a classifier on.

    Clusters with one name become one class; those without a name, and noise, are left out.  `--name
    3=` leaves out a cluster that has a name.  The table may come from anyone: only images that
    are in the store, or below the --root that you give, are sorted.

    \b
    Example:
      clusterkit promote clusters.csv --into classes/ --name 0=fox --name 1=wolf
      clusterkit train classifier classes/ --network xception -o clf.keras
    """
    from clusterkit.clustering.promotion import promote as promote_clusters

    sorting = promote_clusters(
        clusters_csv,
        into,
        names=names,
        root=root,
        store=store,
        mode=mode,
        strict=strict,
        dry_run=dry_run,
        progress=True,
    )
    outputs.show(sorting.to_dict(), lambda: say_result(sorting))
