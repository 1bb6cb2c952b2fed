"""``clusterkit cluster``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import (
    check_picture,
    json_option,
    notice,
    output_option,
    overwrite_option,
    plural,
    print_json,
    read_space,
    say,
    seed_option,
    space_option,
    store_option,
    stream_space,
)
from clusterkit.clusterers.by_name import CLUSTERERS

if TYPE_CHECKING:
    from clusterkit.clustering.cluster import Clustering


class NumberOrAuto(click.ParamType):
    """A number of clusters, or the word auto."""

    name = "N|auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        """Return an int of at least 1, or "auto"."""
        if value == "auto":
            return "auto"
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither a number of at least 1 nor auto", param, ctx)
        return number


@click.command()
@click.option(
    "-k",
    "--n-clusters",
    type=NumberOrAuto(),
    metavar="N|auto",
    help="Number of clusters, or auto to take the verdict of `clusterkit elbow`.",
)
@click.option(
    "-a",
    "--algorithm",
    type=click.Choice(list(CLUSTERERS)),
    metavar="NAME",
    default="kmeans",
    show_default=True,
    help=f"One of {', '.join(CLUSTERERS)}.",
)
@click.option(
    "--refine",
    is_flag=True,
    help="Let another clustering replace k-means where the images' neighbours speak for it.",
)
@output_option("The table of clusters.", default="clusters.csv")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw each cluster's most central images to this file (.png, .pdf, .svg, .jpg).",
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Sort the image files into this folder, one sub-folder a cluster.",
)
@click.option(
    "--mode",
    type=click.Choice(["copy", "link", "move"]),
    show_default="copy",
    help="How --into brings them there; `clusterkit undo` takes it back.",
)
@click.option(
    "--previous",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The clusters.csv of an earlier run: clusters that go on keep its numbers.",
)
@overwrite_option
@seed_option
@space_option
@store_option
@json_option
def cluster(
    n_clusters: int | str | None,
    algorithm: str,
    refine: bool,
    output: Path,
    sheet: Path | None,
    into: Path | None,
    mode: str | None,
    previous: Path | None,
    overwrite: bool,
    seed: int,
    extractor: str | None,
    store: Path,
    as_json: bool,
) -> None:
    """Group the embedded images and write clusters.csv.

    Its columns are path, cluster, distance (to the cluster's centre), exemplar (true for the image
    nearest to the centre) and, where ImageNet's classes of the images are in the store, the name
    of the cluster.  What made it is written beside it as .json.

    With -a minibatch-kmeans the embeddings are read in batches, and never all held in memory.

    With --refine, k-means is compared with mixtures of Gaussians and spectral clusterings, without
    labels, and it is said what was chosen and why.

    With --previous, it is also said which clusters are new, split, merged or vanished, and how
    many images moved between the others.

    \b
    Example:
      clusterkit cluster -k 5 --sheet clusters.png
      clusterkit cluster -k 5 --refine -o refined.csv
      clusterkit cluster -k auto --into sorted/ --mode link
      clusterkit cluster -k 6 --previous clusters.csv --overwrite
    """
    from clusterkit.clustering import cluster as clustering
    from clusterkit.utils.files import check_output

    if mode is not None and into is None:
        raise click.UsageError(f"--mode {mode} says how --into sorts: give --into DIR, too")
    _check_number(algorithm, n_clusters)
    if refine and algorithm != "kmeans":
        raise click.UsageError(f"--refine starts from k-means: leave out -a {algorithm}")
    origin = output.with_suffix(".json")
    if len({output, origin, sheet}) < 3:
        raise click.UsageError(
            "--output, the .json file beside it and --sheet must be different files. "
            f"Received: {output}, {origin}" + (f", {sheet}" if sheet else "")
        )
    check_picture(sheet, overwrite=overwrite)
    for file in (output, origin):
        check_output(file, overwrite=overwrite)
    is_stream = algorithm == "minibatch-kmeans"
    embeddings = stream_space(store, extractor) if is_stream else read_space(store, extractor)
    if into is not None:
        clustering.check_sortable(embeddings, into)
    result = clustering.cluster(
        embeddings,
        "refined-kmeans" if refine else algorithm,
        n_clusters=n_clusters,
        random_state=seed,
        previous=previous,
        store=store,
        progress=True,
    )
    written: list[Path] = [output]
    if sheet is not None:
        from clusterkit.plots.contact_sheet import ContactSheetDisplay
        from clusterkit.plots.display import save_figure

        # Drawn before --into moves the images.
        display = ContactSheetDisplay.from_clustering(result)
        written.append(sheet)
    if into is not None:
        result.sort_into(into, mode=mode or "copy", progress=True)
        written.append(into)
    # Written last, so that a sorting that fails can be tried again with the same command.
    result.to_csv(output, overwrite=overwrite)
    if sheet is not None:
        save_figure(display, sheet, overwrite=overwrite)
    if as_json:
        print_json(result.describe() | {"output": output, "sheet": sheet, "into": into})
    else:
        _print(result)
        notice(f"Wrote {', '.join(map(str, written))}")
    if result.names_from is None:
        notice(
            "The clusters have no names: these need ImageNet's classes of the images, such as "
            "`clusterkit embed FOLDER -e resnet50-predictions` adds."
        )
    elif embeddings.top5 is None:
        notice(f"The clusters' names are from {result.names_from}.")


def _print(result: "Clustering") -> None:
    """Print the size and name of each cluster, and what became of those of the earlier run."""
    images, clusters = plural(len(result.labels), "image"), plural(result.k, "cluster")
    say(f"{images} in {clusters} ({result.algorithm})")
    if result.refinement is not None:
        say(f"Chosen: {result.refinement['reason']}")
    say("cluster  images" + ("  name" if result.names else ""))
    for label, size in result.sizes.items():
        line = f"{'noise' if label < 0 else label:>7}  {size:>6}  {result.names.get(label, '')}"
        say(line.rstrip())
    for line in result.identity.lines if result.identity else ():
        say(line)


def _check_number(algorithm: str, n_clusters: int | str | None) -> None:
    """Refuse -k where the clusterer takes none, and its absence where it must be given."""
    parameters = CLUSTERERS[algorithm]().get_params(deep=False)
    if n_clusters is None and parameters.get("n_clusters") is not None:
        raise click.UsageError(
            f"{algorithm} needs the number of clusters: -k N, or -k auto to have it chosen"
        )
    if n_clusters is not None and "n_clusters" not in parameters:
        raise click.UsageError(f"{algorithm} finds the number of clusters itself: leave out -k")
