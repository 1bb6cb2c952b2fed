"""``clusterkit explain``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    extractor_file,
    open_search,
    space_option,
    store_option,
    stream_option,
    weights_option,
)
from clusterkit.cli.outputs import Outputs, outputs, picture
from clusterkit.cli.streams import say_result


@click.command()
@click.argument("image_a")
@click.argument("image_b")
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

    Says how similar they are among all pairs of the store, and how much of that is colour tone:
    the network looks at both again in grey and with one tone, and so at some other images.  Where
    they are alike is in the picture (-o) and, as numbers, in --json: maps of both, which sum to the
    similarity if the network ends in global average pooling, and parts that answer to each other.
    Also the features and neighbours that they share, and histograms of their latent values.  What
    needs the files or the network's weights, and they are gone, is left out and said.  Of a large
    space, the percentage of pairs is that of 20,000 random images; all images are read part by part
    for the rest.

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
