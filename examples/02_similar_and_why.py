"""Find the images most similar to one, and explain why two images count as similar."""

from pathlib import Path

import clusterkit as ck
from clusterkit.extractors import Autoencoder
from clusterkit.plots import ExplanationDisplay, GalleryDisplay, save_figure

SAMPLES = Path(__file__).parent.parent / "data" / "digits"
MODEL = Path("autoencoder.keras")

if not MODEL.exists():
    raise SystemExit("run 01_train_and_cluster.py first: it trains autoencoder.keras")

embeddings = ck.embed(SAMPLES, Autoencoder(MODEL), store=".clusterkit")
query = embeddings.paths[0]

found = ck.find_similar(query, embeddings, n_neighbors=8)
for result in found.to_dict()["results"]:
    print(f"{result['similarity']:.3f}  {result['path']}")
save_figure(GalleryDisplay.from_similar(found), "similar.png", overwrite=True)

# The nearest image, and one of another digit: what do their latent vectors share?
for other in (embeddings.paths[found.rows[0]], embeddings.paths[-1]):
    explanation = ck.explain(query, other, embeddings)
    print(f"\n{query} and {other}: {explanation.to_text()}")
save_figure(ExplanationDisplay.from_explanation(explanation), "explain.png", overwrite=True)
