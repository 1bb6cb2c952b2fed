"""``clusterkit elbow``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    read_space,
    seed_option,
    selection_options,
    space_option,
    store_option,
)
from clusterkit.cli.outputs import Outputs, outputs, picture
from clusterkit.cli.streams import say_result


@click.command()
@click.option("--k-min", type=click.IntRange(2), default=2, show_default=True, help="Smallest k.")
@click.option(
    "--k-max",
    type=click.IntRange(2),
    help="Largest k.  [default: 20, then 40 and 80 if there may be more clusters]",
)
@selection_options
@seed_option
@space_option
@store_option
@outputs(picture("Draw the curve and the verdict to this file"))
def elbow(
    k_min: int,
    k_max: int | None,
    only: tuple[str, ...],
    only_cluster: tuple[str, ...],
    of: Path,
    seed: int,
    extractor: str | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Estimate the number of clusters, or report that there is no clear number.

    Clusters the embeddings for every k in a range, and combines the stability under resampling,
    the share of nearest neighbours that are separated, and the eigengap of the neighbour graph.
    The knee of the inertia, silhouette, Calinski-Harabasz and Davies-Bouldin are shown beside it.

    \b
    Example:
      clusterkit elbow --k-max 30 -o elbow.png
      clusterkit elbow --only 2019/
    """
    from clusterkit import plots
    from clusterkit.clustering.selection import select
    from clusterkit.elbow.curve import elbow_curve

    if k_max is not None and k_min > k_max:
        raise click.UsageError(f"--k-min must be at most --k-max. Received: {k_min} and {k_max}")
    embeddings = read_space(store, extractor, of if only_cluster else None)
    curve = elbow_curve(
        select(embeddings, only=only, clusters=only_cluster, of=of),
        k_min=k_min,
        k_max=k_max,
        random_state=seed,
        progress=True,
    )
    outputs.draw(lambda: plots.ElbowDisplay.from_curve(curve))
    outputs.show(curve.to_dict(), lambda: say_result(curve))
