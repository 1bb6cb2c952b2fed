"""``clusterkit sample``."""

from pathlib import Path
from typing import Any

import click

from clusterkit.cli.options import (
    COLUMNS,
    columns_options,
    dry_run_option,
    mode_option,
    notice_unused,
    read_space,
    seed_option,
    space_option,
    store_option,
)
from clusterkit.cli.outputs import LocalPath, Outputs, outputs, picture, say_result, table


@click.command()
@click.option(
    "-n",
    "--n-images",
    type=click.IntRange(1),
    show_default="50, or all if there are fewer",
    help="How many images to choose.",
)
@click.option(
    "--by",
    type=click.Choice(["diverse", "typical", "doubtful"]),
    help="Choose images that are unlike each other, in the middle of groups, or whose class is in "
    "doubt.  [default: doubtful with --predictions, --model, or --labels of two classes, else "
    "typical]",
)
@click.option(
    "--labels",
    "tables",
    multiple=True,
    type=LocalPath(dir_okay=False),
    help="A table of images that already have a label: these are not chosen again, and are used to "
    "measure doubt.  Can be given several times.",
)
@columns_options
@click.option(
    "--clusters",
    type=LocalPath(dir_okay=False),
    metavar="CLUSTERS_CSV",
    help="Choose typical images of these clusters, as many of each, or doubtful ones, which are "
    "nearly as near to another.",
)
@click.option(
    "--model",
    type=LocalPath(dir_okay=False),
    help="Measure doubt by this classifier, a .keras file of `clusterkit train classifier`.",
)
@click.option(
    "--predictions",
    type=LocalPath(dir_okay=False),
    help="Measure doubt by this table of `clusterkit predict --table`.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Do not choose what fits a pattern, as in a .gitignore.  Can be given several times.",
)
@click.option(
    "--into",
    type=LocalPath(file_okay=False),
    help="Bring the files into this folder: one folder for each class or cluster that is "
    "suggested, or else to-label.",
)
@mode_option
@dry_run_option
@seed_option
@space_option
@store_option
@outputs(
    table(
        "The table of the images, with an empty column for their labels.", "--output", "sample.csv"
    ),
    picture("Draw the images, and why they were chosen, to this file", "--sheet"),
)
def sample(
    n_images: int | None,
    by: str | None,
    tables: tuple[Path, ...],
    clusters: Path | None,
    model: Path | None,
    predictions: Path | None,
    exclude: tuple[str, ...],
    into: Path | None,
    mode: str,
    dry_run: bool,
    seed: int,
    extractor: str | None,
    store: Path,
    outputs: Outputs,
    **columns: Any,
) -> None:
    """Choose which of the embedded images to review or to label next.

    Writes sample.csv: path, label (empty, for you to fill in), suggested, why, score, cluster.
    `train classifier` learns from it when it has labels, and --labels takes it, to choose further
    images.  To label a set with few labels, take twice as many typical images as there may be
    classes, or five times as many if a class shows different things; then, several times, as many
    doubtful ones as there are classes.

    \b
    Example:
      clusterkit sample -n 20 --sheet sample.png
      clusterkit sample -n 10 --labels sample.csv -o next.csv
      clusterkit sample -n 10 --labels sample.csv --labels next.csv -o third.csv
      clusterkit sample -n 50 --by doubtful --model clf.keras --into doubtful/
    """
    from clusterkit import plots
    from clusterkit.preparation.sampling import sample_images

    if into is None:
        notice_unused("no files are sorted without --into", "mode")
    if not tables:
        notice_unused("--labels is not given", *COLUMNS)
    found = sample_images(
        read_space(store, extractor),
        n_images,
        by=by,
        label_tables=tables,
        model=model,
        predictions=predictions,
        clusters=clusters,
        exclude=exclude,
        into=into,
        mode=mode,
        store=store,
        random_state=seed,
        dry_run=dry_run,
        progress=True,
        **columns,
    )
    if dry_run:
        outputs.skip("this is a dry run")
    else:
        outputs.write(found.to_csv)
        outputs.draw(lambda: plots.SampleDisplay.from_sample(found), "sheet")
    outputs.show(found.to_dict(), lambda: say_result(found))
