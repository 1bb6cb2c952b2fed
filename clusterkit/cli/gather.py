"""``clusterkit gather``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    dry_run_option,
    into_option,
    label_columns_options,
    notice_unused,
    seed_option,
)
from clusterkit.cli.outputs import LocalPath, Outputs, outputs, say_result, table


@click.command()
@click.argument("source", type=LocalPath())
@into_option("Gather into this folder: a new or empty one, or one that was gathered before.")
@click.option(
    "--address-column",
    metavar="NAME",
    help="The table's column of addresses.  [default: the one that holds them]",
)
@label_columns_options
@click.option(
    "--max-images",
    type=click.IntRange(1),
    help="Maximum number of pictures, the first of SOURCE.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    default=20_000_000,
    show_default=True,
    help="Largest picture, as sent and after decompression.",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Time limit for one picture.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Requests per second to one host, or fewer if its robots.txt asks for it.",
)
@click.option(
    "--per-host",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Requests at a time to one host.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Requests at a time to all hosts together.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Maximum number of attempts per picture.",
)
@click.option(
    "--allow-private",
    multiple=True,
    metavar="NETWORK|all",
    help="An IP address or network, such as 192.168.1.0/24, that may be asked although it is not "
    "public.  Can be given several times.",
)
@click.option(
    "--ignore-robots",
    is_flag=True,
    help="Ignore robots.txt and X-Robots-Tag (noai, noimageai, noindex): only for servers whose "
    "owner allows it.",
)
@click.option(
    "--contact",
    metavar="TEXT",
    help="Your contact address for the user agent, which some servers require.",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Retry all failures.  [default: only those that may be temporary]",
)
@seed_option
@dry_run_option
@outputs(table("Write the outcome of each address to this CSV file."), continues=True)
def gather(
    source: Path,
    into: Path,
    address_column: str | None,
    label_column: tuple[str, ...],
    label_separator: str | None,
    max_images: int | None,
    max_bytes: int,
    max_seconds: float,
    rate: float,
    per_host: int,
    parallel: int,
    attempts: int,
    allow_private: tuple[str, ...],
    ignore_robots: bool,
    contact: str | None,
    retry_failed: bool,
    seed: int,
    dry_run: bool,
    outputs: Outputs,
) -> None:
    """Gather pictures from the web into class folders, or into one with a table of labels.

    SOURCE is a .txt file with an address, and its label if it has one, per line; a table with a
    column of addresses; or a .toml recipe with the pages, and the CSS selectors of pictures and
    facts.  Each address gets a line in clusterkit-gathered.jsonl: the picture, or the reason of the
    failure.  The same command continues an interrupted run.

    robots.txt, X-Robots-Tag and Retry-After are respected.

    \b
    Example:
      clusterkit gather addresses.csv --into animals/ --dry-run
      clusterkit gather addresses.csv --into animals/
      clusterkit gather titles.toml --into posters/ --max-images 100
      clusterkit train classifier posters/labels.csv
    """
    from clusterkit.images.folder import LIST_SUFFIXES
    from clusterkit.preparation.gathering.from_web import RECIPE_SUFFIX
    from clusterkit.preparation.gathering.from_web import gather as gather_pictures

    if source.suffix.lower() in (*LIST_SUFFIXES, RECIPE_SUFFIX):
        reason = f"{source} is not a table"
        notice_unused(reason, "address_column", "label_column", "label_separator")
    gathered = gather_pictures(
        source,
        into,
        address_column=address_column,
        label_column=label_column,
        label_separator=label_separator,
        max_images=max_images,
        max_bytes=max_bytes,
        max_seconds=max_seconds,
        rate=rate,
        per_host=per_host,
        parallel=parallel,
        attempts=attempts,
        allow_private=allow_private,
        obey_robots=not ignore_robots,
        contact=contact,
        retry_failed=retry_failed,
        dry_run=dry_run,
        random_state=seed,
        progress=True,
    )
    outputs.write(gathered.to_csv, "table")
    outputs.show(gathered.to_dict(), lambda: say_result(gathered))
    if gathered.failures and not (gathered.stored or dry_run):
        raise click.ClickException("no picture could be gathered")
