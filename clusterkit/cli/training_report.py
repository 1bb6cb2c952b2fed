"""What ``clusterkit train classifier`` writes beside the model, and prints."""

from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.cli.options import notice, print_json, say

if TYPE_CHECKING:
    from clusterkit.classifiers.train import TrainingReport


def check_report(output: Path, *, overwrite: bool) -> None:
    """Refuse, before the training, a report that could not be written after it."""
    from clusterkit.plots.classifier_report import check_report_folder

    check_report_folder(_folder(output), overwrite=overwrite)


def write_report(report: "TrainingReport", *, as_json: bool) -> None:
    """Write the report beside the model, and print the figures."""
    from clusterkit.plots.classifier_report import save_classifier_report

    folder = _folder(report.output)
    written = [report.output, *save_classifier_report(report, folder, overwrite=True)]
    if as_json:
        print_json(report.to_dict() | {"report": folder, "written": written})
        return
    for path, reason in report.failures:
        notice(f"Not learned from: {path}: {reason}")
    _print(report)
    notice(f"Wrote {report.output} and {folder}/ ({', '.join(file.name for file in written[1:])})")


def _folder(output: Path) -> Path:
    """Return the folder of the report of a model."""
    return output.with_name(f"{output.stem}-report")


def _print(report: "TrainingReport") -> None:
    """Print class counts, and the figures on the test images."""
    from clusterkit.classifiers.tasks import MULTILABEL

    counts = {part: sum(classes.values()) for part, classes in report.counts.items()}
    for name in map(str, report.classifier.classes_):
        numbers = (f"{part} {classes.get(name, 0)}" for part, classes in report.counts.items())
        say(f"{name}: {', '.join(numbers)}")
    what = "labels" if report.classifier.task_.kind == MULTILABEL else "images"
    say(
        f"{what} in all: {', '.join(f'{part} {n}' for part, n in counts.items())}; "
        f"epoch {report.classifier.best_epoch_} of {len(report.classifier.history_['loss'])} kept, "
        f"{report.training_seconds:.1f} s of training"
    )
    if report.test is not None:
        say(*report.test.to_text().split("\n"))
