"""``clusterkit label-errors``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import (
    columns_options,
    exclude_option,
    not_copies_option,
    resize_option,
    seed_option,
    store_option,
    weights_option,
)
from clusterkit.cli.outputs import LocalPath, Outputs, notice, outputs, picture, say_result, table

if TYPE_CHECKING:
    from clusterkit.classifiers.label_errors import LabelErrors


@click.command("label-errors")
@click.argument("source", metavar="FOLDER", type=LocalPath())
@exclude_option
@click.option(
    "--network",
    default="xception",
    show_default=True,
    help="A network of keras.applications (xception, resnet50, …) whose embeddings are classified; "
    "or one trained from scratch, once for each fold.",
)
@columns_options
@click.option(
    "--folds",
    type=click.IntRange(3),
    default=5,
    show_default=True,
    help="Number of parts, each predicted by a classifier trained on the others.",
)
@not_copies_option
@resize_option()
@weights_option
@seed_option
@store_option
@outputs(
    picture("Draw the worst labels with their images to this file"),
    table("Write all of them to this CSV file."),
)
def label_errors(
    source: Path,
    exclude: tuple[str, ...],
    network: str,
    folds: int,
    not_copies: Path | None,
    resize: str,
    weights: Path | None,
    seed: int,
    store: Path,
    outputs: Outputs,
    **columns: Any,
) -> None:
    """List images of FOLDER whose label is probably wrong, worst first.

    FOLDER is as for `train classifier`.  Each image is predicted by a classifier that did not learn
    from it nor from a copy of it, and confident learning (Northcutt et al. 2021) compares these
    predictions with the labels.  The list is for a person to check: nothing is changed.

    \b
    Example:
      clusterkit label-errors photos/
      clusterkit label-errors photos/ -o errors.png --table errors.csv
    """
    from clusterkit import plots
    from clusterkit.classifiers.classifier import Classifier
    from clusterkit.classifiers.label_errors import find_label_errors
    from clusterkit.datasets.labelled_images import read_labelled

    found = find_label_errors(
        read_labelled(source, exclude=exclude, **columns),
        Classifier(network, weights=weights, resize=resize, random_state=seed, progress=True),
        n_folds=folds,
        not_copies=not_copies,
        store=store,
    )
    outputs.write(found.to_csv, "table")
    if found.errors:
        outputs.draw(lambda: plots.PredictionsDisplay.from_label_errors(found))
    else:
        outputs.skip("there are no images to draw", "output")
    outputs.show(found.to_dict(), lambda: _print(found))


def _print(found: "LabelErrors") -> None:
    """Print the labels, and the images that cannot be read."""
    for path, reason in found.failures:
        notice(f"Not examined: {path}: {reason}")
    say_result(found)
