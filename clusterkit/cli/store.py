"""``clusterkit store``."""

from pathlib import Path

import click

from clusterkit.cli.options import json_option, print_json, say, store_option


@click.group()
def store() -> None:
    """Say what the store holds, and whether it is whole.

    \b
    Example:
      clusterkit store info
      clusterkit store verify
    """


@store.command()
@store_option
@json_option
def info(store: Path, as_json: bool) -> None:
    """List the embedding spaces of the store.

    \b
    Example:
      clusterkit store info
    """
    from clusterkit.store.store import Store

    spaces = Store(store).summaries()
    if as_json:
        print_json({"store": store, "spaces": spaces})
        return
    for space in spaces:
        if "error" in space:
            say(f"{space['space']}: {space['error']}")
            continue
        say(
            f"{space['space']}: {space['embedded']} images of {space['dimension']} dimensions, "
            f"{space['failed']} failed, {space['gone']} gone, {space['parts']} parts, "
            f"{space['bytes'] / 1e6:.1f} MB"
        )


@store.command()
@store_option
@json_option
def verify(store: Path, as_json: bool) -> None:
    """Read everything in the store, and list what is damaged.

    Damaged parts do not keep the rest from being used.  `clusterkit embed` sets them aside and
    embeds their images again.

    \b
    Example:
      clusterkit store verify
    """
    from clusterkit.store.store import Store

    damages = Store(store).verify()
    if as_json:
        damaged = [{"file": file, "reason": reason} for file, reason in damages]
        print_json({"store": store, "whole": not damages, "damaged": damaged})
    else:
        for file, reason in damages:
            say(f"{file}: {reason}")
    if damages:
        raise click.ClickException(
            f"{len(damages)} damaged: run `clusterkit embed` again with the same folder and "
            "extractor to restore them"
        )
    if not as_json:
        say(f"{store} is whole")
