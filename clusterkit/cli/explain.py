"""``clusterkit explain``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    check_picture,
    extractor_file,
    json_option,
    overwrite_option,
    picture_option,
    print_json,
    read_space,
    save_picture,
    say,
    space_option,
    store_option,
    weights_option,
)


@click.command()
@click.argument("image_a")
@click.argument("image_b")
@picture_option("Draw the two images and their histograms to this file")
@overwrite_option
@space_option
@weights_option
@store_option
@json_option
def explain(
    image_a: str,
    image_b: str,
    output: Path | None,
    overwrite: bool,
    extractor: str | None,
    weights: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Say why IMAGE_A and IMAGE_B are, or are not, similar.

    Compares their latent vectors: cosine similarity and where it stands among all pairs of the
    store, histograms of the values on shared bins, and the features that the two share most.

    \b
    Example:
      clusterkit explain photos/fox.jpg photos/cheetah.jpg -o explain.png
    """
    from clusterkit.similarity.similar import explain_images

    check_picture(output, overwrite=overwrite)
    explanation = explain_images(
        image_a,
        image_b,
        read_space(store, extractor),
        weights=weights or extractor_file(extractor),
    )
    if output is not None:
        from clusterkit.plots.histograms import ExplanationDisplay

        save_picture(ExplanationDisplay.from_explanation(explanation), output, overwrite=overwrite)
    if as_json:
        print_json(explanation.to_dict() | {"output": output})
    else:
        say(explanation.summary)
