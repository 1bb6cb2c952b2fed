"""``clusterkit predict``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import (
    check_picture,
    exclude_option,
    json_option,
    model_option,
    notice,
    overwrite_option,
    picture_option,
    print_json,
    save_picture,
    say,
)

if TYPE_CHECKING:
    from clusterkit.classifiers.predict import Prediction


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@exclude_option
@model_option
@picture_option("Draw the images with their most probable classes to this file")
@click.option(
    "--table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the classes and all probabilities to this CSV file.",
)
@overwrite_option
@json_option
def predict(
    images: tuple[str, ...],
    exclude: tuple[str, ...],
    model: Path,
    output: Path | None,
    table: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Say what IMAGE shows, with the probability of each class.

    IMAGE is a file, a folder, a .txt list of paths, or one .csv file with a column a pixel.  An
    image that cannot be read is listed and stops nothing.

    \b
    Example:
      clusterkit predict new.jpg --model clf.keras
      clusterkit predict photos/ --model clf.keras -o predictions.png --table predictions.csv
    """
    from clusterkit.classifiers.classifier import Classifier
    from clusterkit.classifiers.evaluation.tables import predictions_to_csv
    from clusterkit.classifiers.predict import classify
    from clusterkit.datasets.labelled_images import read_labelled
    from clusterkit.images.folder import ImageFolder
    from clusterkit.utils.files import check_output

    check_picture(output, overwrite=overwrite)
    if table is not None:
        check_output(table, overwrite=overwrite)
    pixels = read_labelled(images[0]) if len(images) == 1 and _is_csv(images[0]) else None
    found = ImageFolder(images, exclude=exclude) if pixels is None else pixels
    predictions, failures = classify(found, Classifier.load(model), progress=True)
    # Written first: who reads the lines may leave, as in `| head`.
    if table is not None and predictions:
        notice(f"Wrote {predictions_to_csv(predictions, table, overwrite=overwrite)}")
    if output is not None and predictions:
        from clusterkit.plots.predictions import PredictionsDisplay

        display = PredictionsDisplay.from_predictions(predictions, pixels)
        save_picture(display, output, overwrite=overwrite)
    if as_json:
        document = {
            "predictions": [prediction.to_dict() for prediction in predictions],
            "failures": [{"path": path, "reason": reason} for path, reason in failures],
        }
        print_json(document | {"output": output, "table": table})
    else:
        for path, reason in failures:
            notice(f"Not predicted: {path}: {reason}")
        _print(predictions)
    if not predictions:
        raise click.ClickException("none of the images can be read")


def _is_csv(name: str) -> bool:
    """Tell whether an argument is a table."""
    return name.lower().endswith(".csv")


def _print(predictions: list["Prediction"]) -> None:
    """Print a line an image: its classes, with their probability, and its name."""
    for prediction in predictions:
        shown = ", ".join(
            f"{name} {prediction.probabilities[name]:.3f}" for name in prediction.classes
        )
        say(f"{shown or '(none)'}  {prediction.name}")
