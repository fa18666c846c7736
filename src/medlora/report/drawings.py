"""The figures of a run's report, drawn from its content."""

import numpy as np

from medlora.report.cards import read_mapping
from medlora.report.content import ReportContent
from medlora.report.curves import Curve, CurveKind, draw_curves, trace_curve
from medlora.report.figures import draw_learning_curves, draw_reliability
from medlora.report.matrices import Counts, draw_confusion, draw_label_confusions
from medlora.report.wording import clean_text, read_interval, read_number

_N_CONFUSIONS = 5


def draw_figures(content: ReportContent) -> dict[str, str]:
    """Every figure of a run's report as SVG by its name.

    Args:
        content: What the report is about.

    Returns:
        `roc`, `precision_recall`, `confusion`, `reliability`, and `learning` where there are
        epochs.
    """
    names = [clean_text(name) for name in content.classes]
    confusion = np.asarray(content.evaluation["confusion"], dtype=np.int64)
    figures = {}
    overall = read_mapping(content.evaluation, "overall")
    if content.history:
        best_epoch = read_number(read_mapping(content.card, "training").get("best_epoch"))
        figures["learning"] = draw_learning_curves(
            content.history, None if best_epoch is None else round(best_epoch)
        )
    kinds: tuple[CurveKind, ...] = ("roc", "precision_recall")
    for kind in kinds:
        figures[kind] = draw_curves(kind, _trace_curves(kind, content, names))
    draw = draw_label_confusions if content.multi_label else draw_confusion
    figures["confusion"] = draw(confusion, names)
    figures["reliability"] = draw_reliability(
        content.probabilities,
        content.targets,
        content.multi_label,
        read_interval(overall.get("calibration_error")),
        read_interval(overall.get("brier_score")),
    )
    return figures


def _trace_curves(kind: CurveKind, content: ReportContent, names: list[str]) -> list[Curve]:
    per_class = read_mapping(content.evaluation, "per_class")
    curves = []
    for column, (key, name) in enumerate(zip(content.classes, names, strict=True)):
        estimates = {
            measure: read_interval(estimate)
            for measure, estimate in read_mapping(per_class, key).items()
        }
        missing = read_interval(None)
        recall = estimates.get("recall", missing).value
        if kind == "roc":
            specificity = estimates.get("specificity", missing).value
            area = estimates.get("auroc", missing)
            point = (None if specificity is None else 1 - specificity, recall)
        else:
            area = estimates.get("average_precision", missing)
            point = (recall, estimates.get("precision", missing).value)
        scores, positive = content.probabilities[:, column], content.targets[:, column]
        curves.append(trace_curve(kind, name, scores, positive, area, point))
    return curves


def list_confusions(confusion: Counts, names: list[str]) -> list[tuple[str, str, int, int]]:
    """The most frequent mistakes: true class, decided class, how many, of how many.

    Args:
        confusion: Number of images (true class, decided class).
        names: The classes in that order.

    Returns:
        At most five, the most frequent first.
    """
    wrong = [
        (names[row], names[column], int(confusion[row, column]), int(confusion[row].sum()))
        for row, column in np.ndindex(*confusion.shape)
        if row != column and confusion[row, column]
    ]
    return sorted(wrong, key=lambda entry: -entry[2])[:_N_CONFUSIONS]
