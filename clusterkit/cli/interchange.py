"""``clusterkit import`` and ``clusterkit export``."""

import functools
from pathlib import Path

import click

from clusterkit.cli.options import open_vectors, space_option, store_option, stream_option
from clusterkit.cli.outputs import LocalPath, OutputFile, Outputs, outputs, say
from clusterkit.utils.text import plural


@click.command(name="import")
@click.argument("vectors", type=LocalPath(dir_okay=False))
@click.option(
    "--paths",
    type=LocalPath(dir_okay=False),
    help="For files without paths: a text file with the path of each image, one per line.",
)
@click.option("--vector-column", help="Column or array of the vectors.")
@click.option("--path-column", help="Column or array of the paths.")
@click.option("--name", help="What to call them, for -e.  [default: the file's name]")
@store_option
@outputs()
def import_(
    vectors: Path,
    paths: Path | None,
    vector_column: str | None,
    path_column: str | None,
    name: str | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Import VECTORS of another program into the store.

    VECTORS is a .npy file with a row per image, or an .npz or Parquet file with vectors and paths,
    by any names.  Every command works on them; only images outside the store cannot be asked about,
    since the network that made the vectors is not known.

    \b
    Example:
      clusterkit import clip.npy --paths paths.txt
      clusterkit import clip.parquet --vector-column emb --path-column file
      clusterkit cluster -e clip -k 5
    """
    from clusterkit.store.interchange import import_vectors

    summary = import_vectors(
        vectors,
        store,
        paths=paths,
        name=name,
        vector_column=vector_column,
        path_column=path_column,
    ).summary()
    text = "{} of {dimension} dimensions as {extractor}"
    outputs.show(summary, lambda: say(text.format(plural(summary["images"], "vector"), **summary)))


@click.command()
@click.option(
    "--clusters",
    type=LocalPath(dir_okay=False),
    help="Add the clusters and names of this clusters.csv.  [.parquet]",
)
@click.option("--viewer", is_flag=True, help="Add a map, neighbours and pictures.  [.parquet]")
@stream_option
@space_option
@store_option
@outputs(
    OutputFile(
        "--output",
        "The file to write: .npz, .parquet or .csv.",
        "embeddings.npz",
        check="clusterkit.utils.files:check_output",
    )
)
def export(
    clusters: Path | None,
    viewer: bool,
    stream: bool | None,
    extractor: str | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Write the embeddings for other programs.

    A Parquet file has the columns path, filepath (absolute), digest, top_class and top5 where they
    are known, and vector; with --clusters also cluster and name; with --viewer also x, y, neighbors
    and image, as embedding-atlas reads them.

    Of a large space, parts are read and written one by one, in the order in which they were made;
    --viewer loads them all.

    \b
    Example:
      clusterkit export -o embeddings.parquet
      clusterkit export --clusters clusters.csv --viewer -o view.parquet
      embedding-atlas view.parquet --image image --x x --y y --neighbors neighbors
    """
    from clusterkit.clustering.exporting import export_embeddings

    if viewer and stream:
        raise click.UsageError("--viewer needs all vectors: leave out --stream")
    embeddings = open_vectors(store, extractor, clusters, stream=False if viewer else stream)
    images, dimension = embeddings.shape
    text = f"{plural(images, 'vector')} of {dimension} dimensions in {outputs.files['output']}"
    outputs.write(
        functools.partial(
            export_embeddings, embeddings, clusters=clusters, viewer=viewer, progress=True
        )
    )
    outputs.show({"images": images, "dimension": dimension}, lambda: say(text))
