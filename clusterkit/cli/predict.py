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

    IMAGE is a file, a folder, or a .txt list of paths.  An image that cannot be read is listed
    and stops nothing.

    \b
    Example:
      clusterkit predict new.jpg --model clf.keras
      clusterkit predict photos/ --model clf.keras --json
    """
    from clusterkit.classifiers import Classifier, classify
    from clusterkit.images import ImageFolder

    classifier = Classifier.load(model)
    predictions, failures = classify(ImageFolder(images), classifier, progress=True)
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
            click.echo(f"{shown or '(none)'}  {prediction.file}")
    if not predictions:
        raise click.ClickException("none of the images can be read")
