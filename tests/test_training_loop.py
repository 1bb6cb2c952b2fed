"""The loop that trains every network."""

import keras
import numpy as np
import pytest

from clusterkit.networks.training import BestEpoch, compile_network, fit_epochs


class Batches(keras.utils.PyDataset):
    """Six rows in two batches."""

    inputs = np.random.default_rng(0).uniform(size=(6, 3)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0, 1]]

    def __init__(self) -> None:
        super().__init__()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(4 * index, 4 * index + 4)
        return self.inputs[rows], self.targets[rows]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces")
@pytest.mark.parametrize("has_metric", [True, False])
def test_a_step_is_traced_once(has_metric: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
    traced = []
    step = model.train_step
    monkeypatch.setattr(model, "train_step", lambda data: traced.append(data) or step(data))
    metrics = [keras.metrics.CategoricalAccuracy("accuracy")] if has_metric else []
    compile_network(model, keras.optimizers.Adam(0.1), "mse", metrics)
    best = BestEpoch(patience=3)
    batches = Batches()
    fit_epochs(model, batches, (batches.inputs, batches.targets), best, n_images=6, epochs=3)
    assert len(traced) == 1
    assert best.n_epochs == 3
    assert best.history["loss"][-1] < best.history["loss"][0]
