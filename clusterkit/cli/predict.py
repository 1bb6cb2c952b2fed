"""``clusterkit predict``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import complete_file, exclude_option, model_option
from clusterkit.cli.outputs import Outputs, notice, outputs, picture, say_result, table

if TYPE_CHECKING:
    from clusterkit.classifiers.predict import Predictions


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", shell_complete=complete_file)
@exclude_option
@model_option
@outputs(
    picture("Draw the images with their most probable classes to this file"),
    table("Write the classes and all probabilities to this CSV file."),
)
def predict(
    images: tuple[str, ...],
    exclude: tuple[str, ...],
    model: Path,
    outputs: Outputs,
) -> None:
    """Predict the class of IMAGE, with the probability of each class.

    IMAGE is a file, a folder or a .txt list of paths; or a table with one column per pixel, a table
    of files, or a folder of idx files as of MNIST.  Labels are ignored.  Images that cannot be read
    are listed and skipped.

    \b
    Example:
      clusterkit predict new.jpg --model clf.keras
      clusterkit predict photos/ --model clf.keras -o predictions.png --table predictions.csv
    """
    from clusterkit import plots
    from clusterkit.classifiers.classifier import Classifier
    from clusterkit.classifiers.predict import classify, open_images

    opened = open_images(images, exclude=exclude)
    found = classify(opened, Classifier.load(model), progress=True)
    # Written first, since the reader of the lines may stop early, as in `| head`.
    if found.predictions:
        outputs.write(found.to_csv, "table")
        outputs.draw(lambda: plots.PredictionsDisplay.from_predictions(found.predictions, opened))
    outputs.show(found.to_dict(), lambda: _print(found))
    if not found.predictions:
        raise click.ClickException("none of the images can be read")


def _print(found: "Predictions") -> None:
    """Print the classes of each image, with their probability, and its name."""
    for path, reason in found.failures:
        notice(f"Not predicted: {path}: {reason}")
    say_result(found)
