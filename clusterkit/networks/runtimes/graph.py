"""Run a network with TensorFlow on the CPU, as a cached graph of constants.

With constant weights TensorFlow folds batch normalisation into the convolutions and keeps chains of
layers in bfloat16, 1.7 times as fast as a model of the policy ``mixed_bfloat16``.  A graph from the
cache needs neither building nor tracing, nor Keras and TensorFlow to be imported.
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
from clusterkit.networks.runtimes.sessions import InvalidGraphError, OpenGraph, encode_config
from clusterkit.utils.files import write_whole
from clusterkit.utils.parallel import count_cpus

_IMAGES, _OUTPUT = "images", "output_"
# Maximum number of images that a processor computes at once.
_CHUNK = 8
# Each session takes about four times the memory of the weights.
_MAX_SESSIONS = 4
# Values of TensorFlow's RewriterConfig.
_ON, _OFF, _NO_MEMORY_OPTIMIZATION, _ONE_ITERATION = 1, 2, 1, 1
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


def open_graph(source: NetworkSource) -> OpenGraph:
    """Return a network as a graph: from the cache, or built, traced and kept.

    Parameters
    ----------
    source : NetworkSource
        The network.

    Returns
    -------
    OpenGraph
        What :func:`run_graph` takes.
    """
    path = cached_path("tensorflow", source, library="tensorflow")
    file = path.with_name(f"{path.name}.pb")
    # A damaged file counts as missing.
    with suppress(OSError, InvalidGraphError):
        return OpenGraph(file.read_bytes(), _IMAGES, _OUTPUT)
    content = _trace(source.build("float32"))
    # Written in a thread, so that the first images need not wait; the process waits for it at its
    # end.
    Thread(target=_keep, args=(content, file), name="keep graph").start()
    return OpenGraph(content, _IMAGES, _OUTPUT)


def run_graph(graph: OpenGraph, precision: str) -> Run:
    """Return the function that runs batches of any size.

    A batch is split into chunks of a few images, one at a time for each of up to four threads:
    threads that share the work of each layer wait for each other, and took a tenth more time on two
    processors.  Each thread has its own session and thus layers: a oneDNN convolution that adds a
    residual keeps its operands in the layer, so that two threads in one session overwrote each
    other's results, or crashed.

    Parameters
    ----------
    graph : OpenGraph
        The network.
    precision : {"float32", "bfloat16"}
        Data type of the layers; outputs are float32.
    """
    n_sessions = min(count_cpus(), _MAX_SESSIONS)
    # All sessions of a process share the threads for parts of a layer, and the first one decides
    # their number: an image that comes alone uses all processors, too.
    config = session_config(precision, count_cpus())
    own = local()

    def start() -> None:
        """Open the session of a thread."""
        own.run = graph.open_session(config)

    def compute(some: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run one chunk."""
        outputs: list[NDArray[np.float32]] = own.run(some)
        return outputs

    threads = ThreadPoolExecutor(n_sessions, initializer=start)

    def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        chunk = min(_CHUNK, -(-len(images) // n_sessions))
        chunks = (images[start : start + chunk] for start in range(0, len(images), chunk))
        runs = threads.map(compute, chunks)
        return [np.concatenate(outputs) for outputs in zip(*runs, strict=True)]

    return run


def session_config(precision: str, n_threads: int) -> bytes:
    """Return the options of a session, which do not affect others of the process.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
        Of the layers.
    n_threads : int
        Threads that share the work of a layer.
    """
    # Only folding and fusing help, and the other rewriters take seconds.
    rewrites = dict.fromkeys(_NO_GAIN, _OFF) | {"memory_optimization": _NO_MEMORY_OPTIMIZATION}
    if precision == "bfloat16":
        # Converted nodes are fused in a second iteration, when fewer dependencies prevent it:
        # otherwise ResNet50 takes a quarter more time.
        rewrites |= {"auto_mixed_precision_onednn_bfloat16": _ON, "dependency_optimization": _ON}
    else:
        rewrites |= {"meta_optimizer_iterations": _ONE_ITERATION}
    return encode_config(
        {
            "intra_op_parallelism_threads": n_threads,
            "inter_op_parallelism_threads": 1,
            "use_per_session_threads": True,
            "graph_options": {"rewrite_options": rewrites},
        }
    )


def _trace(model: Any) -> bytes:
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
    content: bytes = traced.as_graph_def().SerializeToString()
    return content


def _keep(content: bytes, file: Path) -> None:
    """Write a graph into the cache; without it, each run builds its own."""
    with suppress(OSError, InvalidInputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
