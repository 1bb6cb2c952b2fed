"""``clusterkit import`` and ``clusterkit export``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    json_option,
    output_option,
    overwrite_option,
    print_json,
    read_space,
    say,
    space_option,
    store_option,
)


@click.command(name="import")
@click.argument("vectors", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--paths",
    type=click.Path(dir_okay=False, path_type=Path),
    help="For .npy: a text file with the path of each image, one a line.",
)
@click.option("--name", help="What to call them, for -e.  [default: the file's name]")
@store_option
@json_option
def import_(
    vectors: Path, paths: Path | None, name: str | None, store: Path, as_json: bool
) -> None:
    """Bring VECTORS that another program made into the store.

    VECTORS is a .npy file with a row per image, an .npz file (vectors, paths) or a Parquet file
    (columns path, vector).  Every command works on them; only images outside the store cannot be
    asked about, since what would embed them is not known.

    \b
    Example:
      clusterkit import clip.npy --paths paths.txt
      clusterkit cluster -e clip -k 5
    """
    from clusterkit.store.interchange import import_vectors

    summary = import_vectors(vectors, store, paths=paths, name=name).summary()
    if as_json:
        print_json(summary)
    else:
        say(
            f"{summary['images']} vectors of {summary['dimension']} dimensions as "
            f"{summary['extractor']}"
        )


@click.command()
@output_option("The file to write: .npz, .parquet or .csv.", "embeddings.npz")
@overwrite_option
@space_option
@store_option
@json_option
def export(
    output: Path, overwrite: bool, extractor: str | None, store: Path, as_json: bool
) -> None:
    """Write the embeddings for other programs.

    \b
    Example:
      clusterkit export -o embeddings.parquet
    """
    from clusterkit.store.interchange import export_embeddings

    embeddings = read_space(store, extractor)
    export_embeddings(embeddings, output, overwrite=overwrite)
    if as_json:
        images, dimension = embeddings.shape
        print_json({"output": output, "images": images, "dimension": dimension})
    else:
        say(f"{len(embeddings)} vectors of {embeddings.shape[1]} dimensions in {output}")
