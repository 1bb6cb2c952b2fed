"""Train an autoencoder on your own images, ask how many groups there are, and look at them."""

import sys
from pathlib import Path

import clusterkit as ck
from clusterkit.elbow import elbow_curve
from clusterkit.extractors import Autoencoder, train_autoencoder
from clusterkit.plots import ContactSheetDisplay, ElbowDisplay, ReconstructionDisplay, save_figure

SAMPLES = Path(__file__).parent.parent / "data" / "digits"

# Your own folder as an argument, or the sample digits.
images = ck.ImageFolder(sys.argv[1] if len(sys.argv) > 1 else SAMPLES)

training = train_autoencoder(
    images,
    "autoencoder.keras",
    image_size=32,
    latent_size=16,
    epochs=15,
    overwrite=True,
    random_state=0,
)
print(f"trained for {training.epochs} epochs, {training.psnr:.1f} dB")
save_figure(
    ReconstructionDisplay.from_arrays(training.originals, training.reconstructions),
    "reconstructions.png",
    overwrite=True,
)

# The store keeps the vectors: when this runs again, only new images go through the network.
embeddings = ck.embed(images, Autoencoder("autoencoder.keras"), store=".clusterkit")

curve = elbow_curve(embeddings, k=range(2, 21), random_state=0)
print(curve.verdict)
save_figure(ElbowDisplay.from_curve(curve), "elbow.png", overwrite=True)

clustering = ck.cluster(embeddings, "kmeans", n_clusters=curve.k or 10, random_state=0)
clustering.to_csv("clusters.csv", overwrite=True)
save_figure(ContactSheetDisplay.from_clustering(clustering), "clusters.png", overwrite=True)
print("sizes:", clustering.sizes)
