"""Measure what an audit finds: planted confounders, real spaces, and clusters without colour tone.

    python -m tests.benchmarks.audit planted --weights XCEPTION_WEIGHTS
    python -m tests.benchmarks.audit spaces STORE…
    python -m tests.benchmarks.audit without STORE…

``planted`` changes a random half of the photos of each set in ten ways, at three strengths.  It
prints how strongly the space of a network is associated with the changed property (the figure of
the audit), and with the changed half itself, which the audit does not know: if the network does
not see a change, there is nothing to find.  The unchanged sets, whole and as random halves, are the
controls.  ``spaces`` audits the spaces of stores, and ``without`` clusters them without tone.
"""

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps
from sklearn.metrics import roc_auc_score

import clusterkit as ck
from clusterkit import extractors
from clusterkit.clustering.evaluation import evaluate
from clusterkit.datasets.labels import labels_from_folders
from clusterkit.images.properties import measure_properties
from clusterkit.similarity.confounders import Association, Confounder, associations
from clusterkit.similarity.image_confounders import as_confounders
from clusterkit.similarity.space_audit import does_follow

SHARED = Path(os.environ.get("CLUSTERKIT_SHARED", "../shared"))

# Each change, and the property in which it should be found.
CHANGES = {
    "tone": "tone",
    "brightness": "brightness",
    "blur": "sharpness",
    "quality": "quality",
    "resolution": "size",
    "border": "border",
    "watermark": "mark",
    "grey": "colourfulness",
    "aspect": "aspect",
    "folder": "folder",
}
SETS = ("species10", "imbalanced10", "anime5", "posters700", "cat_dog_wild")
# Minimum association of a space with the changed half to count as a change that it sees.
_SEEN = 0.1


def change(image: Image.Image, kind: str, strength: int) -> bytes:
    """Change a photo with a strength of 0, 1 or 2, and return it as JPEG."""
    image, quality = image.convert("RGB"), 92
    width, height = image.size
    side = min(width, height)
    if kind == "tone":
        share = (0.25, 0.5, 1.0)[strength]
        tint = 1 - share + share * np.array([1.0, 0.75, 0.45])
        image = Image.fromarray((np.asarray(image) * tint).astype(np.uint8))
    elif kind == "brightness":
        image = ImageEnhance.Brightness(image).enhance((0.75, 0.5, 0.3)[strength])
    elif kind == "blur":
        image = image.filter(ImageFilter.GaussianBlur((0.8, 1.6, 3.2)[strength] * side / 224))
    elif kind == "quality":
        quality = (50, 20, 6)[strength]
    elif kind == "resolution":
        factor = (0.7, 0.4, 0.2)[strength]
        image = image.resize((max(8, int(factor * width)), max(8, int(factor * height))))
    elif kind == "border":
        image = ImageOps.expand(image, max(1, int((0.04, 0.08, 0.16)[strength] * side)), "white")
    elif kind == "watermark":
        mark = Image.new("RGBA", image.size, (0, 0, 0, 0))
        draw, opacity = ImageDraw.Draw(mark), (60, 120, 220)[strength]
        font = ImageFont.load_default(size=0.12 * height)
        place = (0.4 * width, 0.82 * height)
        draw.text(place, "photo.example", font=font, fill=(255, 255, 255, opacity))
        box = [0.3 * width, 0.83 * height, 0.38 * width, 0.93 * height]
        draw.ellipse(box, fill=(255, 60, 60, opacity))
        image = Image.alpha_composite(image.convert("RGBA"), mark).convert("RGB")
    elif kind == "grey":
        grey = image.convert("L").convert("RGB")
        image = Image.blend(image, grey, (0.4, 0.75, 1.0)[strength])
    elif kind == "aspect":
        kept = 1 / (1.15, 1.4, 2.0)[strength]
        image = image.crop((0, int(height * (1 - kept) / 2), width, int(height * (1 + kept) / 2)))
    elif kind == "folder":
        # As from another camera: darker, softer, more compressed.
        image = ImageEnhance.Brightness(image).enhance((0.9, 0.8, 0.65)[strength])
        image = image.filter(ImageFilter.GaussianBlur((0.4, 0.8, 1.4)[strength] * side / 224))
        quality = (80, 60, 35)[strength]
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def draw_photos(name: str, n: int, seed: int) -> list[Path]:
    """Return random photos of a set."""
    files = sorted((SHARED / "data" / name).rglob("*.jp*g"))
    kept = np.random.default_rng(seed).permutation(len(files))[:n]
    return [files[row] for row in sorted(kept)]


def measure(vectors: np.ndarray, files: list[Path], half: np.ndarray) -> dict[str, Association]:
    """Return the associations of a space with all properties, and with the changed half."""
    folders = [f"{'b' if changed else 'a'}/{row}" for row, changed in enumerate(half)]
    confounders = as_confounders(measure_properties(files).properties, folders)
    confounders.append(Confounder("half", half[:, None].astype(float), is_category=True))
    return {one.name: one for one in associations(vectors, confounders, random_state=0)}


def plant(
    extractor: Any, name: str, n: int, seed: int, folder: Path
) -> Iterator[tuple[str, int, dict[str, Association]]]:
    """Yield the associations of the unchanged set, and with each change at each strength."""
    photos = draw_photos(name, n, seed)
    half = np.zeros(len(photos), bool)
    half[np.random.default_rng(seed).permutation(len(photos))[: len(photos) // 2]] = True
    first = []
    for row, file in enumerate(photos):
        first.append(folder / f"{row}.jpg")
        first[-1].write_bytes(change(Image.open(file), "nothing", 0))
    vectors = extractor.transform(first)
    yield "nothing", 0, measure(vectors, first, half)
    for kind in CHANGES:
        for strength in range(3):
            files, changed = list(first), vectors.copy()
            for row in np.flatnonzero(half):
                files[row] = folder / f"{kind}-{strength}-{row}.jpg"
                files[row].write_bytes(change(Image.open(photos[row]), kind, strength))
            changed[half] = extractor.transform([files[row] for row in np.flatnonzero(half)])
            yield kind, strength, measure(changed, files, half)


@click.group()
def main() -> None:
    """Measure the audit."""


@main.command()
@click.option(
    "--weights",
    type=click.Path(exists=True),
    help="Weights of Xception; by default, pixels are the features.",
)
@click.option("--photos", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
def planted(weights: str | None, photos: int, seed: int) -> None:
    """Plant confounders in half of the photos of each set."""
    extractor = extractors.Xception(weights=weights) if weights else extractors.Pixels()
    found: dict[str, list[tuple[bool, float]]] = {kind: [] for kind in CHANGES}
    alarms = n_controls = 0
    for place, name in enumerate(SETS):
        with tempfile.TemporaryDirectory() as folder:
            for kind, strength, of_name in plant(
                extractor, name, photos, seed + place, Path(folder)
            ):
                properties = [one for one in of_name.values() if one.name != "half"]
                if kind == "nothing":
                    said = [one.name for one in properties if does_follow(one)]
                    alarms, n_controls = alarms + len(said), n_controls + 1
                    print(f"{name:13} untouched: follows {', '.join(said) or 'nothing'}")
                    for changed, property_name in CHANGES.items():
                        one = of_name.get(property_name)
                        found[changed].append((False, one.correlation if one else 0.0))
                    continue
                one, seen = of_name.get(CHANGES[kind]), of_name["half"].correlation
                figure = one.correlation if one else 0.0
                if seen >= _SEEN:
                    found[kind].append((True, figure))
                said = f"seen {seen:5.2f} figure {figure:5.2f}"
                is_found = one is not None and does_follow(one)
                print(f"{name:13} {kind:11} {strength}: {said} {'found' if is_found else ''}")
    for kind, pairs in found.items():
        truth, figures = zip(*pairs, strict=True)
        score = f"{roc_auc_score(truth, figures):.2f}" if any(truth) else "  - (never seen)"
        print(f"{kind:11} AUROC {score} ({sum(truth)} seen, {len(truth) - sum(truth)} untouched)")
    print(f"{alarms} alarms on {n_controls} untouched sets")


@main.command()
@click.argument("stores", nargs=-1, type=click.Path(exists=True))
@click.option("--halves", default=5, show_default=True)
def spaces(stores: tuple[str, ...], halves: int) -> None:
    """Audit the spaces of stores, and random halves of them."""
    for store in stores:
        for space in ck.Store(store).spaces():
            embeddings = space.read()
            for half in range(halves + 1):
                rng = np.random.default_rng(half)
                rows = np.sort(rng.permutation(len(embeddings))[: len(embeddings) // 2])
                part = embeddings[rows] if half else embeddings
                found = ck.audit(part, random_state=0)
                said = [one.name for one in found.associations if does_follow(one)]
                tone = next(one for one in found.associations if one.name == "tone")
                print(
                    f"{store} {space.folder.name} {len(part)} images, tone "
                    f"{tone.correlation:.2f}: follows {', '.join(said) or 'nothing'}"
                )


@main.command()
@click.argument("stores", nargs=-1, type=click.Path(exists=True))
@click.option("--seeds", default=5, show_default=True)
def without(stores: tuple[str, ...], seeds: int) -> None:
    """Cluster without tone: print the share of tone in the clusters, and the accuracy."""
    for store in stores:
        for space in ck.Store(store).spaces():
            embeddings = space.read()
            labels = labels_from_folders(embeddings.paths)
            rows = []
            for seed in range(seeds):
                options = {"n_clusters": len(set(labels)), "random_state": seed}
                plain = ck.cluster(embeddings, **options)
                clean = ck.cluster(embeddings, without="tone", **options)
                (removed,) = clean.confounding.removed
                accuracies = [evaluate(labels, one.labels).accuracy for one in (plain, clean)]
                rows.append([removed.before, removed.after, *accuracies])
            before, after, plain_accuracy, clean_accuracy = np.mean(rows, axis=0)
            worst = min(row[3] - row[2] for row in rows)
            print(
                f"{store} {space.folder.name}: tone's share {before:.3f} to {after:.3f}, "
                f"accuracy {plain_accuracy:.3f} to {clean_accuracy:.3f} (worst {worst:+.3f})"
            )


if __name__ == "__main__":
    main()
