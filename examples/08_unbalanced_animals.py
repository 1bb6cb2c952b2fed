"""Ten classes, some nine times larger than others: the effect of weights and of a transfer."""

from options import read_options

from clusterkit.classifiers import Classifier, compare_networks
from clusterkit.datasets import read_labelled
from clusterkit.plots import ClassCountsDisplay, NetworkCurvesDisplay, save_figure

options = read_options(__doc__, images="imbalanced10")

images = read_labelled(options.images)
counts = images.class_counts
print(f"the largest class has {max(counts.values()) / min(counts.values()):.1f} times the smallest")
save_figure(ClassCountsDisplay({"all": counts}), "class_counts.png", overwrite=True)

# The whole picture is resized; resize="crop" would cut its centre out, and details with it.
small = {"image_size": 150, "epochs": options.epochs, "progress": True, "random_state": 0}
found = compare_networks(
    images,
    {
        # All images count alike, so that rare classes are given up first.
        "alike": Classifier("cnn5", balance=None, **small),
        # All classes count alike: the default where the largest has twice the smallest's images.
        "weighted": Classifier("cnn5", balance="weights", **small),
        "transfer": Classifier(
            "xception", weights=options.weights, epochs=options.epochs, random_state=0
        ),
    },
    "unbalanced",
    store=".clusterkit",
    random_state=0,
)
print(found.to_text())
save_figure(NetworkCurvesDisplay.from_comparison(found), "unbalanced.png", overwrite=True)

for result in found.results:
    print(f"\n{result.name}: macro recall {result.test['macro']['recall']:.3f}")
    for name, scores in result.test["classes"].items():
        print(f"  {name:20} recall {scores['recall']:.2f} of {scores['support']:.0f}")
