"""``clusterkit cluster``."""

from pathlib import Path
from typing import Any

import click

from clusterkit.cli.options import (
    check_picture,
    json_option,
    notice,
    output_option,
    overwrite_option,
    print_json,
    read_space,
    seed_option,
    space_option,
    store_option,
)


class NumberOrAuto(click.ParamType):
    """A number of clusters, or the word auto."""

    name = "N|auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        """Return an int of at least 1, or "auto"."""
        if value == "auto":
            return "auto"
        return int(click.IntRange(1).convert(value, param, ctx))


@click.command()
@click.option(
    "-k",
    "--n-clusters",
    type=NumberOrAuto(),
    help="Number of clusters, or auto to take the verdict of `clusterkit elbow`.",
)
@click.option(
    "-a",
    "--algorithm",
    default="kmeans",
    show_default=True,
    help="kmeans, minibatch-kmeans, affinity-propagation, agglomerative, hdbscan, spectral or "
    "gaussian-mixture.",
)
@output_option("The table of clusters.", default="clusters.csv")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw each cluster's most central images to this file.",
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Sort the image files into this folder, one sub-folder a cluster.",
)
@click.option(
    "--mode",
    type=click.Choice(["copy", "link", "move"]),
    default="copy",
    show_default=True,
    help="How --into brings them there; `clusterkit undo` takes it back.",
)
@overwrite_option
@seed_option
@space_option
@store_option
@json_option
def cluster(
    n_clusters: int | str | None,
    algorithm: str,
    output: Path,
    sheet: Path | None,
    into: Path | None,
    mode: str,
    overwrite: bool,
    seed: int,
    extractor: str | None,
    store: Path,
    as_json: bool,
) -> None:
    """Group the embedded images and write clusters.csv.

    Its columns are path, cluster, distance (to the cluster's centre) and exemplar (true for the
    image nearest to the centre).  What made it is written beside it as .json.

    \b
    Example:
      clusterkit cluster -k 5 --sheet clusters.png
      clusterkit cluster -k auto --into sorted/ --mode link
    """
    from clusterkit import clustering
    from clusterkit.files import check_output

    check_picture(sheet, overwrite=overwrite)
    check_output(output, overwrite=overwrite)
    if n_clusters is None and algorithm not in ("affinity-propagation", "hdbscan"):
        raise click.UsageError(
            f"{algorithm} needs the number of clusters: -k N, or -k auto to have it chosen"
        )
    result = clustering.cluster(
        read_space(store, extractor), algorithm, n_clusters=n_clusters, random_state=seed
    )
    result.to_csv(output, overwrite=overwrite)
    if sheet is not None:
        from clusterkit.plots import ContactSheetDisplay, save_figure

        save_figure(ContactSheetDisplay.from_clustering(result), sheet, overwrite=overwrite)
    if into is not None:
        from clusterkit.routing import sort_into_folders

        names = ["noise" if label < 0 else f"{label:03d}" for label in result.labels]
        sort_into_folders(result.embeddings.files, names, into, mode=mode)
    if as_json:
        print_json(result.describe() | {"output": str(output), "into": into and str(into)})
        return
    click.echo(f"{len(result.labels)} images in {result.k} clusters ({algorithm})")
    for label, size in result.sizes.items():
        click.echo(f"{'noise' if label < 0 else label:>7}  {size:>6} images")
    notice(f"Wrote {output}" + (f", {sheet}" if sheet else "") + (f", {into}" if into else ""))
