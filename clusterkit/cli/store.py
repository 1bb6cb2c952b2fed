"""``clusterkit store``."""

from pathlib import Path
from typing import Any

import click

from clusterkit.cli.options import Group, complete_space, store_option
from clusterkit.cli.outputs import Outputs, outputs, say
from clusterkit.utils.text import plural


@click.group(cls=Group)
def store() -> None:
    """List the embedding spaces of the store, choose the default, or check the files.

    \b
    Example:
      clusterkit store info
      clusterkit store use xception
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
@click.argument("name", shell_complete=complete_space)
@store_option
@outputs()
def use(name: str, store: Path, outputs: Outputs) -> None:
    """Make NAME the default space, which commands use without -e.

    NAME is an extractor's name, or that of a space as `clusterkit store info` lists it.  Without
    this command the default is the first space that was embedded.

    \b
    Example:
      clusterkit store use xception
    """
    from clusterkit.store.store import Store

    space = Store(store).use(name)
    document = {"store": store, "default": space.folder.name}
    outputs.show(document, lambda: say(f"{space.folder.name} is the default"))


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
        name = f"{space['space']}{' (default)' if space['default'] else ''}"
        if "error" in space:
            say(f"{name}: {space['error']}")
            continue
        say(
            f"{name}: {plural(space['embedded'], 'image')} of {space['dimension']} dimensions"
            f"{' in float16' if space['vectors'] == 'float16' else ''}, "
            f"{space['failed']} failed, {space['gone']} gone, {plural(space['parts'], 'part')}, "
            f"{space['bytes'] / 1e6:.1f} MB"
            + (f", made with {space['weights_source']}" if space["weights_source"] else "")
        )
