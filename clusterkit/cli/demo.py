"""``clusterkit demo``."""

from pathlib import Path

import click

from clusterkit.cli.options import seed_option
from clusterkit.cli.outputs import LocalPath, Outputs, notice, outputs, say_result


@click.command()
@click.option(
    "-o",
    "--output",
    type=LocalPath(file_okay=False),
    default="clusterkit-demo",
    show_default=True,
    help="Folder to make for the results.",
)
@seed_option
@outputs()
def demo(output: Path, seed: int, outputs: Outputs) -> None:
    """Run the whole chain on sample images: about two minutes, no download.

    Trains an autoencoder on handwritten digits, embeds them, finds the number of groups, clusters,
    evaluates, draws a picture of each step, and writes a page of all clusters.

    \b
    Example:
      clusterkit demo -o my-demo
    """
    from clusterkit.demo import run_demo

    report = run_demo(output, random_state=seed, say=notice, progress=True)
    outputs.show(report.to_dict(), lambda: say_result(report))
