"""``clusterkit evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import (
    check_picture,
    columns_options,
    json_option,
    labels_option,
    notice,
    overwrite_option,
    picture_option,
    print_json,
    save_picture,
    say,
)

if TYPE_CHECKING:
    from clusterkit.clustering.evaluation import Evaluation


@click.command()
@click.argument("clusters_csv", type=click.Path(dir_okay=False, path_type=Path))
@labels_option
@columns_options
@picture_option("Draw the cluster by label table to this file")
@overwrite_option
@json_option
def evaluate(
    clusters_csv: Path,
    labels: Path | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **columns: Any,
) -> None:
    """Compare CLUSTERS_CSV with known labels.

    Accuracy counts the images whose cluster is matched to their label, under the best one-to-one
    matching.  NMI (normalised mutual information) and ARI (adjusted Rand index) compare the two
    groupings as they are.  Purity is the share of images with the most frequent label of their
    cluster.  1 is perfect for each.

    \b
    Example:
      clusterkit evaluate clusters.csv
      clusterkit evaluate clusters.csv --labels labels.csv -o table.png
    """
    from clusterkit.clustering.evaluation import evaluate_file
    from clusterkit.datasets.names import first_few

    check_picture(output, overwrite=overwrite)
    evaluation = evaluate_file(clusters_csv, labels, **columns)
    if output is not None:
        from clusterkit.plots.crosstab import CrosstabDisplay

        save_picture(CrosstabDisplay.from_evaluation(evaluation), output, overwrite=overwrite)
    if labels is not None:
        notice(f"{labels} has a label for {evaluation.n} of the images.")
    for n, what, names in (
        (evaluation.n_unlabelled, "images have no label and are left out", evaluation.unlabelled),
        (evaluation.n_unused, "labels are of files that were not clustered", evaluation.unused),
    ):
        if n:
            notice(f"{n} {what}{': ' if names else ''}{first_few(names)}.")
    if as_json:
        print_json(evaluation.to_dict() | {"output": output})
    else:
        _print(evaluation)


def _print(evaluation: "Evaluation") -> None:
    """Print the measures, and which labels lie in each cluster."""
    from clusterkit.utils.noise import NOISE

    for name in ("acc", "nmi", "ari", "purity"):
        say(f"{name:>7}  {getattr(evaluation, name):.3f}")
    say(f"{'n':>7}  {evaluation.n}")
    say("cluster  images  labels")
    for cluster, row in zip(evaluation.clusters, evaluation.table, strict=True):
        labels = [
            f"{evaluation.label_names[column]} {row[column]}"
            for column in (-row).argsort(kind="stable")
            if row[column]
        ]
        number = "noise" if cluster == NOISE else cluster
        name = f"  ({evaluation.names[cluster]})" if cluster in evaluation.names else ""
        say(f"{number:>7}  {row.sum():>6}  {', '.join(labels)}{name}")
