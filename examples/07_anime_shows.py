"""Which of five anime shows is a picture from?  Five convolutions, and the whole report."""

from options import read_options

from clusterkit.classifiers import Classifier, classify, train_classifier
from clusterkit.datasets import read_labelled
from clusterkit.plots import save_classifier_report

options = read_options(__doc__, images="anime5")

images = read_labelled(options.images)
print(images.class_counts)

report = train_classifier(
    images,
    "anime.keras",
    # Batch normalisation behind each convolution, dropout before the last layer; pictures are
    # flipped, shifted, turned a little, zoomed and recoloured while it learns.
    Classifier("cnn5", image_size=128, epochs=options.epochs, progress=True, random_state=0),
    test_split=0.2,
    overwrite=True,
)
print(report.test.to_text())

# Class counts, curves, confusion matrix, a table of file name, truth, prediction and every class's
# probability, the worst mistakes, the similarity of the shows: each a file of this folder.
for file in save_classifier_report(report, "anime-report", overwrite=True):
    print(file)

# The file is all that is needed from now on; `clusterkit predict` does the same.
classifier = Classifier.load("anime.keras")
predictions = classify(images.images[:1], classifier).predictions
print(predictions[0].classes[0], f"{100 * predictions[0].probability:.0f} %")
