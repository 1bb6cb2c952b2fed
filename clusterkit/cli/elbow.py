"""``clusterkit elbow``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    check_picture,
    json_option,
    overwrite_option,
    picture_option,
    print_json,
    read_space,
    save_picture,
    say,
    seed_option,
    space_option,
    store_option,
)

_COLUMNS = ("inertia", "silhouette", "stability", "modularity", "conductance", "evidence")


@click.command()
@click.option("--k-min", type=click.IntRange(2), default=2, show_default=True, help="Smallest k.")
@click.option(
    "--k-max",
    type=click.IntRange(2),
    help="Largest k.  [default: 20, then 40 and 80 as long as there may be more]",
)
@picture_option("Draw the curve and the verdict to this file")
@overwrite_option
@seed_option
@space_option
@store_option
@json_option
def elbow(
    k_min: int,
    k_max: int | None,
    output: Path | None,
    overwrite: bool,
    seed: int,
    extractor: str | None,
    store: Path,
    as_json: bool,
) -> None:
    """Say into how many groups the images fall, or that there is no clear number.

    Clusters the embeddings for every k in a range, and weighs how stable the groups are under
    resampling, how few near neighbours they tear apart, and the eigengap of the graph of
    neighbours.  The knee of the inertia, silhouette, Calinski-Harabasz and Davies-Bouldin are shown
    beside it.

    \b
    Example:
      clusterkit elbow --k-max 30 -o elbow.png
    """
    from clusterkit.elbow.curve import elbow_curve

    check_picture(output, overwrite=overwrite)
    embeddings = read_space(store, extractor)
    numbers = None
    if k_max is not None or k_min > 2:
        k_max = k_max or max(2, min(20, len(embeddings)))
        if k_min > k_max:
            raise click.UsageError(
                f"--k-min must be at most --k-max. Received: {k_min} and {k_max}"
            )
        numbers = range(k_min, k_max + 1)
    curve = elbow_curve(embeddings, k=numbers, random_state=seed, progress=True)
    if output is not None:
        from clusterkit.plots.elbow import ElbowDisplay

        save_picture(ElbowDisplay.from_curve(curve), output, overwrite=overwrite)
    if as_json:
        print_json(curve.to_dict() | {"output": output})
        return
    say("".join(f"{name:>12}" for name in ("k", *_COLUMNS)))
    # An array's NaN, where an index is not defined, is printed as such.
    for k, *values in zip(
        curve.n_clusters, *(getattr(curve, name) for name in _COLUMNS), strict=True
    ):
        mark = "  <" if k == curve.k else ""
        say(f"{k:>12}" + "".join(f"{value:>12.4f}" for value in values) + mark)
    say(curve.verdict)
