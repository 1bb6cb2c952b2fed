"""``clusterkit route``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import (
    dry_run_option,
    exclude_option,
    folders_argument,
    into_option,
    mode_option,
    model_option,
)
from clusterkit.cli.outputs import Outputs, notice, outputs, say_result

if TYPE_CHECKING:
    from clusterkit.classifiers.predict import Routing


@click.command()
@folders_argument
@exclude_option
@model_option
@into_option("Make the classes' folders in this one.")
@mode_option
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Images whose class is less probable go to unsure/.",
)
@dry_run_option
@outputs(continues=True)
def route(
    folders: tuple[str, ...],
    exclude: tuple[str, ...],
    model: Path,
    into: Path,
    mode: str,
    threshold: float,
    dry_run: bool,
    outputs: Outputs,
) -> None:
    """Send the images of FOLDER into the folders of their classes.

    Nothing is ever overwritten, the same command continues an interrupted run, and `clusterkit
    undo` reverses it.  An image that cannot be read is listed and stays where it is.

    \b
    Example:
      clusterkit route photos/ --model clf.keras --into sorted/ --dry-run
      clusterkit route photos/ --model clf.keras --into sorted/ --mode move
      clusterkit undo sorted/
    """
    from clusterkit import classifiers
    from clusterkit.images.folder import ImageFolder

    routing = classifiers.route(
        ImageFolder(folders, exclude=exclude),
        classifiers.Classifier.load(model),
        into,
        mode=mode,
        threshold=threshold,
        dry_run=dry_run,
        progress=True,
    )
    outputs.show(routing.to_dict(), lambda: _print(routing))


def _print(routing: "Routing") -> None:
    """Print what was done, and what could not be."""
    for path, reason in routing.failures:
        notice(f"Not routed: {path}: {reason}")
    say_result(routing)
