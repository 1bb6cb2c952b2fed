"""``clusterkit compare-spaces``."""

from pathlib import Path
from typing import Any

import click

from clusterkit.cli.options import (
    COLUMNS,
    columns_options,
    complete_space,
    labels_option_or_none,
    notice_unused,
    sample_option,
    seed_option,
    store_option,
)
from clusterkit.cli.outputs import Outputs, notice, outputs, picture, say_result
from clusterkit.utils.text import plural


@click.command("compare-spaces")
@click.option(
    "-e",
    "--extractor",
    "extractors",
    multiple=True,
    shell_complete=complete_space,
    help="A space to compare: an extractor's name, or a .keras file.  Can be given several times.  "
    "[default: all of the store]",
)
@click.option(
    "-k",
    "--n-clusters",
    type=click.IntRange(2),
    help="Number of clusters.  [default: the mean over several; for the accuracy, the number of "
    "labels]",
)
@labels_option_or_none
@columns_options
@sample_option
@seed_option
@store_option
@outputs(picture("Draw the scores to this file"))
def compare_spaces(
    extractors: tuple[str, ...],
    n_clusters: int | None,
    labels: Path | None,
    sample: int | None,
    seed: int,
    store: Path,
    outputs: Outputs,
    **columns: Any,
) -> None:
    """Rank the embedding spaces of the store by how well they group the images, without labels.

    The score of a space is high if its clusters are stable under resampling (stability), keep an
    image's nearest neighbours together (neighbours), and are found in other spaces too (agreement).
    The silhouette and, with --labels, the accuracy are shown beside it; no rank depends on them.
    If a space is large, a random sample of 20,000 images is compared (--sample), as the output
    says.

    \b
    Example:
      clusterkit embed photos/
      clusterkit embed photos/ -e pixels
      clusterkit compare-spaces
      clusterkit compare-spaces --labels folders
    """
    from clusterkit import plots
    from clusterkit.space_comparison.compare import compare_spaces as compare

    if labels is None or str(labels) == "folders":
        notice_unused("no table is given with --labels", *COLUMNS)
    found = compare(
        store,
        extractors=extractors,
        n_clusters=n_clusters,
        labels=labels,
        sample=sample,
        random_state=seed,
        progress=True,
        **columns,
    )
    outputs.draw(lambda: plots.SpaceComparisonDisplay.from_comparison(found))
    if found.sampled is None:
        notice(
            f"Compared on the {plural(found.n, 'image')} that all of the spaces hold; equal files "
            "count once."
        )
    if labels is None:
        notice("For the accuracy, give --labels FILE, or --labels folders if these are the labels.")
    outputs.show(found.to_dict(), lambda: say_result(found))
