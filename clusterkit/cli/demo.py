"""``clusterkit demo``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import notice, say, seed_option
from clusterkit.cli.outputs import Outputs, outputs

if TYPE_CHECKING:
    from clusterkit.demo import DemoReport


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="clusterkit-demo",
    show_default=True,
    help="Folder to make for the results.",
)
@seed_option
@outputs()
def demo(output: Path, seed: int, outputs: Outputs) -> None:
    """Run the whole chain on sample images: about two minutes, no download.

    Trains an autoencoder on handwritten digits, embeds them, finds the number of groups, clusters,
    evaluates, and draws a picture of each step.

    \b
    Example:
      clusterkit demo -o my-demo
    """
    from clusterkit.demo import run_demo

    report = run_demo(output, random_state=seed, say=notice, progress=True)
    outputs.show(report.to_dict(), lambda: _print(report))


def _print(report: "DemoReport") -> None:
    """Print what to look at, and what to try next."""
    store = report.folder / ".clusterkit"
    say(
        "",
        f"Done in {report.seconds:.0f} s. Look at the pictures in {report.folder}:",
        "  clusters.png         the ten clusters, most central images first",
        "  elbow.png            how many groups there are",
        "  evaluation.png       clusters against the true digits",
        "  similar.png          one image and its nearest neighbours",
        "  explain.png          why two of them count as similar",
        "  reconstructions.png  what the autoencoder keeps of an image",
        "  loss.png             how its training went",
        "Then try it yourself:",
        f"  clusterkit similar {report.query} -s {store}",
        "  clusterkit embed YOUR_PHOTOS/ && clusterkit elbow && clusterkit cluster -k 5",
    )
