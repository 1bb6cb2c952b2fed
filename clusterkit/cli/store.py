"""``clusterkit store``."""

from pathlib import Path
from typing import Any

import click

from clusterkit.cli.options import store_option
from clusterkit.cli.outputs import Outputs, outputs
from clusterkit.cli.streams import say


@click.group()
def store() -> None:
    """List the embedding spaces of the store, or check its files.

    \b
    Example:
      clusterkit store info
      clusterkit store verify
    """


@store.command()
@store_option
@outputs()
def info(store: Path, outputs: Outputs) -> None:
    """List the embedding spaces of the store.

    \b
    Example:
      clusterkit store info
    """
    from clusterkit.store.store import Store

    spaces = Store(store).summaries()
    outputs.show({"store": store, "spaces": spaces}, lambda: _print_spaces(spaces))


@store.command()
@store_option
@outputs()
def verify(store: Path, outputs: Outputs) -> None:
    """Read everything in the store, and list what is damaged.

    The rest of the store can be used nevertheless.  `clusterkit embed` sets damaged parts aside
    and embeds their images again.

    \b
    Example:
      clusterkit store verify
    """
    from clusterkit.store.store import Store

    damages = Store(store).verify()
    damaged = [{"file": file, "reason": reason} for file, reason in damages]
    text = [f"{file}: {reason}" for file, reason in damages] or [f"{store} is whole"]
    document = {"store": store, "whole": not damages, "damaged": damaged}
    outputs.show(document, lambda: say(*text))
    if damages:
        raise click.ClickException(
            f"{len(damages)} damaged: run `clusterkit embed` again with the same folder and "
            "extractor to restore them"
        )


def _print_spaces(spaces: list[dict[str, Any]]) -> None:
    """Print each space, with what is in it or wrong with it."""
    for space in spaces:
        if "error" in space:
            say(f"{space['space']}: {space['error']}")
            continue
        say(
            f"{space['space']}: {space['embedded']} images of {space['dimension']} dimensions, "
            f"{space['failed']} failed, {space['gone']} gone, {space['parts']} parts, "
            f"{space['bytes'] / 1e6:.1f} MB"
        )
