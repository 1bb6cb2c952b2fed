"""``clusterkit compare-spaces``."""

from pathlib import Path
from typing import Any

import click

from clusterkit.cli.options import (
    check_picture,
    columns_options,
    json_option,
    labels_option,
    notice,
    overwrite_option,
    picture_option,
    plural,
    print_json,
    save_picture,
    say,
    seed_option,
    store_option,
)


@click.command("compare-spaces")
@click.option(
    "-e",
    "--extractor",
    "extractors",
    multiple=True,
    help="A space to compare: an extractor's name, or a .keras file; may be given several times.  "
    "[default: all of the store]",
)
@click.option(
    "-k",
    "--n-clusters",
    type=click.IntRange(2),
    help="Number of clusters.  [default: the mean over several; for the accuracy, the number of "
    "labels]",
)
@labels_option
@columns_options
@picture_option("Draw the scores to this file")
@overwrite_option
@seed_option
@store_option
@json_option
def compare_spaces(
    extractors: tuple[str, ...],
    n_clusters: int | None,
    labels: Path | None,
    output: Path | None,
    overwrite: bool,
    seed: int,
    store: Path,
    as_json: bool,
    **columns: Any,
) -> None:
    """Say which embedding space of the store groups the images best, without labels.

    Each space is clustered by k-means.  Its score says how far one grouping, the same for all
    spaces, explains that the clusters come back when images are left out (stability), hold an
    image's nearest neighbours together (neighbors), and are found in other spaces too (agreement).
    The silhouette and, where there are labels, the accuracy are shown beside it; no rank depends
    on them.

    \b
    Example:
      clusterkit embed photos/
      clusterkit embed photos/ -e pixels
      clusterkit compare-spaces
    """
    from clusterkit import space_comparison as comparison

    check_picture(output, overwrite=overwrite)
    found = comparison.compare_spaces(
        store,
        extractors=extractors,
        n_clusters=n_clusters,
        labels=labels,
        random_state=seed,
        **columns,
    )
    if output is not None:
        from clusterkit.plots.comparison import ComparisonDisplay

        save_picture(ComparisonDisplay.from_comparison(found), output, overwrite=overwrite)
    notice(f"Compared on the {plural(found.n, 'image')} that all of the spaces hold.")
    if as_json:
        print_json(found.to_dict() | {"output": output})
    else:
        say(*found.table().split("\n"))
