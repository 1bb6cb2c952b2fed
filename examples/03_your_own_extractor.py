"""Any function from pixels to vectors is an extractor: one method, and everything else works."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import clusterkit as ck
from clusterkit.extractors import Extraction, Extractor
from clusterkit.plots import ContactSheetDisplay, save_figure

SAMPLES = Path(__file__).parent.parent / "data" / "digits"


class Brightness(Extractor):
    """How bright each cell of an 8 x 8 grid is."""

    name = "brightness"
    image_size = (32, 32)
    dimension = 64

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        grey = images.mean(axis=3)
        cells = grey.reshape(len(images), 8, 4, 8, 4).mean(axis=(2, 4))
        return Extraction(cells.reshape(len(images), -1).astype(np.float32) / 255)


embeddings = ck.embed(SAMPLES, Brightness())
clustering = ck.cluster(embeddings, "kmeans", n_clusters=10, random_state=0)
print(embeddings)
print("sizes:", clustering.sizes)
evaluation = ck.evaluate([path[0] for path in embeddings.paths], clustering.labels)
print("accuracy:", round(evaluation.accuracy, 2))
save_figure(ContactSheetDisplay.from_clustering(clustering), "brightness.png", overwrite=True)
