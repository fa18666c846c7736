"""The part of a report about trust: calibration, prediction sets, abstaining, net benefit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medlora.report.decision_curves import N_PANELS, draw_decision_curves
from medlora.report.figures import draw_reliability
from medlora.report.risk_coverage import draw_risk_coverage
from medlora.report.sections import Block, Figure, Paragraph, Section, Table
from medlora.report.wording import (
    format_bounds,
    format_count,
    format_number,
    read_interval,
)

_FIGURE_NAMES = {
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "brier_score": "Brier score",
}


def arrange_trust(
    content: Mapping[str, Any],
    before: npt.NDArray[np.float64] | None,
    targets: npt.NDArray[np.bool_],
    *,
    multi_label: bool,
) -> tuple[Section, ...]:
    """The sections of what was measured.

    Args:
        content: As `medlora.runs.trust.TrustScores.to_dict` writes it.
        before: (image, class) probabilities without the task's calibration; None where it has
            none.
        targets: (image, class).
        multi_label: Whether an image may have several classes, or none.
    """
    sections = []
    if content.get("calibration") is not None and before is not None:
        figures = content["calibration"]
        sections.append(_arrange_calibration(figures, before, targets, multi_label=multi_label))
    sections.append(_arrange_abstaining(content, multi_label=multi_label))
    sections.append(_arrange_benefit(content["decision_curve"]))
    return tuple(sections)


def arrange_chosen_point(point: Mapping[str, Any] | None) -> tuple[Section, ...]:
    """What the images that chose a threshold allow to be said of it.

    Args:
        point: As `medlora.runs.operating.bound_point` gives it; None where none was asked for.
    """
    if point is None:
        return ()
    names = ("threshold", "sensitivity", "specificity")
    rows = tuple(
        (
            each["positive"],
            *[_quote(each[name]) for name in names],
            format_count(each["n_positive"]),
            format_count(each["n_negative"]),
        )
        for each in point["reached"]
    )
    wanted = f"{point['wanted']['measure']} {point['wanted']['value']:g}"
    head = ("positive", *names, "positive images", "negative images")
    intro = (
        f"Thresholds were chosen for a {wanted} on validation images. So few images bound it as "
        "follows (95 % intervals); it is the test images that say what is reached elsewhere."
    )
    table = Table("The operating point on the images that it was chosen on", head, rows)
    return (Section("Chosen thresholds", "chosen-thresholds", intro, (table,)),)


def _arrange_calibration(
    figures: Mapping[str, Any],
    before: npt.NDArray[np.float64],
    targets: npt.NDArray[np.bool_],
    *,
    multi_label: bool,
) -> Section:
    rows = tuple(
        (
            _FIGURE_NAMES[name],
            format_number(figures["before"][name]),
            format_number(figures["after"][name]),
        )
        for name in _FIGURE_NAMES
    )
    how = "One scale for all classes was"
    if figures["method"] == "vector":
        how = "A scale and an offset for each class were"
    svg = draw_reliability(
        before,
        targets,
        multi_label,
        read_interval(figures["before"]["calibration_error"]),
        read_interval(figures["before"]["brier_score"]),
        name="reliability-before",
    )
    caption = (
        "Reliability on the same images without the calibration; with it is the diagram of the "
        "results."
    )
    return Section(
        "Calibration",
        "calibration",
        f"{how} fitted on images that were not trained on, and applied to the logits. Lower is "
        "better in every row.",
        (
            Table("These images, before and after", ("measure", "before", "after"), rows),
            Figure(svg, caption, is_half=True),
        ),
    )


def _arrange_abstaining(content: Mapping[str, Any], *, multi_label: bool) -> Section:
    answered = content["abstaining"]
    blocks: list[Block] = []
    conformal = content.get("conformal")
    if conformal is not None:
        blocks.append(Paragraph(_write_coverage(conformal)))
        blocks.append(_tabulate_coverage(conformal))
    if answered["n_abstained"]:
        blocks.append(
            Paragraph(
                f"The task abstains from {format_count(answered['n_abstained'])} of "
                f"{format_count(answered['n_answers'])} answers. The error is "
                f"{_quote(answered['error'])} among those it gives, "
                f"{_quote(answered['error_withheld'])} among those it withholds, and "
                f"{_quote(answered['error_of_all'])} among all."
            )
        )
    else:
        blocks.append(Paragraph("The task's own rules withhold none of these answers."))
    what = "Each label's answer counts by itself." if multi_label else ""
    caption = (
        f"Error if only the surest answers were given, for every share of them. {what}".strip()
    )
    svg = draw_risk_coverage(content["risk_coverage"], answered)
    blocks.append(Figure(svg, caption, is_half=True))
    return Section(
        "Not answering",
        "not-answering",
        "What is gained where the least sure answers are withheld.",
        tuple(blocks),
    )


def _write_coverage(conformal: Mapping[str, Any]) -> str:
    wanted = conformal["wanted"]
    coverage = read_interval(conformal["coverage"])
    verdict = "That is what was asked for, as far as these images can tell."
    if coverage.high is not None and coverage.high < wanted:
        verdict = (
            "That is less than was asked for: these images are not like those that the sets were "
            "made on, and the guarantee does not hold for them."
        )
    elif coverage.low is not None and coverage.low > wanted:
        verdict = "That is more than was asked for."
    return (
        f"Prediction sets were made to hold the truth with a probability of {wanted:g}. On these "
        f"images {_quote(conformal['coverage'])} of them do. {verdict} A set holds "
        f"{_quote(conformal['mean_size'])} answers on average; a share of "
        f"{_quote(conformal['single'])} holds exactly one, {_quote(conformal['empty'])} none."
    )


def _tabulate_coverage(conformal: Mapping[str, Any]) -> Table:
    by_class = conformal["by_class"]
    names = {
        "coverage": "images with it",
        "coverage_without": "images without it",
        "single": "decided",
    }
    kept = [name for name in names if name in next(iter(by_class.values()))]
    rows = tuple(
        (label, *[_quote(estimates[name]) for name in kept])
        for label, estimates in by_class.items()
    )
    caption = "Share of the sets that hold the truth, class by class"
    return Table(caption, ("class", *[names[name] for name in kept]), rows)


def _arrange_benefit(curves: Mapping[str, Mapping[str, Any]]) -> Section:
    caption = (
        "Net benefit of acting where the probability reaches a threshold (band: 95 % interval), "
        "of acting on everybody, and on nobody. The threshold is the probability at which acting "
        "and not acting are held for equally good."
    )
    if len(curves) > N_PANELS:
        caption += f" The first {N_PANELS} of {len(curves)} classes."
    return Section(
        "Net benefit",
        "net-benefit",
        "Where the curve lies above the others, acting on the answers does more good than acting "
        "without them.",
        (Figure(draw_decision_curves(curves), caption),),
    )


def _quote(estimate: Any) -> str:
    interval = read_interval(estimate)
    bounds = format_bounds(interval)
    return format_number(interval.value) + (f" ({bounds})" if bounds else "")
