"""The loop: a classifier sorts out the wild animals, and their clusters become its next classes."""

from pathlib import Path

from options import read_options

import clusterkit as ck
from clusterkit.classifiers import Classifier, route, train_classifier
from clusterkit.clustering import promote
from clusterkit.elbow import elbow_curve
from clusterkit.extractors import KerasApplication
from clusterkit.plots import ContactSheetDisplay, ElbowDisplay, save_figure
from clusterkit.routing import undo

options = read_options(
    __doc__, weights="resnet50_imagenet.h5", images="cat_dog_wild", mixed="species10"
)
for folder in ("routed", "classes"):
    if Path(folder).exists():
        undo(folder)  # links only: what an earlier run made

# 1. Learn cats, dogs and wild animals, and sort a mixed folder; the doubtful go to unsure/.
first = train_classifier(
    options.images,
    "two-conv.keras",
    Classifier("two-conv", epochs=options.epochs, progress=True, random_state=0),
    overwrite=True,
)
print(first.test.to_text())
routing = route(
    ck.ImageFolder(options.mixed), first.classifier, "routed", mode="link", threshold=0.4
)
print("routed:", routing.sorting.folders)

# 2. Which kinds are in the wild folder?
wild_folder = Path("routed", "wild")
if routing.sorting.folders.get("wild", 0) < 30:
    # After very few epochs, as in a first try.
    wild_folder = options.images / "wild"
    print(f"too few images are surely wild: going on with {wild_folder}")
network = KerasApplication("resnet50", weights=options.weights or "imagenet")
wild = ck.embed(ck.ImageFolder(wild_folder), network, store=".clusterkit")
curve = elbow_curve(wild, k=range(2, 13), random_state=0)
print(curve.verdict)
save_figure(ElbowDisplay.from_curve(curve), "elbow.png", overwrite=True)
clusters = ck.cluster(wild, "kmeans", n_clusters=curve.k or 8, random_state=0)
clusters.to_csv("wild.csv", overwrite=True)
save_figure(ContactSheetDisplay.from_clustering(clusters), "wild.png", overwrite=True)

# 3. Named clusters become classes.  Look at wild.png, and give better names than ImageNet's here.
names = {number: clusters.names.get(number, f"kind {number}") for number in clusters.sizes}
too_small = {number: "" for number, size in clusters.sizes.items() if size < 4}
promoted = promote("wild.csv", "classes", names=names | too_small, mode="link")
print("promoted:", promoted.folders)

# 4. Learn the kinds.  The store knows the images already, so this takes seconds.
second = train_classifier(
    "classes",
    "kinds.keras",
    Classifier("resnet50", weights=options.weights, epochs=options.epochs, random_state=0),
    store=".clusterkit",
    overwrite=True,
)
print(second.test.to_text())
