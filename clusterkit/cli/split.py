"""``clusterkit split``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import (
    columns_options,
    dry_run_option,
    exclude_option,
    into_option,
    not_copies_option,
    seed_option,
    store_option,
)
from clusterkit.cli.outputs import LocalPath, Outputs, notice, outputs, picture, say_result, table

if TYPE_CHECKING:
    from clusterkit.preparation.splitting import FolderSplit


@click.command()
@click.argument("source", metavar="FOLDER", type=LocalPath())
@exclude_option
@columns_options
@into_option("Make the folders train, val and test in this one, which is new or empty.")
@click.option(
    "--train",
    type=click.FloatRange(0, 1),
    help="Share of the images for training.  [default: what remains]",
)
@click.option(
    "--val",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the images for early stopping and calibration; 0 for none.",
)
@click.option(
    "--test",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the images held out for the test; 0 for none.",
)
@click.option(
    "--mode",
    type=click.Choice(["copy", "link", "move", "list"]),
    default="copy",
    show_default=True,
    help="How files are transferred; `clusterkit undo` reverses it.  list leaves them where they "
    "are, and writes split.csv.",
)
@not_copies_option
@seed_option
@store_option
@dry_run_option
@outputs(
    picture("Draw the number of images of each class in each part to this file"),
    table("Write the label and part of each image to this CSV file."),
    continues=True,
)
def split(
    source: Path,
    exclude: tuple[str, ...],
    into: Path,
    train: float | None,
    val: float,
    test: float,
    mode: str,
    not_copies: Path | None,
    seed: int,
    store: Path,
    dry_run: bool,
    outputs: Outputs,
    **columns: Any,
) -> None:
    """Split the labelled images of FOLDER into train, val and test.

    FOLDER is as for `train classifier`: one sub-folder per class, or a table (CSV) of files and
    labels.  Every class has its share in each part, and all copies of an image are in one part.
    Parts that FOLDER has are kept.  Nothing is ever overwritten, the same command continues an
    interrupted run, and `clusterkit undo` reverses it.

    \b
    Example:
      clusterkit split photos/ --into divided/ --train 0.8 --val 0.1 --test 0.1
      clusterkit train classifier divided/ -o clf.keras
      clusterkit undo divided/
      clusterkit split labels.csv --into lists/ --mode list
    """
    from clusterkit import plots
    from clusterkit.preparation.splitting import split_folder

    found = split_folder(
        source,
        into,
        train=train,
        val=val,
        test=test,
        mode=mode,
        exclude=exclude,
        not_copies=not_copies,
        store=store,
        random_state=seed,
        dry_run=dry_run,
        progress=True,
        **columns,
    )
    if dry_run:
        outputs.skip("this is a dry run")
    else:
        outputs.write(found.to_csv, "table")
        outputs.draw(lambda: plots.ClassCountsDisplay.from_report(found))
    outputs.show(found.to_dict(), lambda: _print(found))


def _print(found: "FolderSplit") -> None:
    """Print the parts, and the images that cannot be read."""
    for path, reason in found.failures:
        notice(f"Left out: {path}: {reason}")
    say_result(found)
