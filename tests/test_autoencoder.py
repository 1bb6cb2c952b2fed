"""The autoencoder: what it learns, what its file contains, and which files it rejects."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from clusterkit.cli import main
from clusterkit.errors import InvalidInputError, OutputExistsError, WeightsError
from clusterkit.extractors import Autoencoder, create_extractor
from clusterkit.extractors.autoencoder.batches import PictureBatches, ScratchPixels
from clusterkit.extractors.autoencoder.extractor import load_autoencoder, read_metadata
from clusterkit.extractors.autoencoder.network import build_autoencoder, whiten
from clusterkit.extractors.autoencoder.training import AutoencoderTraining, train_autoencoder
from clusterkit.images.folder import ImageFolder

SIZE = 18  # not divisible by 2 ** depth
QUICK = {"image_size": SIZE, "depth": 2, "epochs": 4, "batch_size": 16, "random_state": 0}


def draw_discs(n: int) -> NDArray[np.uint8]:
    """Return pictures of a disc with a random colour and position."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    for image in images:
        row, column = rng.uniform(5, SIZE - 5, 2)
        disc = (y - row) ** 2 + (x - column) ** 2 < 16
        image[:] = np.where(disc[..., None], rng.integers(120, 256, 3), 20)
    return images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 valid images and a broken one."""
    folder = tmp_path_factory.mktemp("discs")
    for i, image in enumerate(draw_discs(40)):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AutoencoderTraining:
    """Train once for all tests."""
    output = tmp_path_factory.mktemp("model") / "ae.keras"
    return train_autoencoder(folder, output, **{k: np.int64(v) for k, v in QUICK.items()})


def test_training_learns_and_reports(trained: AutoencoderTraining) -> None:
    assert trained.images == 41
    assert [path for path, _ in trained.failures] == ["broken.png"]
    assert trained.epochs == len(trained.history["val_loss"]) == 4
    assert trained.history["val_loss"][-1] < trained.history["val_loss"][0] * 0.7
    assert trained.originals.shape == trained.reconstructions.shape == (4, SIZE, SIZE, 3)
    assert trained.originals.dtype == trained.reconstructions.dtype == np.uint8
    error = np.square(trained.originals / 255 - trained.reconstructions / 255)
    psnr = np.mean(-10 * np.log10(error.mean(axis=(1, 2, 3))))
    assert trained.psnr == pytest.approx(psnr, abs=0.05)
    json.dumps(trained.to_dict())


def test_extractor_is_the_encoder_alone(trained: AutoencoderTraining, folder: Path) -> None:
    extractor = create_extractor(trained.output, batch_size=16)
    assert isinstance(extractor, Autoencoder)
    files = [folder / f"{i:02}.png" for i in range(40)]
    vectors = extractor.transform(files)
    assert vectors.dtype == np.float32
    assert vectors.shape == (40, extractor.dimension) == (40, trained.latent_size)
    np.testing.assert_allclose(extractor.transform(draw_discs(40)), vectors, atol=1e-5)
    assert extractor.resize == "stretch"
    np.testing.assert_array_equal(extractor.reconstruct(trained.originals), trained.reconstructions)
    with pytest.raises(InvalidInputError, match=r"takes uint8 images .* Received: float64"):
        extractor.reconstruct(trained.originals / 255)


def test_same_seed_same_network_from_files_and_pixels(
    trained: AutoencoderTraining, tmp_path: Path
) -> None:
    again = train_autoencoder(draw_discs(40), tmp_path / "again.keras", **QUICK)
    assert again.history == trained.history
    one, two = (load_autoencoder(report.output).get_weights() for report in (trained, again))
    for weights, others in zip(one, two, strict=True):
        np.testing.assert_array_equal(weights, others)


def test_grey_noise_stops_the_training_early(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (24, 9, 8), dtype=np.uint8)
    report = train_autoencoder(
        grey,
        tmp_path / "grey.keras",
        latent_size=5,
        depth=1,
        epochs=30,
        patience=1,
        batch_size=4,
        random_state=0,
    )
    assert report.epochs < 30
    assert report.best_epoch == 1 + int(np.argmin(report.history["val_loss"]))
    assert report.image_size == (9, 8)
    assert Autoencoder(report.output).transform(np.stack([grey] * 3, -1)).shape == (24, 5)


@pytest.mark.parametrize("latent_size", [None, 6])
def test_whitening_changes_the_vectors_and_not_the_pictures(latent_size: int | None) -> None:
    model = build_autoencoder((SIZE, SIZE), latent_size=latent_size, depth=2, width=8)
    encoder = keras.Model(model.input, model.get_layer("latent").output)
    images = draw_discs(200)
    before = np.asarray(model(images))
    whiten(model, np.asarray(encoder(images)))
    np.testing.assert_allclose(model(images), before, atol=1e-4)
    vectors = np.asarray(encoder(images)).reshape(-1, latent_size or 8)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=0.02)
    correlation = np.corrcoef(vectors.T)
    np.testing.assert_allclose(correlation, np.eye(len(correlation)), atol=0.05)


@pytest.mark.parametrize("images", [draw_discs(1), draw_discs(1).repeat(9, axis=0)])
def test_images_that_do_not_differ_leave_the_scale_of_vectors(images: NDArray[np.uint8]) -> None:
    model = build_autoencoder((SIZE, SIZE), latent_size=6, depth=2, width=8)
    encoder = keras.Model(model.input, model.get_layer("latent").output)
    others = draw_discs(20)
    before, distances = np.asarray(model(others)), _distances(encoder(others))
    whiten(model, np.asarray(encoder(images)))
    np.testing.assert_allclose(model(others), before, atol=1e-4)
    np.testing.assert_allclose(_distances(encoder(others)), distances, rtol=1e-3)


def _distances(vectors: Any) -> NDArray[np.float64]:
    """Return the distances of all vectors to the first."""
    vectors = np.asarray(vectors, np.float64)
    distances: NDArray[np.float64] = np.linalg.norm(vectors[1:] - vectors[0], axis=1)
    return distances


def test_file_describes_itself_without_keras(trained: AutoencoderTraining) -> None:
    code = (
        "import sys; from clusterkit.extractors import Autoencoder;"
        f"a = Autoencoder({str(trained.output)!r}); print(a.image_size, a.dimension, a.resize);"
        "a.fingerprint; assert 'keras' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"({SIZE},", f"{SIZE})", str(trained.latent_size), "stretch"]
    metadata = read_metadata(trained.output)
    assert metadata["parameters"]["random_state"] == 0
    assert metadata["training"]["psnr"] == trained.psnr


def test_fingerprint_is_that_of_the_file(trained: AutoencoderTraining, tmp_path: Path) -> None:
    copy = shutil.copy(trained.output, tmp_path / "copy.keras")
    fingerprint = Autoencoder(trained.output).fingerprint
    assert Autoencoder(copy, batch_size=1).fingerprint == fingerprint
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr("more", "bytes")
    assert Autoencoder(copy).fingerprint != fingerprint


def test_files_that_are_refused(trained: AutoencoderTraining, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="train autoencoder"):
        Autoencoder(tmp_path / "none.keras").image_size  # noqa: B018
    text = tmp_path / "text.keras"
    text.write_text("not a zip")
    content = trained.output.read_bytes()
    cut = tmp_path / "cut.keras"
    cut.write_bytes(content[: len(content) // 2])
    flipped = tmp_path / "flipped.keras"
    middle = len(content) // 2
    flipped.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    for file in (text, cut, flipped):
        with pytest.raises(WeightsError, match=f"{file.name} is damaged"):
            Autoencoder(file).fingerprint  # noqa: B018
    foreign = tmp_path / "foreign.keras"
    build_autoencoder((8, 8), depth=1, width=1).save(foreign)
    with pytest.raises(WeightsError, match=r"not a clusterkit autoencoder"):
        Autoencoder(foreign).transform(np.zeros((1, 8, 8, 3), np.uint8))


def test_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    newer = tmp_path / "newer.keras"
    with zipfile.ZipFile(newer, "w") as archive:
        archive.writestr("clusterkit.json", json.dumps({"format": 99}))
    with pytest.raises(WeightsError, match="upgrade clusterkit"):
        read_metadata(newer)


def test_nothing_is_overwritten_or_left_behind(trained: AutoencoderTraining, folder: Path) -> None:
    with pytest.raises(OutputExistsError):
        train_autoencoder(ImageFolder(folder), trained.output, **QUICK)
    assert [file.name for file in trained.output.parent.iterdir()] == [trained.output.name]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"latent_size": 0}, "latent_size=0"),
        ({"depth": 6}, "at least 2"),
        ({"epochs": 0}, "epochs=0"),
        ({"validation_split": 1.0}, "validation_split=1.0"),
        ({"resize": "squeeze"}, "squeeze"),
    ],
)
def test_parameters_out_of_range(
    folder: Path, tmp_path: Path, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        train_autoencoder(ImageFolder(folder), tmp_path / "x.keras", **QUICK | parameters)
    with pytest.raises(InvalidInputError, match=message):
        train_autoencoder(draw_discs(4), tmp_path / "x.keras", **QUICK | parameters)
    assert not list(tmp_path.iterdir())


def test_no_images_are_reconstructed_as_none(trained: AutoencoderTraining) -> None:
    none = np.empty((0, *trained.image_size, 3), np.uint8)
    assert Autoencoder(trained.output).reconstruct(none).shape == none.shape


def test_images_that_cannot_teach(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\.keras"):
        train_autoencoder(draw_discs(4), tmp_path / "ae.h5")
    with pytest.raises(InvalidInputError, match="float64"):
        train_autoencoder(draw_discs(4) / 255, tmp_path / "x.keras")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match=r"at least 2 readable.*broken\.png"):
        train_autoencoder(ImageFolder(tmp_path), tmp_path / "x.keras", **QUICK)


def test_training_batches_are_shuffled_and_shifted_validation_is_not() -> None:
    images = draw_discs(10)
    rows = np.arange(10)
    batch, target = PictureBatches(images, rows, 10)[0]
    np.testing.assert_array_equal(batch, images)
    np.testing.assert_allclose(target, images / 255, atol=1e-6)
    training = PictureBatches(images, rows, 4, random_state=0)
    assert len(training) == 3
    assert sorted(training.rows) == list(rows)
    assert list(training.rows) != list(rows)
    batch, target = training[0]
    np.testing.assert_allclose(target, batch / 255, atol=1e-6)
    assert (batch != images[training.rows[:4]]).any()


def test_scratch_pixels_return_what_was_appended(tmp_path: Path) -> None:
    images = draw_discs(7)
    with ScratchPixels(tmp_path, images.shape[1:]) as pixels:
        pixels.append(images[:4])
        pixels.append(images[4:])
        assert len(pixels) == 7
        np.testing.assert_array_equal(pixels[np.array([6, 0, 3])], images[[6, 0, 3]])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untrained")
def test_command_writes_network_and_pictures(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "ae.keras"
    options = ["--image-size", "16", "--depth", "1", "--epochs", "1", "--latent-size", "4"]
    arguments = ["train", "autoencoder", str(folder), "-o", str(output), *options, "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["output"] == str(output)
    assert report["epochs"] == 1
    assert {"loss", "val_loss", "psnr", "seconds"} <= report.keys()
    assert (report["images"], report["failed"], report["latent_size"]) == (41, 1, 4)
    assert report["failures"][0]["path"] == "broken.png"
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["ae-loss.png", "ae-reconstructions.png", "ae.keras"]
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "exists" in again.stderr
