"""Options and helpers that several commands share."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from clusterkit.classifiers.training.networks import AUGMENTATIONS
from clusterkit.cli.outputs import AnyPath, Decorator, LocalPath, notice
from clusterkit.errors import ClusterkitError
from clusterkit.utils.files import DEFAULT_STORE
from clusterkit.utils.ray_engine import ENGINES, RayEngine
from clusterkit.utils.text import did_you_mean

if TYPE_CHECKING:
    from clusterkit.store.embeddings import Embeddings
    from clusterkit.store.space import Space
    from clusterkit.store.stream import VectorStream


class Group(click.Group):
    """A group that asks whether a similar command was meant, and lists commands in full."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence of each command, which click would cut to one line."""
        rows = [
            (name, command.get_short_help_str(limit=1_000))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named first, unless the shell is completing a line."""
        known = self.list_commands(ctx)
        if not (args[0] in known or args[0].startswith("-") or ctx.resilient_parsing):
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)


def complete_space(
    ctx: click.Context, option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of the spaces in the store, for completion by the shell."""
    from clusterkit.store.store import Store

    names: list[str] = []
    # A traceback would go into the line that is being typed.
    with suppress(ClusterkitError, OSError):
        spaces = Store(ctx.params.get("store") or DEFAULT_STORE).spaces()
        names = [space.folder.name for space in spaces]
    return _complete([*(name.rpartition("-")[0] for name in names), *names], incomplete)


def complete_extractor(
    ctx: click.Context, option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of all extractors, for completion by the shell."""
    from clusterkit.extractors.by_name import extractor_names

    return _complete(extractor_names(), incomplete)


def complete_file(
    ctx: click.Context, option: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete names of files and folders, of which click knows only for paths."""
    return [CompletionItem(incomplete, type="file")]


def _complete(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the names, and the files of autoencoders, that start with what was typed."""
    files = (str(file) for file in Path().glob("*.keras"))
    return [
        CompletionItem(name)
        for name in dict.fromkeys([*names, *files])
        if name.startswith(incomplete)
    ]


folders_argument = click.argument(
    "folders", nargs=-1, required=True, metavar="FOLDER...", shell_complete=complete_file
)
store_option = click.option(
    "-s",
    "--store",
    type=AnyPath(file_okay=False),
    default=DEFAULT_STORE,
    show_default=True,
    envvar="CLUSTERKIT_STORE",
    show_envvar=True,
    help="Folder that keeps the embeddings; also on object storage, as s3://bucket/store.",
)
space_option = click.option(
    "-e",
    "--extractor",
    shell_complete=complete_space,
    help="Whose embeddings to use: an extractor's name, or a .keras file.  [default: the first "
    "that were made, or the choice of `clusterkit store use`]",
)
weights_option = click.option(
    "--weights",
    type=LocalPath(dir_okay=False),
    help="Local weights of the network.  [default: those that the space was made with, then those "
    "that CLUSTERKIT_WEIGHTS names, then Keras downloads them once]",
)
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Images per forward pass.",
)


def resize_option(default: str | None = "stretch") -> Decorator:
    """Return the option --resize; without a default the store remembers it."""
    return click.option(
        "--resize",
        type=click.Choice(["stretch", "crop", "pad"]),
        default=default,
        show_default=default or "as before, or stretch",
        help="How images get the network's size: stretched, cropped at the centre, or padded.",
    )


labels_option = click.option(
    "--labels",
    type=LocalPath(dir_okay=False),
    metavar="FILE|folders",
    help="A table of files and labels, or folders: the name of each image's folder.  "
    "[default: folders]",
)

# Where labels are optional, the names of folders are labels only on request.
labels_option_or_none = click.option(
    "--labels",
    type=LocalPath(dir_okay=False),
    metavar="FILE|folders",
    help="A table of files and labels, or folders: the name of each image's folder.  "
    "[default: no labels]",
)


def label_columns_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the labels in a table."""
    options = (
        click.option(
            "--label-column",
            multiple=True,
            metavar="NAME",
            help="The table's column of labels; several columns of 0 and 1 are one class each.  "
            "[default: found by its name]",
        ),
        click.option(
            "--label-separator",
            metavar="TEXT|none",
            help="Separator of several labels in one cell.  [default: |, or detected]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def columns_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the columns of a table of files and labels."""
    return click.option(
        "--path-column",
        metavar="NAME",
        help="The table's column of files.  [default: found by its name]",
    )(label_columns_options(command))


# The parameters of these options.
COLUMNS = ("label_column", "path_column", "label_separator")


not_copies_option = click.option(
    "--not-copies",
    type=LocalPath(dir_okay=False),
    metavar="CLUSTERS_CSV",
    help="A table in which `clusterkit label --not-copies` recorded images that look alike but "
    "are not copies: these need not stay together.  [default: FOLDER, if it is such a table]",
)

seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),  # what NumPy's generators take
    default=0,
    show_default=True,
    help="Seed of all randomness.",
)
exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out what fits a pattern, as in a .gitignore: *_small.jpg or raw/ anywhere, "
    "2019/*.tif below the folder, ** for any folders.  Can be given several times.",
)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select images: by path, and by their cluster in an earlier table."""
    options = (
        click.option(
            "--only",
            multiple=True,
            metavar="PATTERN",
            help="Only images in this folder, or that fit a pattern: 2019/ or *_edited.jpg "
            "anywhere, 2019/*.tif below the folder, ** for any folders.  Can be given several "
            "times.",
        ),
        click.option(
            "--only-cluster",
            multiple=True,
            metavar="NUMBER|NAME",
            help="Only images of this cluster of --of.  Can be given several times.",
        ),
        click.option(
            "--of",
            type=LocalPath(dir_okay=False),
            default="clusters.csv",
            show_default=True,
            help="The table that --only-cluster refers to.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def engine_options(work: str) -> Decorator:
    """Return the options that choose the engine; the command takes the result as ``engine``.

    Parameters
    ----------
    work : str
        The work, for the help of --engine.
    """
    options = (
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default="local",
            show_default=True,
            help=f"What {work}: this process, or workers of Ray (clusterkit[ray]).",
        ),
        click.option(
            "--ray-address",
            metavar="HOST:PORT|auto",
            help="With --engine ray: a running cluster, to which this machine belongs.  [default: "
            "that of RAY_ADDRESS, otherwise a Ray on this machine alone]",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="With --engine ray: number of workers.  [default: as many as there is room for]",
        ),
        click.option(
            "--worker-cpus",
            type=click.IntRange(1),
            help="With --engine ray: CPUs of a worker.  [default: as many as it gains from]",
        ),
        click.option(
            "--worker-gpus",
            type=click.IntRange(0),
            help="With --engine ray: GPUs of a worker.  [default: 1 where it gains from one]",
        ),
        click.option(
            "--worker-memory",
            type=click.FloatRange(0, min_open=True),
            metavar="GB",
            help="With --engine ray: memory that Ray reserves for a worker.  [default: what the "
            "work needs]",
        ),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_engine(
            *arguments: Any,
            engine: str,
            ray_address: str | None,
            workers: int | None,
            worker_cpus: int | None,
            worker_gpus: int | None,
            worker_memory: float | None,
            **others: Any,
        ) -> Any:
            chosen: str | RayEngine = engine
            if engine == "ray":
                chosen = RayEngine(ray_address, workers, worker_cpus, worker_gpus, worker_memory)
                chosen.check()  # before any other work
            else:
                names = ("ray_address", "workers", "worker_cpus", "worker_gpus", "worker_memory")
                notice_unused("--engine is not ray", *names)
            return command(*arguments, engine=chosen, **others)

        for option in reversed(options):
            with_engine = option(with_engine)
        return with_engine

    return decorate


top_option = click.option(
    "-n", "--top", type=click.IntRange(1), default=10, show_default=True, help="How many to show."
)

model_option = click.option(
    "--model",
    type=LocalPath(dir_okay=False),
    required=True,
    help="The .keras file of `clusterkit train classifier`.",
)
mode_option = click.option(
    "--mode",
    type=click.Choice(["copy", "link", "move"]),
    default="copy",
    show_default=True,
    help="How files are transferred; `clusterkit undo` reverses it.",
)
strict_option = click.option(
    "--strict",
    is_flag=True,
    help="Stop if files of the images are gone, rather than leave them out.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only print what would be done.")
image_size_option = click.option(
    "--image-size",
    type=click.IntRange(1),
    help="Side in pixels, for a network trained from scratch.  [default: 28 to 128, by network]",
)
augmentation_option = click.option(
    "--augmentation",
    metavar="NAME,...|none",
    callback=lambda _context, _option, value: _split_names(value),
    help=f"Augmentations for training from scratch: {', '.join(AUGMENTATIONS)}.  "
    "[default: by network]",
)
epochs_option = click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Maximum number of epochs; ignored if only the last layer is trained.  [default: 10 to "
    "80, by network]",
)
learning_rate_option = click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=1e-3,
    show_default=True,
    help="Initial learning rate; it decays to a hundredth along a cosine.  Ignored if only the "
    "last layer is trained.",
)
fine_tune_option = click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Number of top blocks of a keras.applications network to train with the last layer.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="For training from scratch; auto is bfloat16 on a GPU that supports it.",
)
tensorboard_option = click.option(
    "--tensorboard",
    type=LocalPath(file_okay=False),
    metavar="DIR",
    help="Folder of logs for `tensorboard --logdir DIR`.",
)
patience_option = click.option(
    "--patience",
    type=click.IntRange(1),
    help="Number of epochs without improvement before training stops; ignored if only the last "
    "layer is trained.  [default: a quarter of --epochs, 5 to 15; more for few images]",
)
test_split_option = click.option(
    "--test-split",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Fraction of the images held out as test set, unless FOLDER has one.",
)
validation_split_option = click.option(
    "--validation-split",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Fraction of the images used for early stopping, unless FOLDER has a validation set.",
)
balance_option = click.option(
    "--balance",
    type=click.Choice(["auto", "weights", "oversample", "none"]),
    default="auto",
    show_default=True,
    callback=lambda _context, _option, value: None if value == "none" else value,
    help="How to compensate for rare classes.  auto is weights if the largest class has more "
    "than twice the images of the smallest.",
)


class NumberedName(click.ParamType):
    """The name of a cluster, as NUMBER=NAME."""

    name = "NUMBER=NAME"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, str]:
        """Return the number and the name."""
        number, equals, name = value.partition("=")
        if not equals or not number.strip().isdecimal():
            self.fail(f"must be NUMBER=NAME. Received: {value!r}", param, ctx)
        return int(number), name.strip()


class ImageNumber(click.ParamType):
    """The cluster of an image, as IMAGE=NUMBER."""

    name = "IMAGE=NUMBER"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int]:
        """Return the image and the number."""
        image, _, number = value.rpartition("=")
        if not image or not re.fullmatch(r"-1|[0-9]+", number.strip(), re.ASCII):
            self.fail(f"must be IMAGE=NUMBER. Received: {value!r}", param, ctx)
        return image, int(number)


def as_dict(_context: Any, parameter: Any, pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the pairs of an option as a dict; each key has one value."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise click.BadParameter(f"{key} is given twice: {found[key]} and {value}")
    return found


def name_option(help: str) -> Decorator:  # noqa: A002 (click's word)
    """Return the option --name of a command that names clusters."""
    return click.option(
        "--name", "names", multiple=True, type=NumberedName(), callback=as_dict, help=help
    )


def into_option(help: str) -> Decorator:  # noqa: A002 (click's word)
    """Return the option --into of a command that sorts files."""
    return click.option("--into", type=LocalPath(file_okay=False), required=True, help=help)


stream_option = click.option(
    "--stream/--no-stream",
    default=None,
    help="Read the vectors part by part, or load them all.  [default: part by part if they take "
    "more than 1 GiB, or a quarter of the free memory]",
)


sample_option = click.option(
    "--sample",
    type=click.IntRange(3),
    metavar="N",
    help="Maximum number of images to use, drawn at random.  [default: 20,000 if the space is "
    "large, otherwise all]",
)


def read_space(store: Path, extractor: str | None, table: Path | None = None) -> "Embeddings":
    """Load the embeddings of a space; print which, if there are several spaces."""
    space = _choose_space(store, extractor, table)
    return _check_not_empty(space, space.read())


def open_vectors(
    store: Path, extractor: str | None, table: Path | None = None, *, stream: bool | None = None
) -> "Embeddings | VectorStream":
    """Load the embeddings of a space, or open them as a stream if they are many, with a notice."""
    space = _choose_space(store, extractor, table)
    if _is_streamed(space, stream):
        opened = space.stream()
        if len(opened):
            return opened
    return _check_not_empty(space, space.read())


def open_search(
    store: Path, extractor: str | None, *, stream: bool | None = None
) -> "Embeddings | Space":
    """Load the embeddings of a space; if they are many, return the space, to search it on disk."""
    space = _choose_space(store, extractor, None)
    if _is_streamed(space, stream) and space.vector_bytes:
        return space
    return _check_not_empty(space, space.read())


def _is_streamed(space: "Space", stream: bool | None) -> bool:
    """Return whether a space is read part by part; print a notice if that was not requested."""
    from clusterkit.store.store import is_large

    is_streamed = is_large(space) if stream is None else stream
    if is_streamed and stream is None:
        from clusterkit.utils.memory import format_gb

        notice(
            f"{space.folder.name} holds {format_gb(space.vector_bytes)} of vectors, which are read "
            "part by part: --no-stream loads them all."
        )
    return is_streamed


def _choose_space(store: Path, extractor: str | None, table: Path | None) -> "Space":
    """Return the space named by -e, else that of a table of clusters, else the default.

    Prints which, if there are several spaces.
    """
    from clusterkit.clustering.selection import find_space
    from clusterkit.store.store import Store

    found = Store(store)
    of_table = None if table is None or extractor is not None else find_space(table, found)
    space = of_table or found.space(extractor)
    if extractor is None and len(found.spaces()) > 1:
        if of_table is None:
            how = (
                "the default: choose another with -e, or for good with `clusterkit store use NAME`"
            )
        else:
            how = f"which {table} was made from: choose another with -e"
        notice(f"Using {space.folder.name}, {how}.")
    others = [] if extractor is None else [one.folder.name for one in found.spaces_of(extractor)]
    if others[1:]:
        notice(f"Using {others[0]}, the last embedded: also {extractor}: {', '.join(others[1:])}.")
    return space


def _check_not_empty(space: "Space", embeddings: "Embeddings") -> "Embeddings":
    """Return the embeddings; raise an error if there are none."""
    if not len(embeddings):
        reasons = "; ".join(f"{path}: {reason}" for path, reason in embeddings.failures[:3])
        raise click.ClickException(
            f"{space.folder} holds no embedded image" + (f" ({reasons})" if reasons else "") + ". "
            "Run `clusterkit embed` on readable images first"
        )
    return embeddings


def extractor_file(extractor: str | None) -> str | None:
    """Return the file named by -e, which also contains the weights; None for other extractors."""
    return extractor if extractor is not None and extractor.endswith(".keras") else None


def notice_unused(reason: str, *names: str) -> None:
    """Print which options, by their parameters, were given although they have no effect."""
    context = click.get_current_context()
    spelled = {parameter.name: parameter.opts[-1] for parameter in context.command.params}
    given = [
        spelled[name]
        for name in names
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        notice(f"Not used: {', '.join(given)}, since {reason}.")


def notice_names(
    groups: str, names_from: str | None, embeddings: "Embeddings | VectorStream"
) -> None:
    """Print where the names of clusters are from, or why there are none."""
    if names_from is None:
        notice(
            f"The {groups} have no names: these need ImageNet's classes of the images, such as "
            "`clusterkit embed FOLDER -e resnet50-predictions` adds."
        )
    elif embeddings.top5 is None:
        notice(f"The {groups}' names are from {names_from}.")


def _split_names(value: str | None) -> tuple[str, ...] | None:
    """Return the names between commas; "none" stands for no name."""
    if value is None:
        return None
    return () if value == "none" else tuple(name.strip() for name in value.split(","))
