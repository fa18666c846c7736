"""The report as one HTML page that needs nothing but itself."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from medlora.report.cards import arrange_card, read_mapping, read_note
from medlora.report.content import Mistake, ReportContent
from medlora.report.curves import (
    N_PANELS,
    N_TOGETHER,
    Curve,
    CurveKind,
    draw_curves,
    trace_curve,
)
from medlora.report.figures import draw_learning_curves, draw_reliability
from medlora.report.matrices import (
    N_HALF_WIDTH,
    N_WRITTEN,
    Counts,
    draw_confusion,
    draw_label_confusions,
)
from medlora.report.tables import (
    SPLIT_WORDS,
    arrange_class_heads,
    arrange_classes,
    arrange_fold_heads,
    arrange_folds,
    arrange_key_figures,
    write_operating_points,
    write_result,
)
from medlora.report.wording import clean_text, format_count, read_interval, read_number

_N_CONFUSIONS = 5


@dataclass(frozen=True)
class MistakeView:
    """A mistake as the template shows it."""

    source: str
    true: str
    predicted: str
    probability: str
    location: str


def render_report(content: ReportContent) -> str:
    """The report as a self-contained HTML page.

    It holds its pictures and its style, runs no script, and asks nothing of the network. All
    text from outside is escaped. The same content always gives the same page.

    Args:
        content: What to show.

    Returns:
        HTML text, to be written as UTF-8.
    """
    evaluation, unseen = content.evaluation, content.evaluation_unseen
    names = [clean_text(name) for name in content.classes]
    split = SPLIT_WORDS.get(content.split, clean_text(content.split))
    confusion = np.asarray(evaluation["confusion"], dtype=np.int64)
    page = _load_template().render(
        title=clean_text(content.title),
        split=split,
        kicker=_write_kicker(content.card),
        result=write_result(evaluation, unseen, content.split),
        operating_points=write_operating_points(content.operating_point),
        warnings=[clean_text(warning) for warning in content.warnings],
        n_skipped=content.n_skipped,
        evaluations=[evaluation] if unseen is None else [evaluation, unseen],
        key_figures=arrange_key_figures([evaluation] if unseen is None else [evaluation, unseen]),
        class_heads=arrange_class_heads(),
        class_rows=arrange_classes(evaluation, content.classes),
        fold_heads=arrange_fold_heads(content.multi_label),
        fold_rows=arrange_folds(content.folds, content.multi_label),
        undefined=[clean_text(str(name)) for name in evaluation.get("undefined", ())],
        multi_label=content.multi_label,
        figures=_draw_figures(content, names, confusion),
        is_together=len(names) <= N_TOGETHER,
        is_small_matrix=not content.multi_label and len(names) <= N_HALF_WIDTH,
        is_written=content.multi_label or len(names) <= N_WRITTEN,
        n_left_out=max(0, len(names) - N_PANELS) if len(names) > N_TOGETHER else 0,
        seconds=_sum_seconds(content),
        confusions=[] if content.multi_label else list_confusions(confusion, names),
        mistakes=[_view_mistake(mistake) for mistake in content.mistakes],
        n_wrong=None if content.multi_label else int(confusion.sum() - np.trace(confusion)),
        sections=arrange_card(content.card),
        note=read_note(content.card),
        command=re.split(r"(\s+)", content.command.strip()),
        version=read_mapping(content.card, "software").get("medlora"),
    )
    # A file name that is not UTF-8 arrives with lone surrogates, which no file can hold.
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _load_template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = format_count
    source = files("medlora.report").joinpath("template.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _draw_figures(content: ReportContent, names: list[str], confusion: Counts) -> dict[str, Markup]:
    """Every figure's SVG by its name; our own drawing, so it is not escaped again."""
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
    return {name: Markup(svg) for name, svg in figures.items()}  # noqa: S704


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


def _view_mistake(mistake: Mistake) -> MistakeView:
    picture = b64encode(mistake.thumbnail).decode("ascii")
    return MistakeView(
        f"data:image/png;base64,{picture}",
        clean_text(mistake.true) or "none",
        clean_text(mistake.predicted) or "none",
        f"{mistake.probability:.2f}",
        clean_text(mistake.location),
    )


def _write_kicker(card: Mapping[str, Any]) -> str:
    """The line above the title: method, backbone and day."""
    backbone = read_mapping(card, "backbone").get("name", "")
    day = str(card.get("created", ""))[:10]
    words = [card.get("method", ""), backbone, day]
    return " · ".join(clean_text(str(word)) for word in words if word)


def _sum_seconds(content: ReportContent) -> str:
    """The training time in words, or "" where it was not recorded."""
    seconds = [read_number(record.get("seconds")) for record in content.history]
    total = sum(value for value in seconds if value is not None)
    if total <= 0:
        return ""
    if total < 120:
        return f"{total:.0f} seconds"
    return f"{total / 60:.0f} minutes" if total < 7200 else f"{total / 3600:.1f} hours"
