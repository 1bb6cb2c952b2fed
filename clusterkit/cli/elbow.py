"""``clusterkit elbow``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    notice_names,
    notice_unused,
    open_vectors,
    sample_option,
    seed_option,
    selection_options,
    space_option,
    store_option,
    stream_option,
)
from clusterkit.cli.outputs import Outputs, outputs, picture, say_result


@click.command()
@click.option("--k-min", type=click.IntRange(2), default=2, show_default=True, help="Smallest k.")
@click.option(
    "--k-max",
    type=click.IntRange(2),
    help="Largest k.  [default: 20, then 40 and 80 if there may be more clusters]",
)
@click.option(
    "--indices",
    is_flag=True,
    help="Also draw a panel for each single index, with the number that it prefers.",
)
@selection_options
@sample_option
@stream_option
@seed_option
@space_option
@store_option
@outputs(picture("Draw the verdict, the levels and the curve to this file"))
def elbow(
    k_min: int,
    k_max: int | None,
    indices: bool,
    only: tuple[str, ...],
    only_cluster: tuple[str, ...],
    of: Path,
    sample: int | None,
    stream: bool | None,
    seed: int,
    extractor: str | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Estimate the number of clusters, or report that there is no clear number.

    Clusters the embeddings for every k in a range.  The eigengap of the graph of neighbours and the
    silhouette rank the numbers; how far apart the groups are, compared with slices of one cloud,
    and how sparse the rows are between them tell whether there are groups at all.  The knee of the
    inertia and other indices are shown beside them.

    Images may have several right numbers, such as 3 kinds of 10 animals: these levels are listed,
    the coarsest first, each with its confidence and, where ImageNet's classes of the images are in
    the store, the names of its groups.  `clusterkit cluster -k auto` takes the best, with --level
    another.

    Of a large space, a random sample of 20,000 images is used (--sample); the verdict and the title
    of the picture state it.

    \b
    Example:
      clusterkit elbow --k-max 30 -o elbow.png
      clusterkit elbow -o indices.png --indices
      clusterkit elbow --only 2019/
    """
    from clusterkit import plots
    from clusterkit.clustering.levels import find_levels
    from clusterkit.clustering.selection import select

    if k_max is not None and k_min > k_max:
        raise click.UsageError(f"--k-min must be at most --k-max. Received: {k_min} and {k_max}")
    if indices and outputs.files["output"] is None:
        raise click.UsageError("--indices are panels of the picture: give -o FILE, too")
    if not only_cluster:
        notice_unused("--only-cluster is not given", "of")
    embeddings = open_vectors(store, extractor, of if only_cluster else None, stream=stream)
    found = find_levels(
        select(embeddings, only=only, clusters=only_cluster, of=of),
        k_min=k_min,
        k_max=k_max,
        sample=sample,
        random_state=seed,
        store=store,
        progress=True,
    )
    outputs.draw(lambda: plots.ElbowDisplay.from_curve(found.curve, indices=indices))
    outputs.show(found.to_dict(), lambda: say_result(found))
    if found.levels:
        notice_names("groups", found.names_from, embeddings)
