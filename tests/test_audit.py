"""Audit a space, cluster without confounders, and the properties of images that both use."""

import io
import json
import math
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFilter

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.clusterers import KMeans
from clusterkit.errors import InvalidInputError, Notice
from clusterkit.extractors import Pixels
from clusterkit.images.jpeg import estimate_quality
from clusterkit.images.properties import measure_image, measure_properties
from clusterkit.images.tone import to_lab
from clusterkit.plots import AuditDisplay
from clusterkit.similarity.confounders import (
    Association,
    Confounder,
    associations,
    explained_share,
    remove_confounder,
)
from clusterkit.similarity.image_confounders import (
    CONFOUNDERS,
    as_confounders,
    find_mark,
    measure_confounders,
)
from clusterkit.similarity.space_audit import does_follow, does_tell, strength


def scene(seed: int, size: tuple[int, int] = (96, 96), tint: tuple[float, ...] = (1, 1, 1)):
    """Return a picture of random discs on a random background."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(40, 200, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, r = rng.integers(0, size[0]), rng.integers(0, size[1]), rng.integers(4, 30)
        color = tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse([x - r, y - r, x + r, y + r], fill=color)
    return Image.fromarray((np.asarray(image) * tint).astype(np.uint8))


def as_bytes(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures, half of them orange."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(40):
        tint = (1, 0.75, 0.4) if seed % 2 else (1, 1, 1)
        scene(seed, tint=tint).save(folder / f"{seed:02d}.png")
    return folder


@pytest.fixture(scope="module")
def pixels(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> ck.Embeddings:
    return ck.embed(ck.ImageFolder(photos), Pixels(), store=tmp_path_factory.mktemp("store"))


def test_a_confounder_shows_its_name_and_number_of_images() -> None:
    assert repr(Confounder("tone", np.zeros((3, 48)))) == "Confounder('tone', 3 images)"


def test_lab_is_that_of_the_standard():
    """The expected values are those of a colour calculator for sRGB and D65."""
    rgb = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255], [119, 119, 119]])
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    found = to_lab(rgb.astype(np.uint8))
    assert np.abs(found[:4] - expected).max() < 0.1
    assert np.abs(found[4, 1:]).max() < 0.01


@pytest.mark.parametrize("quality", [1, 5, 20, 50, 75, 95, 100])
def test_quality_is_read_off_the_tables(quality):
    assert estimate_quality(as_bytes(scene(0), "JPEG", quality=quality)) == quality


def test_quality_of_other_files_is_unknown():
    assert math.isnan(estimate_quality(as_bytes(scene(0))))
    assert math.isnan(estimate_quality(b"\xff\xd8 damaged"))


def test_properties_tell_what_was_done_to_a_picture():
    plain = measure_image(as_bytes(scene(1)))
    grey = measure_image(as_bytes(scene(1).convert("L").convert("RGB")))
    assert grey.colourfulness == pytest.approx(-1, abs=0.1)
    assert plain.colourfulness > 2
    assert plain.saturation > 0.5 > grey.saturation == 0
    blurred = measure_image(as_bytes(scene(1).filter(ImageFilter.GaussianBlur(3))))
    assert blurred.sharpness < 0.1 < 0.4 < plain.sharpness
    dark = measure_image(as_bytes(Image.fromarray(np.asarray(scene(1)) // 2)))
    assert dark.brightness < 0.7 * plain.brightness
    assert dark.sharpness == pytest.approx(plain.sharpness, abs=0.05)
    assert dark.light[0] < 0.7 * plain.light[0]
    assert (grey.light[1:] == 0).all()
    sepia = np.asarray(scene(1).convert("L").convert("RGB")) * (1, 0.75, 0.4)
    assert measure_image(as_bytes(Image.fromarray(sepia.astype(np.uint8)))).light[2] > 20  # yellow
    assert measure_image(as_bytes(Image.new("RGB", (50, 50), "red"))).sharpness == 0
    wide = measure_image(as_bytes(scene(1, (192, 96)), "JPEG"))
    assert (wide.aspect, wide.size - plain.size) == (1, 1)
    assert (wide.format, plain.format) == ("JPEG", "PNG")


def test_a_frame_is_a_border_and_a_plain_background_is_none():
    framed = Image.new("RGB", (120, 120), "white")
    framed.paste(scene(2), (12, 12))
    assert measure_image(as_bytes(framed)).border == pytest.approx(1 - (96 / 120) ** 2, abs=0.05)
    product = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(product).ellipse([30, 30, 90, 90], fill="red")
    assert measure_image(as_bytes(product)).border == 0
    assert measure_image(as_bytes(scene(2))).border == 0


def test_a_mark_in_the_same_place_is_found():
    marked = np.arange(60) % 3 == 0
    details = []
    for seed, has_mark in enumerate(marked):
        image = scene(seed)
        if has_mark:
            ImageDraw.Draw(image).text(
                (10, 70), "example.org", "white", stroke_fill="black", stroke_width=2
            )
        details.append(measure_image(as_bytes(image)).detail)
    assert (find_mark(np.stack(details)) == marked).mean() > 0.95
    plain = [measure_image(as_bytes(scene(seed))).detail for seed in range(60)]
    assert not find_mark(np.stack(plain)).any()


def test_centred_digits_carry_no_mark():
    files = sorted((Path(__file__).parent.parent / "data/digits").rglob("*.png"))
    assert not find_mark(
        np.stack([one.detail for one in measure_properties(files).properties])
    ).any()


def test_an_association_is_spearman_or_somers():
    from scipy.spatial.distance import pdist
    from scipy.stats import somersd, spearmanr

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 5)).astype(np.float32)
    values = vectors[:, :1].astype(float) + rng.normal(0, 0.5, (60, 1))
    codes = (vectors[:, 1:2] > 0).astype(float)
    found = associations(
        vectors, [Confounder("tone", values), Confounder("folder", codes, True)], random_state=0
    )
    far = 1 - 1 + pdist(vectors, "cosine")
    assert found[0].correlation == pytest.approx(spearmanr(far, pdist(values))[0], abs=1e-3)
    expected = somersd((pdist(codes) > 0).astype(int), far).statistic
    assert found[1].correlation == pytest.approx(expected, abs=1e-3)
    assert found[0].correlation > found[0].chance > 0


@pytest.mark.parametrize("n", [60, 600])
def test_what_content_hides_from_distances_is_told_by_few_vectors(n):
    """Ten kinds of images, of each a half moved a little in one direction."""
    rng = np.random.default_rng(0)
    vectors = 2 * np.eye(10)[rng.integers(0, 10, n)] @ rng.normal(size=(10, 100))
    vectors += rng.normal(0, 0.2, vectors.shape)
    moved = rng.permutation(n) < n / 2
    vectors += 0.35 * moved[:, None] * rng.normal(size=100)
    random = rng.permutation(n) < n / 2
    confounders = [
        Confounder("aspect", moved[:, None] + rng.normal(0, 0.1, (n, 1))),
        Confounder("folder", moved[:, None].astype(float), True),
        Confounder("size", random[:, None] + rng.normal(0, 0.1, (n, 1))),
    ]
    aspect, folder, size = associations(vectors.astype(np.float32), confounders, random_state=0)
    assert aspect.correlation < 0.15
    assert aspect.predicted == pytest.approx(0.65, abs=0.1)  # whatever n is
    assert folder.predicted == pytest.approx(0.9, abs=0.1)
    assert size.predicted < 0.1
    assert does_tell(aspect)
    assert does_tell(folder)
    assert not does_follow(aspect)
    assert strength(aspect) > 1 > strength(size)


def test_what_is_predicted_instead_of_the_values():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 3)).astype(np.float32)
    light = vectors[:, :1].astype(float)
    noise = Confounder("tone", rng.normal(size=(80, 1)))
    plain, other = associations(vectors, [noise, noise._replace(predicted=light)], random_state=0)
    assert plain.predicted < 0.1
    assert other.predicted > 0.7
    assert other.correlation == plain.correlation


def test_fewer_than_50_images_tell_nothing(pixels):
    assert ck.audit(pixels, random_state=0).associations[0].predicted is None
    assert not does_tell(Association("tone", 0.0, 0.0, 40))


def test_what_most_images_share_is_no_association():
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    rare, constant, missing = np.zeros((60, 1)), np.ones((60, 1)), np.full((60, 1), np.nan)
    rare[:2], missing[:20] = 1, np.arange(20)[:, None]
    names = ["mark", "size", "quality"]
    confounders = [Confounder(*one) for one in zip(names, (rare, constant, missing), strict=True)]
    assert associations(vectors, confounders) == []


def test_a_confounder_that_dominates_is_removed_and_another_is_not():
    rng = np.random.default_rng(0)
    kind, tone = rng.integers(0, 3, 150), rng.normal(size=(150, 2))
    vectors = np.concatenate([np.eye(3)[kind], tone, np.ones((150, 1))], axis=1)
    vectors += rng.normal(0, 0.05, vectors.shape)
    cleaned, removal = remove_confounder(vectors.astype(np.float32), Confounder("tone", tone))
    assert removal.n_components >= 2
    assert removal.share > 0.3
    left = associations(cleaned, [Confounder("tone", tone)], random_state=0)[0]
    assert left.correlation < 0.1
    labels = KMeans(3, random_state=0).fit_predict(cleaned)
    assert ck.evaluate(kind.tolist(), labels.tolist()).accuracy > 0.98
    unrelated = Confounder("tone", rng.normal(size=(150, 2)))
    same, nothing = remove_confounder(vectors.astype(np.float32), unrelated)
    assert nothing.n_components == 0
    assert (same == vectors.astype(np.float32)).all()


def test_removal_needs_little_memory_beside_the_vectors():
    rng = np.random.default_rng(0)
    tone = rng.normal(size=(2000, 1))
    vectors = np.concatenate([tone, rng.normal(0, 0.05, (2000, 1023))], axis=1).astype(np.float32)
    tracemalloc.start()
    _, removal = remove_confounder(vectors, Confounder("tone", tone))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert removal.n_components
    assert peak < 5 * vectors.nbytes


def test_the_share_of_chance_is_none():
    rng = np.random.default_rng(0)
    labels, values = rng.integers(0, 5, 500), rng.normal(size=(500, 3))
    assert abs(explained_share(labels, Confounder("tone", values))) < 0.02
    codes = Confounder("folder", labels[:, None].astype(float), True)
    assert explained_share(labels, codes) == pytest.approx(1)


def test_an_audit_says_that_pixels_follow_tone(pixels):
    found = ck.audit(pixels, random_state=0)
    assert found.follows("tone")
    assert not found.follows("aspect")
    problem = found.problems[0]
    assert problem.kind == "tone"
    assert problem.sentence.startswith("The space follows colour tone: images alike in it are near")
    assert "--without tone" in problem.advice
    assert "another network, such as xception" in problem.advice
    # A space of Xception is not told to use Xception.
    of_xception = replace(pixels, space=pixels.space | {"extractor": "xception"})
    advice = ck.audit(of_xception, random_state=0).problems[0].advice
    assert advice.endswith("or take another network.")
    assert found.to_text().startswith(f"Audit of {pixels.space['extractor']}-")
    assert json.loads(json.dumps(found.to_dict()))["images"] == 40
    assert found.to_dict() == ck.audit(pixels, random_state=0).to_dict()
    assert set(found.to_frame()["kind"]) >= {"tone", "dimensions"}
    AuditDisplay.from_audit(found)


def test_an_audit_says_what_vectors_tell(tmp_path):
    """Half of the images are wide, and move the vectors less than what the images show."""
    rng = np.random.default_rng(0)
    for seed in range(60):
        scene(seed, (144, 96) if seed % 2 else (96, 96)).save(tmp_path / f"{seed:02d}.png")
    emb = ck.embed(ck.ImageFolder(tmp_path), Pixels())
    vectors = 2 * np.eye(10)[rng.integers(0, 10, 60)] @ rng.normal(size=(10, 100))
    vectors += rng.normal(0, 0.3, vectors.shape)
    vectors += 0.5 * (np.arange(60) % 2)[:, None] * rng.normal(size=100)
    found = ck.audit(replace(emb, vectors=vectors.astype(np.float32)), random_state=0)
    (said,) = [one for one in found.findings if one.kind == "aspect"]
    assert said.sentence.startswith("The space tells the aspect ratio: learning from few images, ")
    assert said.is_problem
    assert not found.follows("aspect")
    assert "aspect" not in next(one for one in found.findings if one.kind == "not followed")[2]
    (row,) = [one for one in found.to_dict()["properties"] if one["name"] == "aspect"]
    assert (row["follows"], row["tells"]) == (False, True)
    assert row["strength"] > 1
    assert not any(follows for *_, follows in found.bars())


def test_the_layout_of_grey_images_may_be_what_they_show(tmp_path):
    for seed in range(20):
        scene(seed).convert("L").save(tmp_path / f"{seed:02d}.png")
    found = ck.audit(ck.embed(ck.ImageFolder(tmp_path), Pixels()), random_state=0)
    assert found.follows("tone")
    (said,) = [one for one in found.findings if one.kind == "tone"]
    assert said.sentence.startswith("The space follows the layout of light and dark (rank")
    assert not said.is_problem


def test_clusters_without_tone_do_not_follow_it(pixels):
    clustering = ck.cluster(pixels, n_clusters=2, without="tone", random_state=0)
    (removed,) = clustering.confounding.removed
    assert removed.n_components > 0
    assert removed.after < 0.2 * removed.before
    assert "Without colour tone: " in clustering.to_text()
    assert "groups photos by colour" not in clustering.to_text()
    assert clustering.embeddings.fingerprint != pixels.fingerprint
    assert clustering.embeddings.space["without"] == ["tone"]


def test_a_clustering_without_tone_is_reopened_as_it_was(pixels, tmp_path):
    clustering = ck.cluster(pixels, n_clusters=2, without=["tone"], random_state=0)
    table = clustering.to_csv(tmp_path / "clusters.csv")
    again = ck.reopen_clustering(table, pixels)
    assert (again.labels == clustering.labels).all()
    assert np.allclose(again.distances, clustering.distances, atol=1e-5)
    description = json.loads((tmp_path / "clusters.json").read_text())
    assert description["without"]["removed"][0]["name"] == "tone"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as: of another space
        page = ck.write_report(table, tmp_path / "report.html", embeddings=pixels, labels=None)
    assert page.n_clusters == 2
    # The name of the space is used to find it in the store.
    assert description["space"].startswith("pixels-")


def test_without_its_files_a_clustering_is_reopened_with_its_tone(photos, tmp_path):
    for file in photos.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    emb = ck.embed(ck.ImageFolder(tmp_path), Pixels())
    clustering = ck.cluster(emb, n_clusters=2, without=["tone"], random_state=0)
    table = clustering.to_csv(tmp_path / "clusters.csv")
    for file in tmp_path.glob("*.png"):
        file.unlink()
    with pytest.warns(Notice, match="compared with tone, which the clusters are made without"):
        again = ck.reopen_clustering(table, emb)
    assert (again.labels == clustering.labels).all()


def test_vectors_without_files_are_audited_as_far_as_possible():
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    vectors[:, 3] = 7
    vectors[0] = -100
    found = ck.audit(vectors, random_state=0)
    assert found.associations == []
    assert found.n_constant == 0
    assert "vectors have no files" in found.to_text()
    assert 5 < ck.audit(vectors[1:], random_state=0).effective_dimension < 7.1
    for scale in (1, 1e30, 1e-40):
        assert ck.audit(vectors[1:] * np.float32(scale), random_state=0).n_constant == 1


def test_outliers_and_copies_are_named(photos, tmp_path):
    for file in photos.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    scene(3).resize((80, 80)).save(tmp_path / "smaller.png")
    emb = ck.embed(ck.ImageFolder(tmp_path), Pixels())
    vectors = emb.vectors.copy()
    vectors[7] = np.random.default_rng(0).normal(size=vectors.shape[1])
    found = ck.audit(replace(emb, vectors=vectors), random_state=0)
    assert found.outliers[0][0] == 7
    assert "unlike all others: 07.png" in found.to_text()
    assert (3, 40) in found.copies


def test_unsure_predictions_are_no_outliers(unsure_predictions):
    outliers = ck.audit(unsure_predictions, random_state=0).outliers
    assert {row for row, _ in outliers} <= {7}


def test_files_that_are_gone_are_said(photos, tmp_path):
    for file in photos.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    emb = ck.embed(ck.ImageFolder(tmp_path), Pixels())
    (tmp_path / "05.png").unlink()
    assert "1 image file cannot be read now: 05.png" in ck.audit(emb).to_text()
    with pytest.warns(Notice, match="1 image file cannot be read and count"):
        removed = ck.remove_confounders(emb, ["tone", "brightness"])
    found = associations(emb.vectors, removed.confounders, random_state=0)
    assert [(one.name, one.n_images) for one in found] == [("tone", 39), ("brightness", 39)]
    for file in tmp_path.iterdir():
        file.unlink()
    assert "No image file can be read" in ck.audit(emb).to_text()


def test_few_images_and_equal_ones(pixels):
    few = ck.audit(pixels[:3]).to_text()
    assert "too few images to tell whether the space follows tone" in few
    assert "hardly distinguish more than a gradient" not in few
    same = ck.audit(replace(pixels, vectors=np.ones((40, 8), np.float32))).to_text()
    assert "! All images have the same vector." in same


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda emb: ck.audit(emb[:2]), "an audit needs at least 3 images. Received: 2"),
        (lambda emb: ck.audit(emb, max_images=2), "max_images must be an integer of at least 3"),
        (lambda emb: ck.remove_confounders(emb, "tome"), "Did you mean tone?"),
        (lambda emb: ck.cluster(emb, n_clusters=2, without="hue"), "must be one of tone, bright"),
        (lambda emb: ck.remove_confounders(emb.vectors, "tone"), "have no files"),
        (lambda emb: ck.audit(emb).follows("hue"), "must be one of tone"),
    ],
)
def test_wrong_input_is_named(pixels, call, message):
    with pytest.raises(InvalidInputError, match=message.replace("?", r"\?")):
        call(pixels)


def test_every_confounder_is_measured(photos):
    table = measure_properties(sorted(photos.iterdir()))
    confounders = as_confounders(table.properties, ["a/b.png"] * len(table.properties))
    assert [one.name for one in confounders] == list(CONFOUNDERS)
    assert all(len(one.values) == 40 for one in confounders)


def test_the_commands(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(main, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return done

    run("embed", photos, "-e", "pixels")
    said = run("audit", "-o", "audit.png", "--table", "findings.csv").output
    assert "! The space follows colour tone" in said
    assert Path("audit.png").stat().st_size > 10_000
    assert "tone" in Path("findings.csv").read_text()
    said = run("cluster", "-k", 2, "--without", "tone").output
    assert "Without colour tone: " in said
    said = run("inspect", "clusters.csv", "-o", "inside.png", "--table", "images.csv").output
    assert "40 images in 2 clusters: " in said
    assert len(Path("images.csv").read_text().splitlines()) == 41
    wrong = CliRunner().invoke(main, ["cluster", "-k", "2", "--without", "tome", "--overwrite"])
    assert (wrong.exit_code, "Did you mean tone?" in wrong.output) == (1, True)


def test_measured_rows_are_those_that_were_asked_for(pixels):
    found = measure_confounders(pixels, np.array([4, 9]))
    assert found.rows.tolist() == [4, 9]
    assert len(found.confounders[0].values) == 2


def test_images_that_cannot_be_read_are_no_kind_of_their_own(pixels):
    values = np.zeros((40, 1))
    values[:12] = np.nan
    vectors = np.random.default_rng(0).normal(0, 0.1, (40, 8)).astype(np.float32)
    vectors[:12, 0] += 5
    _, removal = remove_confounder(vectors, Confounder("format", values, is_category=True))
    assert removal.n_components == 0


def test_each_image_in_a_folder_of_its_own(pixels):
    codes = np.arange(40.0)[:, None]
    assert associations(pixels.vectors, [Confounder("folder", codes, is_category=True)]) == []
    many = Confounder("folder", np.arange(1200.0)[:, None], is_category=True)
    with pytest.raises(InvalidInputError, match="1,200 different values"):
        remove_confounder(np.eye(1200, 4, dtype=np.float32), many)


def test_the_same_run_again_keeps_everything(pixels, tmp_path):
    options = {"n_clusters": 3, "without": "tone", "random_state": 0}
    first = ck.cluster(pixels, **options)
    table = first.to_csv(tmp_path / "clusters.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as: of another space
        again = ck.cluster(pixels, previous=table, **options)
    assert (again.labels == first.labels).all()
    reopened = ck.reopen_clustering(table, pixels)
    assert reopened.confounding.removed[0].name == "tone"
    assert reopened.to_dict()["fingerprint"] == pixels.fingerprint
    other = replace(pixels, space=pixels.space | {"fingerprint": "0" * 64})
    with pytest.warns(UserWarning, match="^the clusters are of the space"):
        ck.reopen_clustering(table, other)


def test_what_is_held_is_held_without_the_removal_as_well(pixels, tmp_path):
    table = ck.cluster(pixels, n_clusters=4, random_state=0).to_csv(tmp_path / "clusters.csv")
    ck.label(table, pin=[0, 1, 2, 3])
    held = ck.cluster(pixels, n_clusters=4, without="tone", previous=table, random_state=0)
    assert held.confounding.moved == 0
    assert held.confounding.removed[0].before == held.confounding.removed[0].after
