"""``clusterkit explain``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    complete_file,
    extractor_file,
    open_search,
    space_option,
    store_option,
    stream_option,
    weights_option,
)
from clusterkit.cli.outputs import Outputs, outputs, picture, say_result


@click.command()
@click.argument("image_a", shell_complete=complete_file)
@click.argument("image_b", shell_complete=complete_file)
@space_option
@weights_option
@stream_option
@store_option
@outputs(picture("Draw the two images and where they are alike to this file"))
def explain(
    image_a: str,
    image_b: str,
    extractor: str | None,
    weights: Path | None,
    stream: bool | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Explain why IMAGE_A and IMAGE_B are, or are not, similar.

    Tells how similar they are among all pairs of the store, and how much of that is colour tone:
    the network embeds both again, and some other images, in grey and with one tone.  The picture
    (-o) and, as numbers, --json show where they are alike: maps of both, which sum to the
    similarity if the network ends in global average pooling, and corresponding parts.  Also shows
    the features and neighbours that they share, and histograms of their latent values.  What needs
    files or weights that are missing is left out, and listed.  In a large space, the percentage of
    pairs is computed on 20,000 random images, and everything else on all images, part by part.

    \b
    Example:
      clusterkit explain photos/fox.jpg photos/cheetah.jpg -o explain.png
    """
    from clusterkit import plots
    from clusterkit.similarity.similar import explain as explain_images

    explanation = explain_images(
        image_a,
        image_b,
        open_search(store, extractor, stream=stream),
        weights=weights or extractor_file(extractor),
        random_state=0,
        stream=True,
        progress=True,
    )
    outputs.draw(lambda: plots.ExplanationDisplay.from_explanation(explanation))
    outputs.show(explanation.to_dict(), lambda: say_result(explanation))
