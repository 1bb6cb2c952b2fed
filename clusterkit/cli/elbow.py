"""``clusterkit elbow``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    check_picture,
    json_option,
    output_option,
    overwrite_option,
    print_json,
    read_space,
    seed_option,
    space_option,
    store_option,
)


@click.command()
@click.option("--k-min", type=click.IntRange(2), default=2, show_default=True, help="Smallest k.")
@click.option("--k-max", type=click.IntRange(2), default=20, show_default=True, help="Largest k.")
@output_option("Draw the curve and the verdict to this file (.png, .pdf, .svg, .jpg).")
@overwrite_option
@seed_option
@space_option
@store_option
@json_option
def elbow(
    k_min: int,
    k_max: int,
    output: Path | None,
    overwrite: bool,
    seed: int,
    extractor: str | None,
    store: Path,
    as_json: bool,
) -> None:
    """Say into how many groups the images fall, or that there is no clear number.

    Clusters the embeddings for every k in a range and weighs several indices: the inertia and its
    knee, silhouette, Calinski-Harabasz, Davies-Bouldin, and stability under resampling.

    \b
    Example:
      clusterkit elbow --k-max 30 -o elbow.png
    """
    from clusterkit.elbow import elbow_curve

    check_picture(output, overwrite=overwrite)
    embeddings = read_space(store, extractor)
    curve = elbow_curve(embeddings, k=range(k_min, k_max + 1), random_state=seed)
    if output is not None:
        from clusterkit.plots import ElbowDisplay, save_figure

        save_figure(ElbowDisplay.from_curve(curve), output, overwrite=overwrite)
    document = curve.to_dict()
    if as_json:
        print_json(document | {"output": None if output is None else str(output)})
        return
    click.echo(f"{'k':>4}  {'inertia':>12}  {'silhouette':>10}")
    for point in document["curve"]:
        mark = "  <" if point["k"] == curve.k else ""
        click.echo(
            f"{point['k']:>4}  {point['inertia']:>12.4f}  {point['silhouette']:>10.4f}{mark}"
        )
    click.echo(curve.verdict)
