"""Run a network with TensorFlow on the CPU, as a graph of constants that the cache keeps.

With constant weights TensorFlow folds batch normalisation into the convolutions and keeps chains of
layers in bfloat16, 1.7 times as fast as a model of the policy ``mixed_bfloat16``.  A graph from the
cache needs neither building nor tracing: Xception starts 3 s earlier.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread, local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.networks.runtimes.base import NetworkSource, Run
from clusterkit.networks.runtimes.cache import cached_path
from clusterkit.utils.files import write_whole
from clusterkit.utils.parallel import count_cpus

_IMAGES, _OUTPUT = "images", "output_"
# Maximum number of images that a processor computes at once.
_CHUNK = 8
# Each session takes about four times the memory of the weights.
_MOST_SESSIONS = 4
# Rewriters of TensorFlow that are on by default.
_NO_GAIN = (
    "arithmetic_optimization",
    "common_subgraph_elimination",
    "dependency_optimization",
    "function_optimization",
    "implementation_selector",
    "layout_optimizer",
    "loop_optimization",
    "pin_to_host_optimization",
    "scoped_allocator_optimization",
    "shape_optimization",
)


def open_graph(source: NetworkSource) -> Any:
    """Return a network as a graph: from the cache, or built, traced and kept.

    Parameters
    ----------
    source : NetworkSource
        The network.

    Returns
    -------
    tf.Graph
        Pixels and outputs have the names that :func:`run_graph` expects.
    """
    path = cached_path("tensorflow", source, library="tensorflow")
    file = path.with_name(f"{path.name}.pb")
    graph = _read(file)
    if graph is None:
        graph = _trace(source.build("float32"))
        # The first images need not wait for it, and the process ends when it is done.
        Thread(target=_keep, args=(graph, file), name="keep graph").start()
    return graph


def run_graph(graph: Any, precision: str) -> Run:
    """Return the function that runs batches of any size.

    A batch is split into chunks of a few images, one at a time for each of up to four threads:
    those that share the work of each layer wait for each other, and took a tenth more time on two
    processors.  Each thread has a session, and so layers, of its own: a convolution of oneDNN that
    adds a residual keeps its operands in the layer, so that two threads in one session overwrote
    each other's results, or crashed.

    Parameters
    ----------
    graph : tf.Graph
        The network.
    precision : {"float32", "bfloat16"}
        Of the layers; outputs are float32.
    """
    import tensorflow as tf

    n_sessions = min(count_cpus(), _MOST_SESSIONS)
    # A session has its own options; tf.config would affect the whole process.
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=count_cpus() // n_sessions,
        inter_op_parallelism_threads=1,
        use_per_session_threads=True,
    )
    options = config.graph_options.rewrite_options
    # Folding and fusing are all that is gained from, and the other rewriters take seconds.
    for name in _NO_GAIN:
        setattr(options, name, options.OFF)
    options.memory_optimization = options.NO_MEM_OPT
    if precision == "bfloat16":
        # What is converted is fused in a second iteration, with fewer dependencies in the way:
        # otherwise ResNet50 takes a quarter more time.
        options.auto_mixed_precision_onednn_bfloat16 = options.ON
        options.dependency_optimization = options.ON
    else:
        options.meta_optimizer_iterations = options.ONE
    names = [f"{operation.name}:0" for operation in _outputs(graph)]
    own = local()

    def start() -> None:
        """Open the session of a thread."""
        own.session = tf.compat.v1.Session(graph=graph, config=config)

    def compute(some: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run one chunk."""
        outputs: list[NDArray[np.float32]] = own.session.run(names, {f"{_IMAGES}:0": some})
        return outputs

    threads = ThreadPoolExecutor(n_sessions, initializer=start)

    def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        chunk = min(_CHUNK, -(-len(images) // n_sessions))
        chunks = (images[start : start + chunk] for start in range(0, len(images), chunk))
        runs = threads.map(compute, chunks)
        return [np.concatenate(outputs) for outputs in zip(*runs, strict=True)]

    return run


def _trace(model: Any) -> Any:
    """Return the graph of a Keras model, with its weights as constants."""
    import tensorflow as tf

    groups = model.trainable_variables, model.non_trainable_variables
    values = [[variable.numpy() for variable in variables] for variables in groups]
    # The graph of a tf.function, without the function, which would copy the constants twice more.
    traced = tf.__internal__.FuncGraph("network")
    with traced.as_default():
        images = tf.compat.v1.placeholder(tf.uint8, model.input.shape, name=_IMAGES)
        constants = ([tf.constant(value) for value in group] for group in values)
        outputs = model.stateless_call(*constants, images, training=False)[0]
        for i, output in enumerate(outputs if isinstance(outputs, list) else [outputs]):
            tf.identity(output, f"{_OUTPUT}{i}")
    # Threads cannot run that graph at the same time: each enters it, and leaves it for the others,
    # too.
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(traced.as_graph_def(), name="")
    return graph


def _outputs(graph: Any) -> list[Any]:
    """Return the operations of the outputs, in order."""
    named = [each for each in graph.get_operations() if each.name.startswith(_OUTPUT)]
    return sorted(named, key=lambda each: int(each.name.removeprefix(_OUTPUT)))


def _read(file: Path) -> Any:
    """Return a graph of the cache; None if there is none, or it is damaged."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph = tf.Graph()
    with suppress(OSError, DecodeError, ValueError), graph.as_default():
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(file.read_bytes()), name="")
        if _outputs(graph):
            return graph
    return None


def _keep(graph: Any, file: Path) -> None:
    """Write a graph into the cache; without it each run builds its own."""
    with suppress(OSError, InvalidInputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, graph.as_graph_def().SerializeToString())
