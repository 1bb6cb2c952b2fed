"""``clusterkit explain``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    extractor_file,
    read_space,
    space_option,
    store_option,
    weights_option,
)
from clusterkit.cli.outputs import Outputs, outputs, picture
from clusterkit.cli.streams import say_result


@click.command()
@click.argument("image_a")
@click.argument("image_b")
@space_option
@weights_option
@store_option
@outputs(picture("Draw the two images and their histograms to this file"))
def explain(
    image_a: str,
    image_b: str,
    extractor: str | None,
    weights: Path | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Explain why IMAGE_A and IMAGE_B are, or are not, similar.

    Compares their latent vectors: cosine similarity and its percentile among all pairs of the
    store, histograms of the values on shared bins, and the features that the two share most.

    \b
    Example:
      clusterkit explain photos/fox.jpg photos/cheetah.jpg -o explain.png
    """
    from clusterkit import plots
    from clusterkit.similarity.similar import explain as explain_images

    explanation = explain_images(
        image_a,
        image_b,
        read_space(store, extractor),
        weights=weights or extractor_file(extractor),
        random_state=0,
    )
    outputs.draw(lambda: plots.ExplanationDisplay.from_explanation(explanation))
    outputs.show(explanation.to_dict(), lambda: say_result(explanation))
