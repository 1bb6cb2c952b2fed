"""A store, a classifier and a clustering that several tests of the server share."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import clusterkit as ck
from clusterkit.clusterers import KMeans
from clusterkit.serve import create_app
from tests.stores import make_photos


class Files:
    """A store of photos, a classifier and a clustering of them."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.photos = make_photos(folder / "photos", 24)
        self.store, self.weights = folder / ".clusterkit", weights
        self.model, self.clusters = folder / "clf.keras", folder / "clusters.csv"
        self.extractor = ck.create_extractor("tinynet", weights=weights)
        self.embed()
        self.embeddings = ck.Store(self.store).read()
        clustering = ck.cluster(self.embeddings, KMeans(3), random_state=0)
        clustering.to_csv(self.clusters)
        self.clustering = clustering
        self.classifier = self.train("ab")

    def embed(self) -> None:
        """Embed all photos."""
        ck.embed_to_store(ck.ImageFolder(self.photos), self.extractor, self.store)

    def train(self, classes: str) -> Any:
        """Train a classifier of these classes, and overwrite the previous one."""
        labels = [classes[i % len(classes)] for i in range(len(self.embeddings))]
        classifier = ck.Classifier("tinynet", weights=self.weights, random_state=0)
        classifier.fit(self.embeddings, labels)
        classifier.save(self.model, overwrite=True)
        return classifier

    def app(self, **options: Any) -> Any:
        """Return an application that serves them all."""
        return create_app(self.store, model=self.model, clusters=self.clusters, **options)


def new_picture(seed: int = 99) -> bytes:
    """Return a picture that is not in the store."""
    content = io.BytesIO()
    colours = np.random.default_rng(seed).integers(1, 256, (2, 2, 3), dtype=np.uint8)
    Image.fromarray(colours).resize((24, 20), Image.Resampling.NEAREST).save(content, "PNG")
    return content.getvalue()
