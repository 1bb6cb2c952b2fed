"""``clusterkit embed``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import (
    complete_extractor,
    engine_options,
    exclude_option,
    extractor_file,
    folders_argument,
    notice_unused,
    resize_option,
    store_option,
    weights_option,
)
from clusterkit.cli.outputs import Outputs, notice, outputs, say_result
from clusterkit.errors import InvalidInputError
from clusterkit.utils.text import plural

if TYPE_CHECKING:
    from clusterkit.embedding.embed import EmbedReport
    from clusterkit.utils.ray_engine import RayEngine


class ShardOfImages(click.ParamType):
    """Which of several parts of the images, as NUMBER/COUNT."""

    name = "NUMBER/COUNT"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Return number and count."""
        from clusterkit.embedding.shards import Shard

        try:
            return Shard.parse(value)
        except InvalidInputError as error:
            self.fail(str(error), param, ctx)


@click.command()
@folders_argument
@exclude_option
@click.option(
    "-e",
    "--extractor",
    default="xception",
    show_default=True,
    shell_complete=complete_extractor,
    help="A network of keras.applications (resnet50, efficientnetv2b0, …), NAME-predictions for "
    "its ImageNet class probabilities, the .keras file of an autoencoder, or pixels.",
)
@weights_option
@resize_option(default=None)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Images per forward pass.  [default: chosen for the machine]",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    show_default="as before, or auto",
    help="auto is bfloat16 where it is faster and the vectors agree with float32.",
)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "keras", "openvino"]),
    show_default="as before, or auto",
    help="auto is OpenVINO where clusterkit[openvino] is installed and there is no GPU.",
)
@click.option(
    "--half",
    is_flag=True,
    help="Keep the vectors of a new space as float16, in half the space on disk.",
)
@click.option(
    "--shard",
    type=ShardOfImages(),
    help="Embed one of several parts of the images, such as 3/8, in a task of a job array.",
)
@click.option("--prune", is_flag=True, help="Forget all images whose file is gone.")
@click.option("--again", is_flag=True, help="Embed all images again, including those in the store.")
@engine_options("embeds")
@store_option
@outputs(continues=True)
def embed(
    folders: tuple[str, ...],
    exclude: tuple[str, ...],
    extractor: str,
    weights: Path | None,
    resize: str | None,
    batch_size: int | None,
    precision: str | None,
    runtime: str | None,
    half: bool,
    shard: tuple[int, int] | None,
    prune: bool,
    again: bool,
    engine: "str | RayEngine",
    store: Path,
    outputs: Outputs,
) -> None:
    """Turn images into embeddings and keep them in the store.

    FOLDER is searched for images, including its sub-folders; single files, .txt lists of paths, and
    addresses on object storage, such as s3://bucket/photos, work as well.  Running it again embeds
    only what is new or changed, with the same weights and options: they need not be given again.
    An image that cannot be read is listed with the reason and skipped.

    With --engine ray the work is done by workers of Ray, on this machine or with --ray-address on
    all machines of a cluster, which must see the images, the weights and the store in the same
    places.  The rows are the same, and any run continues where another stopped.

    \b
    Example:
      clusterkit embed photos/
      clusterkit embed photos/ -e resnet50-predictions --weights resnet50.h5
      clusterkit embed photos/ --shard 3/8
      clusterkit embed photos/ --engine ray --ray-address 10.0.0.1:6379
      clusterkit embed s3://bucket/photos --store s3://bucket/store
    """
    from clusterkit.embedding.embed import embed_to_store
    from clusterkit.extractors.by_name import WITHOUT_NETWORK, recall_extractor
    from clusterkit.images.folder import ImageFolder

    images = ImageFolder(folders, exclude=exclude)
    if images.passed_over:
        notice(f"Passed over: {images.passed_over_in_words}")
    if extractor_file(extractor) is not None:
        reason = "the file of an autoencoder defines them"
        notice_unused(reason, "weights", "resize", "precision", "runtime")
    elif extractor in WITHOUT_NETWORK:
        notice_unused(f"{extractor} is not a network", "weights", "precision", "runtime")
    report = embed_to_store(
        images,
        recall_extractor(
            extractor,
            store,
            weights=weights,
            batch_size=batch_size,
            resize=resize,
            precision=precision,
            runtime=runtime,
        ),
        store,
        prune=prune,
        again=again,
        half=half,
        shard=shard,
        engine=engine,
        progress=True,
    )
    outputs.show(report.to_dict(), lambda: _print(report))
    if 0 < report.images == report.failed:
        raise click.ClickException("none of the images could be embedded")


def _print(report: "EmbedReport") -> None:
    """Print how many images were embedded, and which could not be."""
    for path, reason in report.failures:
        notice(f"Not embedded: {path}: {reason}")
    say_result(report)
    if report.gone:
        notice(
            f"Gone: {plural(report.gone, 'file')}, still in the store and in all results: forget "
            "those that were deleted with --prune; those that were moved are found after "
            "`clusterkit embed` on the folder that they are in now."
        )
    if report.space != report.default_space:
        notice(
            f"Commands still use {report.default_space}: choose {report.space} with "
            f"-e {report.space}, or for good with `clusterkit store use {report.space}`."
        )
