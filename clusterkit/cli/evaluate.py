"""``clusterkit evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import (
    COLUMNS,
    columns_options,
    labels_option,
    notice_unused,
    store_option,
)
from clusterkit.cli.outputs import LocalPath, Outputs, notice, outputs, picture, say_result

if TYPE_CHECKING:
    from clusterkit.clustering.agreement import Evaluation


@click.command()
@click.argument("clusters_csv", type=LocalPath(dir_okay=False))
@labels_option
@columns_options
@store_option
@outputs(picture("Draw the cluster by label table to this file"))
def evaluate(
    clusters_csv: Path,
    labels: Path | None,
    store: Path,
    outputs: Outputs,
    **columns: Any,
) -> None:
    """Compare CLUSTERS_CSV with known labels.

    Accuracy counts the images whose cluster is matched to their label, under the best one-to-one
    matching.  NMI (normalised mutual information) and ARI (adjusted Rand index) compare the two
    groupings as they are.  Purity is the share of images with the most frequent label of their
    cluster.  1 is perfect for each.

    Files that were renamed or moved are found in the store by their content: the table of labels
    may name them as they were called when they were clustered, or as they are called now.

    \b
    Example:
      clusterkit evaluate clusters.csv
      clusterkit evaluate clusters.csv --labels labels.csv -o table.png
    """
    from clusterkit import plots
    from clusterkit.clustering.evaluation import evaluate as evaluate_table

    if str(labels) == "folders":
        labels = None
    if labels is None:
        notice_unused("no table is given with --labels", *COLUMNS)
    evaluation = evaluate_table(labels, clusters_csv, store=store, **columns)
    _print_left_out(evaluation, labels)
    outputs.draw(lambda: plots.CrosstabDisplay.from_evaluation(evaluation))
    outputs.show(evaluation.to_dict(), lambda: say_result(evaluation))


def _print_left_out(evaluation: "Evaluation", labels: Path | None) -> None:
    """Print how far images and labels fit."""
    from clusterkit.utils.text import first_few, plural

    if labels is not None:
        notice(f"{labels} has a label for {evaluation.n:,} of the images.")
    for n, noun, why, names in (
        (evaluation.n_unlabelled, "image", "without a label", evaluation.unlabelled),
        (evaluation.n_unused, "label", "of files that were not clustered", evaluation.unused),
    ):
        if n:
            notice(f"Left out: {plural(n, noun)} {why}{': ' if names else ''}{first_few(names)}.")
