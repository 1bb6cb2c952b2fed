"""The genres of a film poster, several each: one threshold a genre, chosen on other posters."""

from dataclasses import replace

import numpy as np
from options import read_options

from clusterkit.classifiers import Classifier, classify, train_classifier
from clusterkit.plots import save_classifier_report

# A table of file name and genres, with | between them.
options = read_options(__doc__, images="posters700/labels.csv")

trained = {
    # From scratch; look at it while it learns with `tensorboard --logdir logs`.
    "cnn5": Classifier(
        "cnn5", epochs=options.epochs, tensorboard="logs", progress=True, random_state=0
    ),
    # The last layer alone, on embeddings that the store keeps.
    "xception": Classifier(
        "xception", weights=options.weights, epochs=options.epochs, random_state=0
    ),
}
for name, classifier in trained.items():
    report = train_classifier(
        options.images, f"posters-{name}.keras", classifier, store=".clusterkit", overwrite=True
    )
    test = report.test
    fixed = replace(test, predicted=test.probabilities >= 0.5)
    always = replace(test, predicted=np.ones_like(test.predicted))
    print(f"{name}: weighted F1 {test.weighted['f1']:.3f} with a threshold for each genre")
    print(f"  {fixed.weighted['f1']:.3f} with thresholds of 0.5")
    print(f"  {always.weighted['f1']:.3f} if every poster had every genre")
save_classifier_report(report, "posters-report", overwrite=True)

# What a service would answer; on the command line `clusterkit predict POSTER --json`.
predictions = classify(test.images[:3], report.classifier).predictions
for prediction in predictions:
    print(prediction.to_dict()["classes"], prediction.name)
