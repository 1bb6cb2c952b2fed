"""``clusterkit report``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    open_vectors,
    seed_option,
    space_option,
    store_option,
    stream_option,
)
from clusterkit.cli.outputs import LocalPath, OutputFile, Outputs, notice, outputs, say_result

_TABLE = Path("clusters.csv")


@click.command()
@click.argument("clusters_csv", required=False, type=LocalPath(dir_okay=False))
@click.option(
    "--labels",
    metavar="FILE|folders|none",
    default="auto",
    help="Known labels: a table of files and labels, or the names of the images' folders.  "
    "[default: folders, if these have several images each]",
)
@click.option(
    "--map",
    "layout",
    type=click.Choice(["pca", "umap"]),
    default="pca",
    show_default=True,
    help="The map: principal components, or also UMAP, which takes longer and needs pip install "
    "'clusterkit[map]'.",
)
@click.option(
    "--elbow/--no-elbow",
    default=None,
    help="Show the verdict of `clusterkit elbow`, which takes as long as that command.  [default: "
    "up to 2,000 images]",
)
@click.option(
    "--audit/--no-audit",
    default=None,
    help="Show what `clusterkit audit` finds, which takes as long as that command.  [default: up "
    "to 2,000 images]",
)
@stream_option
@seed_option
@space_option
@store_option
@outputs(
    OutputFile(
        "--output",
        "The page.",
        "report.html",
        check="clusterkit.report.writing:check_report_path",
    ),
)
def report(
    clusters_csv: Path | None,
    labels: str,
    layout: str,
    elbow: bool | None,
    audit: bool | None,
    stream: bool | None,
    seed: int,
    extractor: str | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Write one HTML page of the clusters of CLUSTERS_CSV, for browsing and editing.

    The page opens in any browser, without a server or the internet.  It shows each cluster with its
    images, a map of all, the neighbours of each image and why they are near.  In it you rename,
    merge and split clusters, move and mark images, undo, and download the result as a table, which
    `cluster --previous`, `promote` and `evaluate` read.

    CLUSTERS_CSV is clusters.csv if that exists; otherwise all images are one cluster, which you can
    divide by hand.

    Up to 10,000 images, everything is in the page, at less than 2 KB per image; the thumbnails of
    more are in a folder beside it.  The vectors of a large space are read part by part; neighbours
    are then approximate, and the map's axes are those of a random sample.

    \b
    Example:
      clusterkit report
      clusterkit report clusters.csv --no-elbow -o report.html
      clusterkit report clusters.csv -e xception --map umap -o map.html
    """
    from clusterkit.report import write_report

    table = _find_table(clusters_csv)
    embeddings = open_vectors(store, extractor, table, stream=stream)
    page = write_report(
        embeddings if table is None else table,
        outputs.files["output"],
        embeddings=None if table is None else embeddings,
        store=store,
        curve="auto" if elbow is None else elbow,
        audit="auto" if audit is None else audit,
        labels=None if labels == "none" else labels,
        layout=layout,
        random_state=seed,
        overwrite=outputs.overwrite,
        progress=True,
    )
    outputs.written.append(page.path)
    outputs.show(page.to_dict(), lambda: say_result(page))


def _find_table(clusters_csv: Path | None) -> Path | None:
    """Return the table that is named, or the one that is there."""
    if clusters_csv is None and not _TABLE.exists():
        notice(f"There is no {_TABLE}: all images are shown as one cluster.")
        return None
    return clusters_csv or _TABLE
