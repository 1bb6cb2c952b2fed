"""``clusterkit label``."""

from pathlib import Path

import click

from clusterkit.cli.options import ImageNumber, as_dict, name_option
from clusterkit.cli.outputs import LocalPath, Outputs, outputs, say_result


@click.command()
@click.argument("clusters_csv", type=LocalPath(dir_okay=False))
@name_option("Name a cluster; NUMBER= removes its name.  Can be given several times.")
@click.option(
    "--move",
    "moves",
    multiple=True,
    type=ImageNumber(),
    callback=as_dict,
    help="Put an image into a cluster; a number that is not in use makes a new group, and -1 is "
    "noise.  Can be given several times.",
)
@click.option(
    "--pin",
    multiple=True,
    type=click.IntRange(0),
    metavar="NUMBER",
    help="Keep the images of a cluster.  Can be given several times.",
)
@click.option(
    "--unpin",
    multiple=True,
    type=click.IntRange(0),
    metavar="NUMBER",
    help="Undo --pin: no longer keep the images of a cluster.  Can be given several times.",
)
@click.option(
    "--not-copies",
    nargs=2,
    multiple=True,
    metavar="IMAGE IMAGE",
    help="Record that two images are not copies of each other, so that --sheet shows both, and "
    "`train classifier`, `compare` and `label-errors` with --not-copies CLUSTERS_CSV need not keep "
    "them together.  Can be given several times.",
)
@click.option(
    "--copies",
    nargs=2,
    multiple=True,
    metavar="IMAGE IMAGE",
    help="Take a --not-copies back.  Can be given several times.",
)
@outputs()
def label(
    clusters_csv: Path,
    names: dict[int, str],
    moves: dict[str, int],
    pin: tuple[int, ...],
    unpin: tuple[int, ...],
    not_copies: tuple[tuple[str, str], ...],
    copies: tuple[tuple[str, str], ...],
    outputs: Outputs,
) -> None:
    """Name clusters of CLUSTERS_CSV, and choose their images.

    `clusterkit cluster --previous CLUSTERS_CSV` keeps these decisions: a cluster with a given name
    or a pin keeps its number and images, a moved image stays where it was put, and only the rest is
    clustered again.  Edits of the table in a spreadsheet count as well: another name or number in
    some rows.

    Without options, the decisions so far are listed.

    \b
    Example:
      clusterkit label clusters.csv --name 3="my tigers" --move IMG_0012.jpg=5 --pin 5
      clusterkit label clusters.csv --not-copies IMG_0012.jpg IMG_0013.jpg
      clusterkit cluster -k 12 --previous clusters.csv --overwrite
    """
    from clusterkit.clustering.labelling import label as label_clusters

    labelling = label_clusters(
        clusters_csv,
        names=names,
        moves=moves,
        pin=pin,
        unpin=unpin,
        not_copies=not_copies,
        copies=copies,
    )
    outputs.show(labelling.to_dict(), lambda: say_result(labelling))
