"""Cats, dogs and wild animals: two convolutions from scratch, and a transfer from Xception."""

from options import read_options

from clusterkit.classifiers import Classifier, classify, compare_networks
from clusterkit.datasets import read_labelled
from clusterkit.plots import NetworkCurvesDisplay, PredictionsDisplay, save_figure

options = read_options(__doc__, images="cat_dog_wild")

# Both are trained and tested on the same images.  When this runs again, trained networks are read
# from the folder.
found = compare_networks(
    options.images,
    {
        # Flipped, zoomed and sheared while it learns, in batches of 32.
        "two-conv": Classifier("two-conv", epochs=options.epochs, progress=True, random_state=0),
        # Only the last layer is trained, on embeddings that the store keeps: seconds.
        "xception": Classifier(
            "xception",
            weights=options.weights,
            epochs=options.epochs,
            progress=True,
            random_state=0,
        ),
    },
    "cats_dogs_wild",
    store=".clusterkit",
    random_state=0,
)
print(found.to_text())
save_figure(NetworkCurvesDisplay.from_comparison(found), "cats_dogs_wild.png", overwrite=True)

# The best one tells the class of any picture, and the probability of each.  To sort a folder of
# them, see 11_the_loop.py or `clusterkit route`.
print(f"predictions of {found.best.name}:")
classifier = Classifier.load(found.best.model)
predictions = classify(read_labelled(options.images).images[::45], classifier).predictions
for prediction in predictions:
    print(f"{prediction.classes[0]:>6} {prediction.probability:.2f}  {prediction.name}")
save_figure(PredictionsDisplay.from_predictions(predictions), "predictions.png", overwrite=True)
