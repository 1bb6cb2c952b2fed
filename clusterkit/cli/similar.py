"""``clusterkit similar``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    check_picture,
    extractor_file,
    json_option,
    notice,
    overwrite_option,
    picture_option,
    plural,
    print_json,
    read_space,
    save_picture,
    say,
    space_option,
    store_option,
    top_option,
    weights_option,
)


@click.command()
@click.argument("image")
@top_option
@picture_option("Draw the image and its neighbours to this file")
@overwrite_option
@space_option
@weights_option
@store_option
@json_option
def similar(
    image: str,
    top: int,
    output: Path | None,
    overwrite: bool,
    extractor: str | None,
    weights: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Find the images most similar to IMAGE, by cosine.

    IMAGE is a file, or a path as the store knows it.  An image whose content is in the store needs
    no network; any other goes through the one that made the embeddings.

    \b
    Example:
      clusterkit similar photos/fox.jpg -n 5 -o similar.png
    """
    from clusterkit.similarity.similar import find_similar

    check_picture(output, overwrite=overwrite)
    found = find_similar(
        image,
        read_space(store, extractor),
        n_neighbors=top,
        weights=weights or extractor_file(extractor),
    )
    if output is not None:
        from clusterkit.plots.gallery import GalleryDisplay

        save_picture(GalleryDisplay.from_similar(found), output, overwrite=overwrite)
    if as_json:
        print_json(found.to_dict() | {"output": output})
        return
    if found.n_gone:
        notice(
            f"{plural(found.n_gone, 'nearer image')} left out, since the file is gone: `clusterkit "
            "embed FOLDER --prune` forgets such images."
        )
    if not any(Path(file).exists() for file in found.embeddings[found.rows].files):
        notice("None of these files is there: is their disk mounted?")
    for result in found.to_dict()["results"]:
        say(f"{result['similarity']:.3f}  {result['path']}")
