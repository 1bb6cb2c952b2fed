"""``clusterkit import`` and ``clusterkit export``."""

import functools
from pathlib import Path

import click

from clusterkit.cli.options import read_space, space_option, store_option
from clusterkit.cli.outputs import Outputs, outputs, table
from clusterkit.cli.streams import say


@click.command(name="import")
@click.argument("vectors", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--paths",
    type=click.Path(dir_okay=False, path_type=Path),
    help="For .npy: a text file with the path of each image, one per line.",
)
@click.option("--name", help="What to call them, for -e.  [default: the file's name]")
@store_option
@outputs()
def import_(
    vectors: Path, paths: Path | None, name: str | None, store: Path, outputs: Outputs
) -> None:
    """Bring VECTORS that another program made into the store.

    VECTORS is a .npy file with a row per image, an .npz file (vectors, paths) or a Parquet file
    (columns path, vector).  Every command works on them; only images outside the store cannot be
    asked about, since the network that made the vectors is not known.

    \b
    Example:
      clusterkit import clip.npy --paths paths.txt
      clusterkit cluster -e clip -k 5
    """
    from clusterkit.store.interchange import import_vectors

    summary = import_vectors(vectors, store, paths=paths, name=name).summary()
    text = "{images} vectors of {dimension} dimensions as {extractor}"
    outputs.show(summary, lambda: say(text.format(**summary)))


@click.command()
@space_option
@store_option
@outputs(table("The file to write: .npz, .parquet or .csv.", "--output", "embeddings.npz"))
def export(extractor: str | None, store: Path, outputs: Outputs) -> None:
    """Write the embeddings for other programs.

    \b
    Example:
      clusterkit export -o embeddings.parquet
    """
    from clusterkit.store.interchange import export_embeddings

    embeddings = read_space(store, extractor)
    images, dimension = embeddings.shape
    text = f"{images} vectors of {dimension} dimensions in {outputs.files['output']}"
    outputs.write(functools.partial(export_embeddings, embeddings))
    outputs.show({"images": images, "dimension": dimension}, lambda: say(text))
