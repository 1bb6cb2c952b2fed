"""``clusterkit check``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    dry_run_option,
    exclude_option,
    folders_argument,
    notice_unused,
    space_option,
    store_option,
)
from clusterkit.cli.outputs import LocalPath, Outputs, outputs, picture, say_result, table


@click.command()
@folders_argument
@exclude_option
@click.option(
    "--keep",
    type=click.Choice(["largest", "oldest", "folder"]),
    default="largest",
    show_default=True,
    help="Which of several copies is kept: the one with the most pixels, the one that was changed "
    "first, or the one in the FOLDER that is named first.",
)
@click.option(
    "--not-copies",
    type=LocalPath(dir_okay=False),
    metavar="FILE",
    help="Images that look alike but are not copies: two paths in each line, lines of the table of "
    "findings, or a table of clusters of `clusterkit label --not-copies`.",
)
@click.option(
    "--quarantine",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Move what was found to this folder; `clusterkit undo DIR` brings it back.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    default=["unreadable", "truncated", "duplicate", "near-copy"],
    show_default=True,
    help="Which findings --quarantine moves, by their names in the result.  Can be given several "
    "times.",
)
@dry_run_option
@space_option
@store_option
@outputs(
    picture("Draw what was found, with examples, to this file"),
    table("Write all findings to this CSV file, such as issues.csv."),
)
def check(
    folders: tuple[str, ...],
    exclude: tuple[str, ...],
    keep: str,
    not_copies: Path | None,
    quarantine: Path | None,
    kinds: tuple[str, ...],
    dry_run: bool,
    extractor: str | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Check the images of FOLDER: broken, blurred, duplicated, in two folders, off-topic.

    Folders below FOLDER are taken as classes, and train, val and test as parts of the data.
    Off-topic images are found if they are embedded.  Nothing is changed without --quarantine.

    \b
    Example:
      clusterkit check photos/ --table issues.csv -o issues.png
      clusterkit check photos/ --quarantine aside/ --dry-run
      clusterkit check photos/ --quarantine aside/ --kind duplicate --kind blurred
      clusterkit undo aside/
    """
    from clusterkit import plots
    from clusterkit.preparation.checking import check as check_images

    if quarantine is None:
        notice_unused("nothing is moved without --quarantine", "kinds")
    found = check_images(
        folders,
        exclude=exclude,
        keep=keep,
        not_copies=not_copies,
        quarantine_into=quarantine,
        kinds=kinds,
        store=store,
        extractor=extractor,
        dry_run=dry_run,
        progress=True,
    )
    outputs.write(found.to_csv, "table")
    outputs.draw(lambda: plots.CheckDisplay.from_check(found))
    outputs.show(found.to_dict(), lambda: say_result(found))
