"""``clusterkit serve``."""

from pathlib import Path

import click

from clusterkit.cli.options import space_option, store_option, weights_option
from clusterkit.cli.outputs import LocalPath, Outputs, notice, outputs


@click.command()
@store_option
@space_option
@weights_option
@click.option(
    "--model",
    type=LocalPath(dir_okay=False),
    help="A .keras file of `clusterkit train classifier`, for the classes of pictures.",
)
@click.option(
    "--clusters",
    type=LocalPath(dir_okay=False),
    help="A table of `clusterkit cluster`, for the groups of pictures.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at.  One that other machines can reach needs --token.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="The port; 0 for any that is free.",
)
@click.option(
    "--token",
    envvar="CLUSTERKIT_TOKEN",
    show_envvar=True,
    help="What clients must send as `Authorization: Bearer TOKEN`.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which clients may call this server, such as that of a proxy.  Can be given "
    "several times.",
)
@outputs()
def serve(
    store: Path,
    extractor: str | None,
    weights: Path | None,
    model: Path | None,
    clusters: Path | None,
    host: str,
    port: int,
    token: str | None,
    hosts: tuple[str, ...],
    outputs: Outputs,
) -> None:
    """Serve an HTTP API: classes, neighbours and groups of posted pictures.

    A client posts one or several pictures as a form, in a field called files, to /v1/predict (with
    --model), /v1/similar and /v1/explain (with a store) or /v1/cluster (with --clusters), and gets
    a result or an error for each.  /openapi.json describes all calls.  Without a store, only the
    classifier is served.

    From 50,000 images on, an index finds most of the nearest neighbours; the first start builds it,
    and search is exact until then, and with ?exact=true.  Files that change are loaded in the
    background and swapped in: train, embed or cluster again at any time.

    \b
    Example:
      clusterkit serve --model clf.keras --clusters clusters.csv
      curl -F files=@new.jpg 'http://127.0.0.1:8000/v1/similar?n=3'
    """
    from clusterkit.serve import run_server

    is_named = click.get_current_context().get_parameter_source("store")
    has_store = (
        store.exists() or model is None or is_named is not click.core.ParameterSource.DEFAULT
    )
    if not has_store:
        notice(f"There is no store {store}: only the classifier is served.")
    run_server(
        store if has_store else None,
        extractor=extractor,
        weights=weights,
        model=model,
        clusters=clusters,
        host=host,
        port=port,
        token=token,
        hosts=hosts,
        on_ready=lambda url: outputs.show(
            {"url": url}, lambda: notice(f"Serving at {url}; Ctrl-C ends it.")
        ),
    )
