"""Handwritten digits: which of five networks is best?"""

from options import read_options

from clusterkit.classifiers import Classifier, classify, compare_networks
from clusterkit.datasets import read_labelled
from clusterkit.plots import ConfusionDisplay, NetworkCurvesDisplay, PredictionsDisplay, save_figure

# The idx files of MNIST, of which t10k-… are the test images; or a CSV file as on Kaggle.
options = read_options(__doc__, images="mnist")

digits = read_labelled(options.images)
names = ("nn", "dnn", "dnn-dropout", "cnn", "dcnn")
found = compare_networks(
    digits,
    {
        name: Classifier(name, epochs=options.epochs, progress=True, random_state=0)
        for name in names
    },
    "digits",
    random_state=0,
)
print(found.to_text())
found.to_csv("digits.csv", overwrite=True)
save_figure(NetworkCurvesDisplay.from_comparison(found), "digits.png", overwrite=True)

# The best three, chosen on the validation images: which digits do they take for which?
best = sorted(found.results, key=lambda result: -result.val_accuracy)[:3]
for result in best:
    scores, classes = result.test["macro"], list(result.test["classes"])
    print(f"{result.name}: precision {scores['precision']:.4f}, recall {scores['recall']:.4f}")
    display = ConfusionDisplay(result.test["confusion"], classes, title=result.name)
    save_figure(display, f"digits-{result.name}-confusion.png", overwrite=True)

some = digits[range(0, len(digits), -(-len(digits) // 12))]
predictions = classify(some, Classifier.load(best[0].model)).predictions
save_figure(
    PredictionsDisplay.from_predictions(predictions, some), "predictions.png", overwrite=True
)
