"""TensorFlow sessions without importing TensorFlow, which takes longer than embedding 20 photos.

They call its C interface, which is public and stable, in the libraries that TensorFlow installs:
loading those takes a tenth of the time.  Where they are not found, as on Windows, TensorFlow is
imported.
"""

import ctypes
import importlib.util
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext, suppress
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ClusterkitError
from clusterkit.utils.silence import silenced_stderr

# Fields of TensorFlow's ConfigProto, GraphOptions and RewriterConfig, from their .proto files.
_FIELDS = {
    "intra_op_parallelism_threads": 2,
    "inter_op_parallelism_threads": 5,
    "use_per_session_threads": 9,
    "graph_options": 10,
    "rewrite_options": 10,
    "layout_optimizer": 1,
    "memory_optimization": 4,
    "arithmetic_optimization": 7,
    "dependency_optimization": 8,
    "loop_optimization": 9,
    "function_optimization": 10,
    "meta_optimizer_iterations": 12,
    "shape_optimization": 13,
    "scoped_allocator_optimization": 15,
    "pin_to_host_optimization": 18,
    "implementation_selector": 22,
    "common_subgraph_elimination": 24,
    "auto_mixed_precision_onednn_bfloat16": 31,
}
_FLOAT, _UINT8 = 1, 4
_LIBRARIES = {"linux": "libtensorflow_cc.so.2", "darwin": "libtensorflow_cc.2.dylib"}

# From pixels of shape (n, height, width, 3), uint8, to outputs of shape (n, length), float32.
Session = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]


class InvalidGraphError(ClusterkitError):
    """Bytes that are not a graph, or a graph without the required inputs and outputs."""


def encode_config(options: dict[str, Any]) -> bytes:
    """Return options of a session as the protocol buffer that TensorFlow reads.

    Parameters
    ----------
    options : dict
        Names of :data:`_FIELDS`, with numbers or dictionaries of such options.
    """
    encoded = b""
    for name, value in options.items():
        if isinstance(value, dict):
            inner = encode_config(value)
            encoded += _varint(_FIELDS[name] << 3 | 2) + _varint(len(inner)) + inner
        else:
            encoded += _varint(_FIELDS[name] << 3) + _varint(int(value))
    return encoded


def _varint(number: int) -> bytes:
    """Return a number that is not negative, seven bits to a byte."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


class OpenGraph:
    """A graph of constants that sessions can be opened for.

    Parameters
    ----------
    content : bytes
        The graph, as a serialised ``GraphDef``.
    images : str
        Name of the operation that takes the images.
    output : str
        Prefix of the names of the output operations, before their numbers.

    Raises
    ------
    InvalidGraphError
        If it is not a graph, or lacks these operations.
    """

    def __init__(self, content: bytes, images: str, output: str) -> None:
        self._graph = (_NativeGraph if _library() else _ImportedGraph)(content, images, output)

    def open_session(self, config: bytes) -> Session:
        """Return a session with options of :func:`encode_config`, for one thread at a time."""
        return self._graph.open_session(config)


@lru_cache
def _library() -> ctypes.CDLL | None:
    """Return TensorFlow's library; None if it is not where its wheels for this system have it."""
    found = importlib.util.find_spec("tensorflow")
    name = _LIBRARIES.get(sys.platform)
    if name is None or found is None or found.origin is None:
        return None
    # As commands set it; in a notebook TensorFlow prints the same as when it is imported.
    is_quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3"
    try:
        # It prints its findings about the machine at any level.
        with silenced_stderr() if is_quiet else nullcontext():
            library = ctypes.CDLL(str(Path(found.origin).parent / name))
            _Calls(library).new_graph()
    except (OSError, AttributeError):
        return None
    return library


class _Output(ctypes.Structure):
    """``TF_Output``: an operation, and which of its outputs."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class _NativeGraph:
    """A graph in the C interface."""

    def __init__(self, content: bytes, images: str, output: str) -> None:
        self._call = call = _Calls(_library())
        self._graph = call.new_graph()
        # A session also owns the graph: either may be freed first.
        weakref.finalize(self, call.delete_graph, self._graph).atexit = False
        buffer = call.new_buffer(content, len(content))
        options = call.new_import_options()
        try:
            call.checked(call.import_graph, self._graph, buffer, options)
        except ClusterkitError as error:
            raise InvalidGraphError(str(error)) from error
        finally:
            call.delete_import_options(options)
            call.delete_buffer(buffer)
        self._inputs = (_Output * 1)(self._find(images))
        outputs: list[_Output] = []
        while call.find_operation(self._graph, f"{output}{len(outputs)}".encode()):
            outputs.append(self._find(f"{output}{len(outputs)}"))
        if not outputs:
            raise InvalidGraphError("no outputs")
        self._outputs = (_Output * len(outputs))(*outputs)

    def _find(self, name: str) -> _Output:
        """Return the output of an operation."""
        operation = self._call.find_operation(self._graph, name.encode())
        if not operation:
            raise InvalidGraphError(f"no operation {name}")
        return _Output(operation, 0)

    def open_session(self, config: bytes) -> Session:
        """Return a session."""
        call = self._call
        options = call.new_session_options()
        try:
            call.checked(call.set_config, options, config, len(config))
            session = call.checked(call.new_session, self._graph, options)
        finally:
            call.delete_session_options(options)
        n_outputs = len(self._outputs)

        def close() -> None:
            """Free the session, which takes several times the memory of the weights."""
            with suppress(ClusterkitError):
                call.checked(call.close_session, session)
                call.checked(call.delete_session, session)

        def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            images = np.ascontiguousarray(images)
            shape = (c_int64 * images.ndim)(*images.shape)
            pixels = call.new_tensor(_UINT8, shape, images.ndim, images.nbytes)
            found = (c_void_p * n_outputs)()
            try:
                ctypes.memmove(call.data_of(pixels), images.ctypes.data, images.nbytes)
                call.checked(
                    call.run_session,
                    *(session, None, self._inputs, (c_void_p * 1)(pixels), 1),
                    *(self._outputs, found, n_outputs, None, 0, None),
                )
                return [self._read(tensor) for tensor in found]
            finally:
                for tensor in (pixels, *filter(None, found)):
                    call.delete_tensor(tensor)

        weakref.finalize(run, close).atexit = False
        return run

    def _read(self, tensor: int | None) -> NDArray[np.float32]:
        """Return a copy of the values of a tensor."""
        call = self._call
        if call.type_of(tensor) != _FLOAT:
            raise InvalidGraphError("outputs that are not float32")
        shape = [call.length_of(tensor, axis) for axis in range(call.n_axes_of(tensor))]
        values = ctypes.cast(call.data_of(tensor), POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(values, shape).copy()


class _Calls:
    """Functions of the C interface, as ``tensorflow/c/c_api.h`` declares them."""

    def __init__(self, library: Any) -> None:
        def declare(name: str, result: Any, *arguments: Any) -> Any:
            function = getattr(library, f"TF_{name}")
            function.restype, function.argtypes = result, arguments
            return function

        pointer, outputs, tensors = c_void_p, POINTER(_Output), POINTER(c_void_p)
        self._new_status = declare("NewStatus", pointer)
        self._code_of = declare("GetCode", c_int, pointer)
        self._message_of = declare("Message", c_char_p, pointer)
        self._delete_status = declare("DeleteStatus", None, pointer)
        self.new_buffer = declare("NewBufferFromString", pointer, c_char_p, c_size_t)
        self.delete_buffer = declare("DeleteBuffer", None, pointer)
        self.new_graph = declare("NewGraph", pointer)
        self.new_import_options = declare("NewImportGraphDefOptions", pointer)
        self.delete_import_options = declare("DeleteImportGraphDefOptions", None, pointer)
        self.import_graph = declare("GraphImportGraphDef", None, *[pointer] * 4)
        self.find_operation = declare("GraphOperationByName", pointer, pointer, c_char_p)
        self.new_session_options = declare("NewSessionOptions", pointer)
        self.delete_session_options = declare("DeleteSessionOptions", None, pointer)
        self.set_config = declare("SetConfig", None, pointer, c_char_p, c_size_t, pointer)
        self.new_session = declare("NewSession", pointer, *[pointer] * 3)
        self.close_session = declare("CloseSession", None, pointer, pointer)
        self.delete_session = declare("DeleteSession", None, pointer, pointer)
        self.delete_graph = declare("DeleteGraph", None, pointer)
        self.new_tensor = declare(
            "AllocateTensor", pointer, c_int, POINTER(c_int64), c_int, c_size_t
        )
        self.delete_tensor = declare("DeleteTensor", None, pointer)
        self.data_of = declare("TensorData", pointer, pointer)
        self.type_of = declare("TensorType", c_int, pointer)
        self.n_axes_of = declare("NumDims", c_int, pointer)
        self.length_of = declare("Dim", c_int64, pointer, c_int)
        self.run_session = declare(
            "SessionRun",
            None,
            *(pointer, pointer, outputs, tensors, c_int, outputs, tensors, c_int),
            *(tensors, c_int, pointer, pointer),
        )

    def checked(self, function: Any, *arguments: Any) -> Any:
        """Call a function that takes a status last, and raise an error if it failed."""
        status = self._new_status()
        try:
            result = function(*arguments, status)
            if self._code_of(status):
                message = self._message_of(status).decode(errors="replace")
                raise ClusterkitError(f"TensorFlow cannot run the network: {message[:300]}")
            return result
        finally:
            self._delete_status(status)


class _ImportedGraph:
    """A graph in TensorFlow's own Python interface."""

    def __init__(self, content: bytes, images: str, output: str) -> None:
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        self._graph = tf.Graph()
        self._images = f"{images}:0"
        self._outputs: list[str] = []
        try:
            with self._graph.as_default():
                tf.import_graph_def(tf.compat.v1.GraphDef.FromString(content), name="")
            names = {operation.name for operation in self._graph.get_operations()}
        except (DecodeError, ValueError) as error:
            raise InvalidGraphError(str(error)) from error
        while f"{output}{len(self._outputs)}" in names:
            self._outputs.append(f"{output}{len(self._outputs)}:0")
        if images not in names or not self._outputs:
            raise InvalidGraphError("no images or outputs")

    def open_session(self, config: bytes) -> Session:
        """Return a session."""
        import tensorflow as tf

        options = tf.compat.v1.ConfigProto.FromString(config)
        session = tf.compat.v1.Session(graph=self._graph, config=options)

        def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            outputs: list[NDArray[np.float32]] = session.run(self._outputs, {self._images: images})
            return outputs

        return run
