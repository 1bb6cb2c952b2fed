"""``clusterkit undo``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    dry_run_option,
    json_option,
    notice,
    print_json,
    say,
)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@dry_run_option
@json_option
def undo(folder: Path, dry_run: bool, as_json: bool) -> None:
    """Take back the sorting of files into FOLDER.

    Copies and links are removed, and moved files go back to where they were.  What was changed
    since, or would overwrite another file, is kept and listed.

    \b
    Example:
      clusterkit undo sorted/ --dry-run
      clusterkit undo sorted/
    """
    from clusterkit import routing

    undoing = routing.undo(folder, dry_run=dry_run, progress=True)
    if as_json:
        print_json(undoing.to_dict())
        return
    for path, reason in undoing.kept:
        notice(f"Kept: {path}: {reason}")
    for path in undoing.missing:
        notice(f"In neither place any more: {path}")
    verb = "would be taken back" if dry_run else "taken back"
    say(f"{undoing.n_undone} files {verb}, {len(undoing.kept)} kept")
