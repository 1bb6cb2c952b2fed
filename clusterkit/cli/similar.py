"""``clusterkit similar``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import (
    complete_file,
    extractor_file,
    open_search,
    space_option,
    store_option,
    stream_option,
    top_option,
    weights_option,
)
from clusterkit.cli.outputs import Outputs, notice, outputs, picture, say_result
from clusterkit.utils.locations import find_gone
from clusterkit.utils.text import plural

if TYPE_CHECKING:
    from clusterkit.similarity.similar import SimilarImages


@click.command()
@click.argument("image", shell_complete=complete_file)
@top_option
@space_option
@weights_option
@stream_option
@store_option
@outputs(picture("Draw the image and its neighbours to this file"))
def similar(
    image: str,
    top: int,
    extractor: str | None,
    weights: Path | None,
    stream: bool | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Find the images most similar to IMAGE, by cosine.

    IMAGE is a file, or a path as the store knows it.  An image whose content is in the store needs
    no network; any other goes through the one that made the embeddings.

    A large space is searched on disk, with the same result: the first search prepares files for
    that in the cache (CLUSTERKIT_CACHE), which later searches reuse.

    \b
    Example:
      clusterkit similar photos/fox.jpg -n 5 -o similar.png
    """
    from clusterkit import plots
    from clusterkit.similarity.similar import find_similar

    found = find_similar(
        image,
        open_search(store, extractor, stream=stream),
        n_neighbors=top,
        weights=weights or extractor_file(extractor),
        stream=True,
        progress=True,
    )
    outputs.draw(lambda: plots.GalleryDisplay.from_similar(found))
    outputs.show(found.to_dict(), lambda: _print(found))


def _print(found: "SimilarImages") -> None:
    """Print the neighbours, and notices about files that are gone."""
    if found.n_gone:
        notice(
            f"{plural(found.n_gone, 'nearer image')} left out, since the file is gone: `clusterkit "
            "embed FOLDER --prune` forgets such images."
        )
    files = {str(file) for file in found.embeddings[found.rows].files}
    if find_gone(files) == files:
        notice("None of these files is there: is their disk mounted?")
    say_result(found)
