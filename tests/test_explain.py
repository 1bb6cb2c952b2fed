"""Explanations of two images: where they match, what they have in common, and the role of tone."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.embedding.embed import embed
from clusterkit.errors import SpaceMismatchError
from clusterkit.extractors import Extraction, Extractor, create_extractor
from clusterkit.images.tone import Tone, give_tone, measure_tone
from clusterkit.plots import ExplanationDisplay, save_figure
from clusterkit.similarity.explanation import explain_vectors
from clusterkit.similarity.scaling import unit_rows
from clusterkit.similarity.similar import explain
from clusterkit.similarity.tone_share import ToneInfluence, Version, rank_pair
from clusterkit.store.embeddings import Embeddings
from tests.stores import make_photos


class MeanColour(Extractor):
    """A network that sees only the colour tone."""

    name = "mean-colour"
    image_size = (16, 16)
    dimension = 6

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        values = images.reshape(len(images), -1, 3) / 127.5 - 1
        return Extraction(np.concatenate([values.mean(axis=1), values.std(axis=1) - 0.4], axis=1))


class Edges(Extractor):
    """A network that sees which pixels are lighter than their neighbours, but not the tone."""

    name = "edges"
    image_size = (16, 16)
    dimension = 16 * 15

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        steps = np.diff(images.astype(np.float32).mean(axis=3), axis=2)
        return Extraction(np.sign(steps).reshape(len(images), -1))


def draw(seed: int) -> NDArray[np.uint8]:
    """Return a picture with random content and tone."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(80, 176, (16, 16, 3))
    return np.clip(colours + rng.integers(-60, 60, 3), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return pictures: ``same-tone.png`` has the tone of ``00.png``, ``again.png`` its content."""
    folder = tmp_path_factory.mktemp("photos")
    pictures = {f"{i:02}.png": draw(i) for i in range(12)}
    tone = measure_tone(pictures["00.png"])
    pictures["same-tone.png"] = give_tone(draw(99), tone)
    other = Tone(tone.mean + np.array([12, -25, 25]), tone.spread)
    pictures["again.png"] = give_tone(pictures["00.png"], other)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    return folder


def test_a_space_of_tones_says_so(photos: Path) -> None:
    extractor = MeanColour()
    emb = embed(photos, extractor)
    found = explain("00.png", "same-tone.png", emb, extractor=extractor, random_state=0)
    assert found.similarity > 0.99
    assert found.tone is not None
    assert found.tone.verdict == "most"
    assert found.summary.startswith("0.99 similar, closer than ") or found.summary.startswith(
        "1.00"
    )
    assert "; most of it is colour tone: " in found.summary
    assert found.missing == ()
    # Another picture of the same content has another tone: nothing that this space would see.
    again = explain("00.png", "again.png", emb, extractor=extractor, random_state=0)
    assert again.similarity < found.similarity


def test_a_space_of_shapes_says_that_it_is_not_tone(photos: Path) -> None:
    extractor = Edges()
    emb = embed(photos, extractor)
    again = explain("00.png", "again.png", emb, extractor=extractor, random_state=0)
    assert again.tone is not None
    assert again.tone.verdict == "little"
    assert "; little of it is colour tone: " in again.summary
    assert again.tone.colours < 0.8
    alike = explain("00.png", "same-tone.png", emb, extractor=extractor, random_state=0)
    assert alike.tone is not None
    assert alike.tone.verdict == "ordinary"
    assert "colour tone" not in alike.summary


def test_the_versions_are_those_of_the_pictures(photos: Path) -> None:
    extractor = MeanColour()
    emb = embed(photos, extractor)
    tone = explain("00.png", "01.png", emb, extractor=extractor, random_state=0).tone
    assert tone is not None
    assert tone.n_images == 12
    assert tone.grey is not None
    grey = [
        np.asarray(Image.open(photos / f"0{i}.png").convert("L").convert("RGB")) for i in (0, 1)
    ]
    a, b = unit_rows(extractor.extract(np.stack(grey)).vectors).astype(np.float64)
    assert tone.grey.similarity == pytest.approx(a @ b, abs=1e-4)


def test_a_share_is_that_of_the_excess() -> None:
    tone = ToneInfluence(
        0.5, 50, Version(0.9, 99, 0.5), Version(0.8, 95, 0.6), Version(0.7, 80, 0.6), 24
    )
    assert tone.share == pytest.approx(1 - 0.25 / 0.8)
    assert tone.verdict == "most"
    assert tone._replace(matched=Version(0.92, 99, 0.6)).share == 0
    assert tone._replace(matched=Version(0.5, 10, 0.6)).share == 1
    assert tone._replace(matched=Version(0.85, 95, 0.6)).verdict == "little"
    assert tone._replace(matched=Version(0.8, 95, 0.6)).verdict == "part"
    assert tone._replace(as_is=Version(0.6, 70, 0.5)).verdict == "ordinary"
    for unknown in (Version(0.9), Version(1.0, 99, 1.0)):
        assert tone._replace(as_is=unknown).verdict is None
    assert rank_pair(np.ones((2, 3)), np.eye(3)).percentile is None


def test_common_neighbours_and_rare_features_follow_their_definitions() -> None:
    vectors = np.random.default_rng(0).gamma(0.5, size=(40, 12)).astype(np.float32)
    emb = Embeddings(vectors, paths=[f"{i}.png" for i in range(40)])
    found = explain_vectors(3, 9, emb)
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near = []
    for row in (3, 9):
        order = np.argsort(-(unit @ unit[row]), kind="stable")
        near.append([one for one in order if one not in (3, 9)][:10])
    assert found.neighbors is not None
    assert found.neighbors.n_neighbors == 10
    assert found.neighbors.paths == tuple(f"{i}.png" for i in near[0] if i in near[1])
    first = found.top_dimensions[0]
    column = unit[:, first.dimension]
    products = np.outer(column, column)[np.triu_indices(40, 1)]
    assert first.usual == pytest.approx(products.mean())
    assert first.percentile_a == pytest.approx(100 * (column < column[3] - 1e-6).mean())


# Questions without an answer.


def test_without_the_weights_all_that_needs_none_is_answered(
    tmp_path: Path, tiny_network: None, tiny_weights: Path
) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    weights = tmp_path / "w.weights.h5"
    weights.write_bytes(tiny_weights.read_bytes())
    emb = embed(photos, create_extractor("tinynet", weights=weights, batch_size=8))
    whole = explain("000.png", "001.png", emb, random_state=0)
    assert whole.where is not None
    assert whole.where.method == "exact"
    assert whole.where.cosine == pytest.approx(whole.similarity, abs=1e-4)
    assert "Where: the maps sum to the similarity, exactly" in whole.to_text()
    weights.unlink()
    found = explain("000.png", "001.png", emb, random_state=0)
    assert found.where is None
    assert (found.similarity, found.percentile) == (whole.similarity, whole.percentile)
    assert found.neighbors == whole.neighbors
    assert found.tone is not None
    assert found.tone.colours > 0
    assert found.tone.verdict is None
    (reason,) = found.missing
    assert "w.weights.h5" in reason
    assert "--weights" in reason
    assert f"Not answered: {reason}" in found.to_text()
    save_figure(ExplanationDisplay.from_explanation(found), tmp_path / "explain.png")
    # The files were moved.
    again = explain("000.png", "001.png", emb, weights=tiny_weights, random_state=0)
    assert again.to_dict() == whole.to_dict()


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    emb = embed(photos, "pixels")
    (photos / "001.png").unlink()
    found = explain("000.png", "001.png", emb, random_state=0)
    assert (found.where, found.tone) == (None, None)
    assert "001.png" in found.missing[0]
    save_figure(ExplanationDisplay.from_explanation(found), tmp_path / "explain.png")
    # Those of others only make the ordinary pair unknown.
    make_photos(photos, 6)
    for name in ("002", "003", "004", "005"):
        (photos / f"{name}.png").unlink()
    found = explain("000.png", "001.png", emb, random_state=0)
    assert found.where is not None
    assert "too few other images" in found.missing[0]
    assert found.tone is not None
    assert found.tone.share is None
    assert len(found.tone.versions) == 3
    save_figure(ExplanationDisplay.from_explanation(found), tmp_path / "again.png")


def test_an_image_is_itself_also_alone(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 1)
    found = explain("000.png", "000.png", embed(photos, "pixels"))
    assert found.summary == "1.00 similar: this is one image, compared with itself."
    assert (found.percentile, found.neighbors) == (None, None)
    assert found.where is not None
    assert found.where.cosine == pytest.approx(1)


def test_zero_vectors_have_no_reasons(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(photos / name)
    found = explain("a.png", "b.png", embed(photos, "pixels"), random_state=0)
    assert (found.similarity, found.neighbors) == (0, None)
    assert found.where is not None
    assert (found.where.parts, np.abs(found.where.map_a).max()) == ((), 0)
    json.dumps(found.to_dict())
    save_figure(ExplanationDisplay.from_explanation(found), tmp_path / "explain.png")


def test_imported_vectors_say_that_their_network_is_not_known(photos: Path) -> None:
    emb = embed(photos, MeanColour())
    imported = Embeddings(emb.vectors, paths=emb.paths, root=emb.root, space={"extractor": "clip"})
    found = explain("00.png", "01.png", imported)
    assert found.where is None
    assert found.tone is not None
    assert "the network that made them is not known" in found.missing[0]
    assert explain([0.5] * 6, "01.png", imported).missing == (
        "where they are alike, and how much of it is colour tone: that needs the files of both "
        "images",
    )


def test_the_extractor_must_be_that_of_the_space(photos: Path, tmp_path: Path) -> None:
    emb = embed(photos, MeanColour())
    with pytest.raises(SpaceMismatchError, match="must be what made the embeddings of mean-colour"):
        explain("00.png", "01.png", emb, extractor=Edges())
    new = tmp_path / "new.png"
    Image.fromarray(draw(50)).save(new)
    found = explain(new, "01.png", emb, extractor=MeanColour(), random_state=0)
    assert found.tone is not None
    assert found.missing == ()


def test_a_file_that_changed_since_is_said(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    emb = embed(photos, "pixels")
    found = explain(0, 1, emb, random_state=0)
    assert "may have changed" not in found.to_text()
    Image.fromarray(draw(7)).save(photos / "000.png")
    assert "may have changed" in explain(0, 1, emb, random_state=0).to_text()


# Output.


def test_the_command_answers_in_one_document_and_one_figure(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ck.embed(photos, "pixels", store=".clusterkit")
    question = ["explain", str(photos / "00.png"), str(photos / "again.png")]
    answers = [CliRunner().invoke(main, [*question, "--json"]).stdout for _ in range(2)]
    assert answers[0] == answers[1]
    document = json.loads(answers[0])
    assert document["where"]["method"] == "occlusion"
    assert np.shape(document["where"]["map_a"]) == (7, 7)
    assert document["tone"]["as_is"]["similarity"] == document["similarity"]
    assert set(document["neighbors"]) == {"n_neighbors", "paths"}
    assert document["missing"] == []
    text = CliRunner().invoke(main, [*question, "-o", "why.png"]).stdout
    assert text.startswith(document["summary"])
    with Image.open("why.png") as figure:
        assert figure.width > 1000


def test_a_notebook_shows_the_pictures_and_the_versions(photos: Path) -> None:
    emb = embed(photos, "pixels")
    html = explain("00.png", "again.png", emb, random_state=0)._repr_html_()
    assert html.count("<img") == 2
    assert "with matched tone" in html
    assert "<script" not in html
    assert len(html) < 20_000


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_pictures_are_drawn_as_the_network_saw_them(tmp_path: Path, resize: str) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    Image.fromarray(draw(1)).resize((60, 20)).save(photos / "wide.png")
    extractor = create_extractor("pixels", resize=resize)
    found = explain("wide.png", "001.png", embed(photos, extractor), random_state=0)
    assert found.where is not None
    assert found.where.resize == resize
    display = ExplanationDisplay.from_explanation(found)
    (drawn,) = display.axes_[0].images
    left, right, bottom, top = drawn.get_extent()
    assert right - left == pytest.approx(bottom - top)
