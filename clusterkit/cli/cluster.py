"""``clusterkit cluster``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import (
    engine_options,
    notice_names,
    notice_unused,
    open_vectors,
    seed_option,
    selection_options,
    space_option,
    store_option,
    stream_option,
    strict_option,
)
from clusterkit.cli.outputs import LocalPath, OutputFile, Outputs, outputs, picture, say_result
from clusterkit.clusterers.by_name import CLUSTERERS

if TYPE_CHECKING:
    from clusterkit.utils.ray_engine import RayEngine

# Algorithms that cluster vectors without loading them all.
_STREAMED = ("kmeans", "minibatch-kmeans", "refined-kmeans")


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
    "--level",
    type=click.IntRange(1),
    help="With -k auto: which of the levels that `clusterkit elbow` lists, 1 the coarsest.  "
    "[default: the best]",
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
    help="Also try k-means on whitened vectors, and use it if it separates the images better.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="Remove a confounder, such as tone, from the vectors before clustering; `clusterkit "
    "audit` tells which one they follow.  Can be given several times.",
)
@click.option(
    "--into",
    type=LocalPath(file_okay=False),
    help="Sort the image files into this folder, one sub-folder per cluster.",
)
@click.option(
    "--mode",
    type=click.Choice(["copy", "link", "move"]),
    show_default="copy",
    help="How --into transfers the files; `clusterkit undo` reverses it.",
)
@strict_option
@click.option(
    "--previous",
    type=LocalPath(dir_okay=False),
    help="The clusters.csv of an earlier run: clusters that continue keep its numbers, and "
    "decisions made by hand and added columns are kept.",
)
@selection_options
@click.option(
    "--per-cluster",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Number of images per cluster on --sheet.",
)
@click.option(
    "--show",
    type=click.Choice(["central", "doubtful", "random", "all"]),
    default="central",
    show_default=True,
    help="Which images --sheet shows: the nearest to the cluster's centre, those that are nearly "
    "as near to another, a random sample, or all.",
)
@click.option("--file-names", is_flag=True, help="Write file names on --sheet.")
@seed_option
@stream_option
@engine_options("passes over all images, with -a kmeans")
@space_option
@store_option
@outputs(
    OutputFile(
        "--output",
        "The table of clusters.",
        "clusters.csv",
        check="clusterkit.clustering.saved:check_clusters_files",
    ),
    picture(
        "Draw images of each cluster to this file, and further pages to NAME-2",
        "--sheet",
        check="clusterkit.plots.contact_sheet:check_sheet_path",
    ),
)
def cluster(
    n_clusters: int | str | None,
    level: int | None,
    algorithm: str,
    refine: bool,
    without: tuple[str, ...],
    into: Path | None,
    mode: str | None,
    strict: bool,
    previous: Path | None,
    only: tuple[str, ...],
    only_cluster: tuple[str, ...],
    of: Path,
    seed: int,
    stream: bool | None,
    engine: "str | RayEngine",
    extractor: str | None,
    store: Path,
    per_cluster: int,
    show: str,
    file_names: bool,
    outputs: Outputs,
) -> None:
    """Group the embedded images and write clusters.csv.

    Its columns are path, cluster, distance (to the cluster's centre), exemplar (true for the image
    nearest to the centre) and, where ImageNet's classes of the images are in the store, the name
    of the cluster.  What made it is written beside it as .json.

    With -k auto, the number is found as `clusterkit elbow` does.  If there are several levels, such
    as 3 kinds of 10 animals, the best is taken, the others are listed, and --level takes another.

    With -a kmeans and -a minibatch-kmeans, a large space is read part by part and never loaded as a
    whole: clusters are searched in a random sample of 20,000 images, then passes over all images
    follow until they converge.  --refine compares on a random sample of 10,000 images, whose
    clusters the others join; the output states it.

    With --engine ray the passes of -a kmeans are made by workers of Ray, on this machine or on
    the cluster of --ray-address; the result is the same.

    With --refine, k-means is compared with k-means on whitened vectors, without labels; the choice,
    its reason and the share of images that it moves are printed.

    With --without tone (or brightness, colourfulness, sharpness, size, aspect, quality, format,
    border, mark, folder) the clusters do not follow that property; what changed is printed.

    With --previous, clusters that are new, split, merged or vanished are listed, and the number of
    images that moved between the others.  Clusters that you named or filled (with `clusterkit
    label` or in the table) keep their number, name and images; new images join the nearest cluster,
    and only the rest is clustered again.

    With --only or --only-cluster, a part of the images is clustered, such as a large cluster that
    should be split.

    \b
    Example:
      clusterkit cluster -k 5 --sheet clusters.png
      clusterkit cluster -k 5 --sheet doubts.png --show doubtful --per-cluster 24 -o again.csv
      clusterkit cluster -k 5 --refine -o refined.csv
      clusterkit cluster -k auto --into sorted/ --mode link
      clusterkit cluster -k auto --level 1 -o coarse.csv
      clusterkit cluster -k 5 --without tone -o without-tone.csv
      clusterkit cluster -k 6 --previous clusters.csv --overwrite
      clusterkit cluster -k 3 --only-cluster 2 -o parts-of-2.csv
      clusterkit cluster -k 50 --engine ray --ray-address 10.0.0.1:6379
    """
    from clusterkit import plots
    from clusterkit.clustering import cluster as clustering
    from clusterkit.clustering.selection import select
    from clusterkit.routing.sorting import check_present
    from clusterkit.similarity.image_confounders import check_confounders

    if mode is not None and into is None:
        raise click.UsageError(f"--mode {mode} needs a folder to sort into: give --into DIR, too")
    _check_number(algorithm, n_clusters)
    if level is not None and n_clusters != "auto":
        raise click.UsageError(f"--level {level} is one of those that -k auto finds: give -k auto")
    if refine and algorithm != "kmeans":
        raise click.UsageError(f"--refine starts from k-means: leave out -a {algorithm}")
    if only_cluster and outputs.files["output"] == of:
        raise click.UsageError(f"{of} is the table that --only-cluster refers to: give another -o")
    if into is None:
        notice_unused("no files are sorted without --into", "strict")
    if outputs.files["sheet"] is None:
        notice_unused("no picture is drawn without --sheet", "per_cluster", "show", "file_names")
    if not only_cluster:
        notice_unused("--only-cluster is not given", "of")
    check_confounders(without)
    stream = _choose_stream(stream, engine, algorithm, refine=refine, without=without)
    table = previous or (of if only_cluster else None)
    opened = open_vectors(store, extractor, table, stream=stream)
    embeddings = select(opened, only=only, clusters=only_cluster, of=of)
    if into is not None:
        check_present(embeddings.files, into, strict=strict)
    result = clustering.cluster(
        embeddings,
        "refined-kmeans" if refine else algorithm,
        n_clusters=n_clusters,
        level=level,
        without=without,
        random_state=seed,
        previous=previous,
        store=store,
        engine=engine,
        progress=True,
    )
    sheet = None
    if outputs.files["sheet"] is not None:
        sheet = plots.ContactSheets.from_clustering(
            result, n_images=per_cluster, show=show, random_state=seed, file_names=file_names
        )
        # Further pages may be in the way.
        sheet.check(outputs.files["sheet"], overwrite=outputs.overwrite)
    if into is not None:
        if sheet is not None and mode == "move":
            sheet.plot()
        result.sort_into(into, mode=mode or "copy", strict=strict, store=store, progress=True)
        outputs.written.append(into)
    # The table is last, so that a sorting or a drawing that fails can be tried again with the same
    # command.
    outputs.draw(lambda: sheet, "sheet")
    outputs.write(result.to_csv)
    outputs.show(result.to_dict() | {"into": into}, lambda: say_result(result))
    # Names that a person gave are from nowhere else.
    if result.names_from or not result.names:
        notice_names("clusters", result.names_from, embeddings)


def _choose_stream(
    stream: bool | None,
    engine: "str | RayEngine",
    algorithm: str,
    *,
    refine: bool,
    without: tuple[str, ...],
) -> bool | None:
    """Return whether to read the vectors part by part; None where that depends on their size."""
    can_stream = algorithm in _STREAMED and not without
    if stream and not can_stream:
        raise click.UsageError(
            f"only {', '.join(_STREAMED)} read vectors part by part, without --without: leave out "
            "--stream"
        )
    if engine != "local":
        if algorithm != "kmeans" or refine or not can_stream or stream is False:
            raise click.UsageError(
                "--engine ray is for -a kmeans on vectors that are read part by part: leave out "
                "--refine, --without and --no-stream"
            )
        return True
    if not can_stream:
        return False
    return True if algorithm == "minibatch-kmeans" and stream is None else stream


def _check_number(algorithm: str, n_clusters: int | str | None) -> None:
    """Check that -k is given if, and only if, the clusterer takes it."""
    parameters = CLUSTERERS[algorithm]().get_params(deep=False)
    if n_clusters is None and parameters.get("n_clusters") is not None:
        raise click.UsageError(
            f"{algorithm} needs the number of clusters: -k N, or -k auto to have it chosen"
        )
    if n_clusters is not None and "n_clusters" not in parameters:
        raise click.UsageError(f"{algorithm} finds the number of clusters itself: leave out -k")
