"""Measure what an audit finds: planted confounders, real spaces, and clusters without colour tone.

    python -m tests.benchmarks.audit planted --weights XCEPTION_WEIGHTS
    python -m tests.benchmarks.audit spaces STORE…
    python -m tests.benchmarks.audit without STORE…

``planted`` changes a random half of the photos of each set in ten ways, at three strengths.  It
prints how strong the changed property is in the space of a network, as the audit measures it, and
how strong the changed half itself is, which the audit does not know: if the network does not see
a change, there is nothing to find.  Both are 1 at the limit of the audit.  Unchanged photos, those
of the set and further draws, are the controls.  The area under the ROC curve compares all plantings
with the controls, at each strength, and then those that the network sees.  ``spaces`` audits the
spaces of stores, and ``without`` clusters them without tone.
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
from clusterkit.similarity.confounders import Confounder, associations
from clusterkit.similarity.image_confounders import as_confounders
from clusterkit.similarity.space_audit import does_follow, strength

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


def change(image: Image.Image, kind: str, step: int) -> bytes:
    """Change a photo, a little with step 0 to a lot with step 2, and return it as JPEG."""
    image, quality = image.convert("RGB"), 92
    width, height = image.size
    side = min(width, height)
    if kind == "tone":
        share = (0.25, 0.5, 1.0)[step]
        tint = 1 - share + share * np.array([1.0, 0.75, 0.45])
        image = Image.fromarray((np.asarray(image) * tint).astype(np.uint8))
    elif kind == "brightness":
        image = ImageEnhance.Brightness(image).enhance((0.75, 0.5, 0.3)[step])
    elif kind == "blur":
        image = image.filter(ImageFilter.GaussianBlur((0.8, 1.6, 3.2)[step] * side / 224))
    elif kind == "quality":
        quality = (50, 20, 6)[step]
    elif kind == "resolution":
        factor = (0.7, 0.4, 0.2)[step]
        image = image.resize((max(8, int(factor * width)), max(8, int(factor * height))))
    elif kind == "border":
        image = ImageOps.expand(image, max(1, int((0.04, 0.08, 0.16)[step] * side)), "white")
    elif kind == "watermark":
        mark = Image.new("RGBA", image.size, (0, 0, 0, 0))
        draw, opacity = ImageDraw.Draw(mark), (60, 120, 220)[step]
        font = ImageFont.load_default(size=0.12 * height)
        place = (0.4 * width, 0.82 * height)
        draw.text(place, "photo.example", font=font, fill=(255, 255, 255, opacity))
        box = [0.3 * width, 0.83 * height, 0.38 * width, 0.93 * height]
        draw.ellipse(box, fill=(255, 60, 60, opacity))
        image = Image.alpha_composite(image.convert("RGBA"), mark).convert("RGB")
    elif kind == "grey":
        grey = image.convert("L").convert("RGB")
        image = Image.blend(image, grey, (0.4, 0.75, 1.0)[step])
    elif kind == "aspect":
        kept = 1 / (1.15, 1.4, 2.0)[step]
        image = image.crop((0, int(height * (1 - kept) / 2), width, int(height * (1 + kept) / 2)))
    elif kind == "folder":
        # As from another camera: darker, softer, more compressed.
        image = ImageEnhance.Brightness(image).enhance((0.9, 0.8, 0.65)[step])
        image = image.filter(ImageFilter.GaussianBlur((0.4, 0.8, 1.4)[step] * side / 224))
        quality = (80, 60, 35)[step]
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def draw_photos(name: str, n: int, n_draws: int, seed: int) -> list[list[Path]]:
    """Return random draws of the photos of a set, which have none in common."""
    files = sorted((SHARED / "data" / name).rglob("*.jp*g"))
    order = np.random.default_rng(seed).permutation(len(files))
    starts = range(0, min(n_draws * n, len(files) - n + 1), n)
    return [[files[row] for row in sorted(order[start : start + n])] for start in starts]


def draw_half(n: int, seed: int) -> np.ndarray:
    """Return which images belong to a random half."""
    return np.random.default_rng(seed).permutation(n) < n // 2


def measure(vectors: np.ndarray, files: list[Path], half: np.ndarray) -> dict[str, float]:
    """Return how strong each property, and the changed half, is in a space; 1 at its limit."""
    folders = [f"{'b' if changed else 'a'}/{row}" for row, changed in enumerate(half)]
    confounders = as_confounders(measure_properties(files).properties, folders)
    # An audit reports a mark wherever it is seen in the images.
    has_mark = any(one.name == "mark" and one.values.any() for one in confounders)
    confounders.append(Confounder("half", half[:, None].astype(float), is_category=True))
    found = {one.name: strength(one) for one in associations(vectors, confounders, random_state=0)}
    if has_mark:
        found["mark"] = max(1.0, found.get("mark", 0.0))
    return found


def plant(
    extractor: Any, name: str, n: int, n_controls: int, seed: int, folder: Path
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Yield the strengths in unchanged sets, and in one with each change at each step."""
    photos, *others = draw_photos(name, n, n_controls, seed)
    half = draw_half(len(photos), seed)
    first = write_unchanged(photos, folder / "first")
    vectors = extractor.transform(first)
    yield "nothing", 0, measure(vectors, first, half)
    for place, other in enumerate(others, 1):
        files = write_unchanged(other, folder / f"other-{place}")
        yield "nothing", place, measure(extractor.transform(files), files, half)
    for kind in CHANGES:
        for step in range(3):
            files, changed = list(first), vectors.copy()
            for row in np.flatnonzero(half):
                files[row] = folder / f"{kind}-{step}-{row}.jpg"
                files[row].write_bytes(change(Image.open(photos[row]), kind, step))
            changed[half] = extractor.transform([files[row] for row in np.flatnonzero(half)])
            yield kind, step, measure(changed, files, half)


def write_unchanged(photos: list[Path], folder: Path) -> list[Path]:
    """Write photos as JPEG of the same quality as changed ones."""
    folder.mkdir()
    files = [folder / f"{row}.jpg" for row in range(len(photos))]
    for photo, file in zip(photos, files, strict=True):
        file.write_bytes(change(Image.open(photo), "nothing", 0))
    return files


def print_areas(found: dict[tuple[str, int], list[tuple[float, bool]]], controls: Any) -> None:
    """Print the area under the ROC curve of each change and of all."""

    def area(changed: list[float], unchanged: list[float]) -> str:
        if not changed:
            return "   -"
        truth = [1] * len(changed) + [0] * len(unchanged)
        return f"{roc_auc_score(truth, changed + unchanged):.2f}"

    print("AUROC       each step        all   seen by the network")
    for kind, name in CHANGES.items():
        unchanged = [of_name.get(name, 0.0) for of_name in controls]
        steps = [found[kind, step] for step in range(3)]
        everything = [pair for pairs in steps for pair in pairs]
        seen = [figure for figure, is_seen in everything if is_seen]
        by_step = "  ".join(area([figure for figure, _ in pairs], unchanged) for pairs in steps)
        print(
            f"{kind:11} {by_step}  {area([figure for figure, _ in everything], unchanged)}  "
            f"{area(seen, unchanged)} of {len(seen)} of {len(everything)}, "
            f"{sum(figure >= 1 for figure, _ in everything)} found"
        )


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
@click.option("--controls", default=4, show_default=True, help="Unchanged draws of each set.")
@click.option("--seed", default=1, show_default=True)
def planted(weights: str | None, photos: int, controls: int, seed: int) -> None:
    """Plant confounders in half of the photos of each set."""
    extractor = extractors.Xception(weights=weights) if weights else extractors.Pixels()
    found: dict[tuple[str, int], list[tuple[float, bool]]] = {}
    untouched = []
    alarms = 0
    for place, name in enumerate(SETS):
        with tempfile.TemporaryDirectory() as folder:
            for kind, step, of_name in plant(
                extractor, name, photos, controls, seed + place, Path(folder)
            ):
                seen = of_name.pop("half")
                if kind == "nothing":
                    said = [name for name, figure in of_name.items() if figure >= 1]
                    alarms += len(said)
                    untouched.append(of_name)
                    print(f"{name:13} untouched: {', '.join(said) or 'nothing'}")
                    continue
                figure = of_name.get(CHANGES[kind], 0.0)
                found.setdefault((kind, step), []).append((figure, seen >= 1))
                said = f"seen {seen:5.2f} figure {figure:5.2f}"
                print(f"{name:13} {kind:11} {step}: {said} {'found' if figure >= 1 else ''}")
    print_areas(found, untouched)
    print(f"{alarms} alarms on {len(untouched)} untouched sets")


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
