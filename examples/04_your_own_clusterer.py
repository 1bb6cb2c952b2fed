"""Any scikit-learn clusterer groups embeddings; compare some against the known digits."""

from pathlib import Path

from sklearn.cluster import Birch

import clusterkit as ck
from clusterkit.clusterers import CLUSTERERS
from clusterkit.datasets import labels_from_folders
from clusterkit.extractors import Autoencoder

SAMPLES = Path(__file__).parent.parent / "data" / "digits"
MODEL = Path("autoencoder.keras")

if not MODEL.exists():
    raise SystemExit("run 01_train_and_cluster.py first: it trains autoencoder.keras")

embeddings = ck.embed(SAMPLES, Autoencoder(MODEL), store=".clusterkit")
labels = labels_from_folders(embeddings.paths)
print("by name:", ", ".join(CLUSTERERS))

candidates = {
    "kmeans": ck.cluster(embeddings, "kmeans", n_clusters=10, random_state=0),
    "agglomerative": ck.cluster(embeddings, "agglomerative", n_clusters=10),
    "Birch": ck.cluster(embeddings, Birch(n_clusters=10, threshold=0.1)),
}
for name, clustering in candidates.items():
    evaluation = ck.evaluate(labels, clustering.labels)
    print(f"{name:>14}: accuracy {evaluation.accuracy:.2f}, NMI {evaluation.nmi:.2f}")
