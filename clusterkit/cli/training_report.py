"""What ``clusterkit train classifier`` writes beside the model, and prints."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import check_picture, notice, print_json

if TYPE_CHECKING:
    from clusterkit.classifiers.training import TrainingReport


def check_report(output: Path, *, overwrite: bool) -> None:
    """Refuse, before the training, names of files that could not be written after it."""
    from clusterkit.files import check_output

    curves, confusion, table = _files(output)
    for picture in (curves, confusion):
        check_picture(picture, overwrite=overwrite)
    check_output(table, overwrite=overwrite)


def write_report(report: "TrainingReport", *, as_json: bool) -> None:
    """Write tables and pictures beside the model, and print the figures."""
    from clusterkit.plots import ConfusionDisplay, LearningCurvesDisplay, save_figure

    curves, confusion, table = _files(report.output)
    written = [report.output, curves]
    display = LearningCurvesDisplay.from_classifier(report.classifier)
    save_figure(display, curves, overwrite=True)
    if report.test is not None:
        report.test.to_csv(table)
        written.append(table)
        if not report.test.is_multilabel:
            save_figure(ConfusionDisplay.from_report(report.test), confusion, overwrite=True)
            written.append(confusion)
    if as_json:
        print_json(report.to_dict() | {"written": written})
        return
    for path, reason in report.failures:
        notice(f"Not learned from: {path}: {reason}")
    _print(report)
    notice(f"Wrote {', '.join(map(str, written))}")


def _files(output: Path) -> tuple[Path, Path, Path]:
    """Return the curves, the confusion matrix and the table of predictions of a model."""
    endings = ("curves.png", "confusion.png", "test.csv")
    curves, confusion, table = (output.with_name(f"{output.stem}-{end}") for end in endings)
    return curves, confusion, table


def _print(report: "TrainingReport") -> None:
    """Print class counts, and the figures on the test images."""
    counts = {part: sum(classes.values()) for part, classes in report.counts.items()}
    for name in report.classifier.classes_:
        numbers = (f"{part} {classes.get(name, 0)}" for part, classes in report.counts.items())
        click.echo(f"{name}: {', '.join(numbers)}")
    click.echo(
        f"in all: {', '.join(f'{part} {n}' for part, n in counts.items())}; "
        f"epoch {report.classifier.best_epoch_} of {len(report.classifier.history_['loss'])} kept, "
        f"{report.training_seconds:.1f} s of training"
    )
    if report.test is not None:
        click.echo(report.test.to_text())
