"""``clusterkit undo``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import dry_run_option, store_option
from clusterkit.cli.outputs import LocalPath, Outputs, notice, outputs, say_result

if TYPE_CHECKING:
    from clusterkit.routing.undoing import Undoing


@click.command()
@click.argument("folder", type=LocalPath(file_okay=False))
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=LocalPath(file_okay=False),
    help="Files may go back into this folder, though you did not sort them on this machine.  Can "
    "be given several times.",
)
@click.option("--yes", "trust", is_flag=True, help="Files may go back to wherever they came from.")
@store_option
@dry_run_option
@outputs()
def undo(
    folder: Path,
    roots: tuple[Path, ...],
    trust: bool,
    store: Path,
    dry_run: bool,
    outputs: Outputs,
) -> None:
    """Undo the sorting of files into FOLDER.

    Copies and links are removed, and moved files go back to where they were.  Files that have
    changed, would overwrite another, or have lost their original, are kept and listed.

    The manifest of a folder that you did not sort on this machine could name any place: then the
    places are shown, and nothing is moved until you allow them.

    \b
    Example:
      clusterkit undo sorted/ --dry-run
      clusterkit undo sorted/
    """
    from clusterkit import routing

    undoing = routing.undo(
        folder, roots=roots, trust=trust, store=store, dry_run=dry_run, progress=True
    )
    outputs.show(undoing.to_dict(), lambda: _print(undoing))


def _print(undoing: "Undoing") -> None:
    """Print the restored and the kept files."""
    for path, reason in undoing.kept:
        notice(f"Kept: {path}: {reason}")
    for path in undoing.missing:
        notice(f"In neither place any more: {path}")
    say_result(undoing)
    if (undoing.kept or undoing.missing) and not undoing.dry_run:
        notice("These stay in the manifest: the same command can move them back later.")
