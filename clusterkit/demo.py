"""Run all steps on the sample images, without downloads."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.evaluation import evaluate
from clusterkit.datasets.labels import labels_from_folders
from clusterkit.datasets.results import Result
from clusterkit.elbow.curve import elbow_curve
from clusterkit.embedding.embed import embed
from clusterkit.errors import NotFoundError, OutputExistsError
from clusterkit.extractors.applications import default_weights
from clusterkit.extractors.autoencoder.extractor import Autoencoder
from clusterkit.extractors.autoencoder.training import train_autoencoder
from clusterkit.images.folder import ImageFolder
from clusterkit.plots.contact_sheet import ContactSheetDisplay
from clusterkit.plots.crosstab import CrosstabDisplay
from clusterkit.plots.display import save_figure
from clusterkit.plots.elbow import ElbowDisplay
from clusterkit.plots.explanation import ExplanationDisplay
from clusterkit.plots.gallery import GalleryDisplay
from clusterkit.plots.reconstructions import ReconstructionDisplay
from clusterkit.plots.training import LossCurveDisplay
from clusterkit.report.writing import write_report
from clusterkit.similarity.similar import explain, find_similar
from clusterkit.similarity.space_audit import audit
from clusterkit.utils.files import DEFAULT_STORE
from clusterkit.utils.text import in_shell, join_lines


@dataclass(frozen=True, repr=False)
class DemoReport(Result):
    """Results of the demo.

    Attributes
    ----------
    folder : pathlib.Path
        Folder with the images, the autoencoder, the store, ``clusters.csv``, the figures and
        ``report.html``.
    psnr : float
        PSNR of the autoencoder's reconstructions in dB.
    verdict : str
        The verdict on the number of clusters.
    accuracy, nmi : float
        Clustering accuracy and normalised mutual information with the digits.
    query : pathlib.Path
        The query image of the gallery.
    seconds : float
        Wall time of the run.
    """

    folder: Path
    psnr: float
    verdict: str
    accuracy: float
    nmi: float
    query: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for :func:`clusterkit.utils.text.json_text`."""
        values = asdict(self)
        return {"acc" if name == "accuracy" else name: value for name, value in values.items()}

    def to_text(self) -> str:
        """Return what to look at, and what to try next."""
        store = self.folder / DEFAULT_STORE
        return join_lines(
            [
                "",
                f"Done in {self.seconds:.0f} s. Open {self.folder / 'report.html'} in a browser: "
                "the clusters,",
                "a map of all images and why they are near; name, merge and divide them there.",
                f"Pictures of each step are in {self.folder}:",
                "  clusters.png         the ten clusters, most central images first",
                "  elbow.png            how many groups there are",
                "  evaluation.png       clusters against the true digits",
                "  similar.png          one image and its nearest neighbours",
                "  explain.png          why two of them count as similar",
                "  reconstructions.png  what the autoencoder keeps of an image",
                "  loss.png             how its training went",
                "Then try it yourself:",
                f"  clusterkit similar {in_shell(self.query)} -s {in_shell(store)}",
                f"  clusterkit embed YOUR_PHOTOS/{_for_photos()} && clusterkit elbow && clusterkit "
                "cluster -k 5",
            ]
        )


def _for_photos() -> str:
    """Return the option of `embed` that works here: none where Xception's weights are at hand."""
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    has_weights = default_weights() != "imagenet" or any(home.glob("models/xception*.h5"))
    return "" if has_weights else " -e pixels"


def sample_images() -> Path:
    """Return the folder of sample images, in the package or its repository."""
    package = Path(__file__).parent
    for folder in (package / "data" / "digits", package.parent / "data" / "digits"):
        if folder.is_dir():
            return folder
    raise NotFoundError("the sample images are missing; install clusterkit again")


def run_demo(
    folder: str | Path = "clusterkit-demo",
    *,
    epochs: int = 60,
    random_state: int | None = None,
    say: Callable[[str], Any] = print,
    progress: bool = False,
) -> DemoReport:
    """Train, embed, cluster, evaluate and explain on 8 x 8 handwritten digits.

    Parameters
    ----------
    folder : path
        Folder for the results; must not exist.
    epochs : int
        Maximum number of epochs of the autoencoder.
    random_state : int, optional
        Seed; random by default.
    say : callable
        Called with a line of text at each step.
    progress : bool
        Whether to show progress bars on stderr.

    Returns
    -------
    DemoReport
        Results and figures.

    Raises
    ------
    OutputExistsError
        If the folder exists.
    """
    start = time.perf_counter()
    folder = Path(folder)
    if folder.exists():
        raise OutputExistsError(f"{folder} exists; remove it, or name another folder with -o")
    shutil.copytree(sample_images(), folder / "images", ignore=shutil.ignore_patterns(".*"))
    images = ImageFolder(folder / "images")
    say(f"{len(images):,} images of handwritten digits in {folder / 'images'}")

    say("Training a convolutional autoencoder on them (clusterkit train autoencoder)")
    model = folder / "autoencoder.keras"
    training = train_autoencoder(
        images,
        model,
        image_size=32,
        latent_size=16,
        epochs=epochs,
        random_state=random_state,
        progress=progress,
    )
    save_figure(LossCurveDisplay.from_history(training.history), folder / "loss.png")
    save_figure(
        ReconstructionDisplay.from_arrays(training.originals, training.reconstructions),
        folder / "reconstructions.png",
    )
    say(f"  reconstructions at {training.psnr:.1f} dB PSNR")

    say("Embedding them with its encoder (clusterkit embed)")
    embeddings = embed(images, Autoencoder(model), store=folder / DEFAULT_STORE, progress=progress)

    say("How many groups are there? (clusterkit elbow)")
    curve = elbow_curve(embeddings, random_state=random_state, progress=progress)
    save_figure(ElbowDisplay.from_curve(curve), folder / "elbow.png")
    say(f"  {curve.verdict}")

    say("Grouping them into 10 clusters (clusterkit cluster -k 10)")
    clustering = cluster(embeddings, n_clusters=10, random_state=random_state)
    clustering.to_csv(folder / "clusters.csv")
    save_figure(ContactSheetDisplay.from_clustering(clustering), folder / "clusters.png")

    say("Comparing the clusters with the folders' names (clusterkit evaluate)")
    evaluation = evaluate(labels_from_folders(embeddings.paths), clustering.labels)
    save_figure(CrosstabDisplay.from_evaluation(evaluation), folder / "evaluation.png")
    say(f"  accuracy {evaluation.accuracy:.2f}, normalised mutual information {evaluation.nmi:.2f}")

    query = embeddings.paths[0]
    say(f"Which images are like {query}, and why? (clusterkit similar, clusterkit explain)")
    found = find_similar(query, embeddings)
    save_figure(GalleryDisplay.from_similar(found), folder / "similar.png")
    explanation = explain(query, int(found.rows[0]), embeddings, random_state=random_state)
    save_figure(ExplanationDisplay.from_explanation(explanation), folder / "explain.png")
    say(f"  {explanation.summary}")

    say("What do the embeddings follow? (clusterkit audit)")
    found_in_space = audit(embeddings, random_state=random_state, progress=progress)
    say(f"  {found_in_space.findings[0].sentence}")

    say("One page of all this, in which to decide about the clusters (clusterkit report)")
    page = write_report(
        clustering,
        folder / "report.html",
        curve=curve,
        audit=found_in_space,
        labels="folders",
        title="The digits of the demo",
    )
    say(f"  {page.path}, {page.n_bytes / 1e6:.1f} MB")

    return DemoReport(
        folder=folder,
        psnr=training.psnr,
        verdict=curve.verdict,
        accuracy=evaluation.accuracy,
        nmi=evaluation.nmi,
        query=folder / "images" / query,
        seconds=time.perf_counter() - start,
    )
