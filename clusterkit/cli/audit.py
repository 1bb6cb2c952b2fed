"""``clusterkit audit``."""

from pathlib import Path

import click

from clusterkit.cli.options import (
    open_vectors,
    sample_option,
    seed_option,
    space_option,
    store_option,
    stream_option,
)
from clusterkit.cli.outputs import Outputs, outputs, picture, say_result, table


@click.command()
@click.option(
    "--max-images",
    type=click.IntRange(3),
    default=1_000,
    show_default=True,
    help="Maximum number of images whose files are examined, drawn at random.",
)
@sample_option
@stream_option
@seed_option
@space_option
@store_option
@outputs(
    table("Write the findings to this CSV file."),
    picture("Draw what the space follows, and its odd images, to this file"),
)
def audit(
    max_images: int,
    sample: int | None,
    stream: bool | None,
    seed: int,
    extractor: str | None,
    store: Path,
    outputs: Outputs,
) -> None:
    """Audit a space: whether it follows what images show, or tone, sharpness, size and the like.

    Compares the distances of the vectors with those of properties that have little to do with what
    images show.  Also lists copies, outliers, hubs (images near to very many others), and what an
    autoencoder rebuilds worst.  Each finding comes with what to do about it; ! marks problems.

    Of a large space, a random sample of 20,000 images is audited (--sample); the findings state it.

    \b
    Example:
      clusterkit audit -o audit.png
      clusterkit audit -e ae.keras
      clusterkit cluster -k 5 -e ae.keras --without tone
    """
    from clusterkit import plots
    from clusterkit.similarity.space_audit import audit as audit_space

    found = audit_space(
        open_vectors(store, extractor, stream=stream),
        max_images=max_images,
        sample=sample,
        random_state=seed,
        progress=True,
    )
    outputs.write(found.to_csv, "table")
    outputs.draw(lambda: plots.AuditDisplay.from_audit(found))
    outputs.show(found.to_dict(), lambda: say_result(found))
