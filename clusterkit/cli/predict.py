"""``clusterkit predict``."""

from pathlib import Path

import click

from clusterkit.cli.options import json_option, model_option, notice, print_json


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@model_option
@json_option
def predict(images: tuple[str, ...], model: Path, as_json: bool) -> None:
    """Say what IMAGE shows, with the probability of each class.

    IMAGE is a file, a folder, a .txt list of paths, or one .csv file with a column a pixel.  An
    image that cannot be read is listed and stops nothing.

    \b
    Example:
      clusterkit predict new.jpg --model clf.keras
      clusterkit predict photos/ --model clf.keras --json
    """
    from clusterkit.classifiers import Classifier, classify, read_labelled
    from clusterkit.images import ImageFolder

    is_table = len(images) == 1 and images[0].lower().endswith(".csv")
    found = read_labelled(images[0]) if is_table else ImageFolder(images)
    predictions, failures = classify(found, Classifier.load(model), progress=True)
    if as_json:
        print_json(
            {
                "predictions": [prediction.to_dict() for prediction in predictions],
                "failures": [{"path": path, "reason": reason} for path, reason in failures],
            }
        )
    else:
        for path, reason in failures:
            notice(f"Not predicted: {path}: {reason}")
        for prediction in predictions:
            shown = ", ".join(
                f"{name} {prediction.probabilities[name]:.3f}" for name in prediction.classes
            )
            click.echo(f"{shown or '(none)'}  {prediction.name}")
    if not predictions:
        raise click.ClickException("none of the images can be read")
