"""``clusterkit inspect``."""

from pathlib import Path

import click

from clusterkit.cli.options import read_space, space_option, store_option
from clusterkit.cli.outputs import LocalPath, Outputs, outputs, picture, say_result, table


@click.command()
@click.argument("clusters_csv", type=LocalPath(dir_okay=False))
@space_option
@store_option
@outputs(
    table("Write the figures of each image to this CSV file."),
    picture("Draw the silhouettes, and images of each cluster, to this file"),
)
def inspect(clusters_csv: Path, extractor: str | None, store: Path, outputs: Outputs) -> None:
    """Inspect the clusters of CLUSTERS_CSV: central, doubtful and odd images.

    For each cluster: its mean silhouette, the nearest clusters, the most central images, doubtful
    ones between two clusters (with the nearer one), and odd ones, which are unlike the rest.

    \b
    Example:
      clusterkit inspect clusters.csv -o inside.png --table images.csv
    """
    from clusterkit import plots
    from clusterkit.clustering.inspection import inspect_clusters
    from clusterkit.clustering.reopening import reopen_clustering

    embeddings = read_space(store, extractor, clusters_csv)
    inspection = inspect_clusters(reopen_clustering(clusters_csv, embeddings))
    outputs.write(inspection.to_csv, "table")
    outputs.draw(lambda: plots.InspectionDisplay.from_inspection(inspection))
    outputs.show(inspection.to_dict(), lambda: say_result(inspection))
