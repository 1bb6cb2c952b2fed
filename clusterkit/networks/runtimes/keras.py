"""Run a network with the Keras backend."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.images.batches import pad_batch
from clusterkit.networks.runtimes.base import NetworkSource, Run
from clusterkit.networks.runtimes.graph import open_graph, run_graph
from clusterkit.utils.imports import keras_backend
from clusterkit.utils.parallel import describe_processor, has_gpu


class KerasRuntime:
    """A network run by Keras with any backend, on CPU or GPU.

    Parameters
    ----------
    source : NetworkSource
        The network.
    """

    name = "keras"

    def __init__(self, source: NetworkSource) -> None:
        self._source = source
        self._is_graph = keras_backend() == "tensorflow" and not has_gpu()
        self._network = open_graph(source) if self._is_graph else source.build("float32")

    @property
    def has_bfloat16(self) -> bool:
        """Whether the GPU, or the CPU under TensorFlow, computes in bfloat16."""
        if has_gpu():
            return gpu_has_bfloat16()
        # Other backends emulate bfloat16 on the CPU, which is slower than float32.
        return keras_backend() == "tensorflow" and _cpu_has_bfloat16()

    def compile(self, precision: str, batch_size: int) -> Run:
        """Return the function that runs batches of up to ``batch_size`` images."""
        if self._is_graph:
            return run_graph(self._network, precision)
        if precision == "float32":
            return _predict(self._network, batch_size)
        return _predict(self._source.build("mixed_bfloat16"), batch_size)


def gpu_has_bfloat16() -> bool:
    """Return whether Keras' backend uses a GPU with bfloat16."""
    backend = keras_backend()
    return has_gpu() and backend in _GPU_CHECKS and _GPU_CHECKS[backend]()


def _predict(model: Any, batch_size: int) -> Run:
    """Run batches of one size through ``predict_on_batch``; other sizes would be retraced."""

    def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        outputs = model.predict_on_batch(pad_batch(images, batch_size))
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return [output[: len(images)] for output in outputs]

    return run


def _cpu_has_bfloat16() -> bool:
    """Return whether an x86 processor has bfloat16 instructions; False if unknown."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(describe_processor().split())


def _tensorflow_gpu_has_bfloat16() -> bool:
    """Return whether TensorFlow's GPU has compute capability 8.0, required for bfloat16."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return bool(gpus) and all(one.get("compute_capability", (0, 0)) >= (8, 0) for one in details)


def _jax_gpu_has_bfloat16() -> bool:
    """Return whether JAX's GPU or TPU supports bfloat16; every TPU does."""
    import jax

    device = jax.devices()[0]
    return device.platform == "tpu" or float(getattr(device, "compute_capability", 0)) >= 8.0


def _torch_gpu_has_bfloat16() -> bool:
    """Return whether PyTorch's GPU supports bfloat16."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


_GPU_CHECKS = {
    "tensorflow": _tensorflow_gpu_has_bfloat16,
    "jax": _jax_gpu_has_bfloat16,
    "torch": _torch_gpu_has_bfloat16,
}


@contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Set the Keras dtype policy within a context."""
    from keras import config

    before = config.dtype_policy()
    config.set_dtype_policy(policy)
    try:
        yield
    finally:
        config.set_dtype_policy(before)


def to_computed(inputs: NDArray[Any]) -> NDArray[Any]:
    """Return float16 as float32: activations are stored in float16, and computed in float32."""
    return inputs.astype(np.float32) if inputs.dtype == np.float16 else inputs


def run_network(model: Any, inputs: NDArray[Any], batch_size: int = 256) -> NDArray[np.float32]:
    """Run a network on inputs, in batches of one size: Keras traces a network for each size."""
    outputs = []
    for start in range(0, len(inputs), batch_size):
        part = to_computed(inputs[start : start + batch_size])
        outputs.append(np.asarray(model.predict_on_batch(pad_batch(part, batch_size)))[: len(part)])
    return np.concatenate(outputs)
