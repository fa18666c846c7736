from xml.etree import ElementTree

import numpy as np
import pytest

from medlora.evaluate.decision_curve import trace_net_benefit
from medlora.evaluate.risk_coverage import trace_risk
from medlora.report.decision_curves import N_PANELS, draw_decision_curves
from medlora.report.risk_coverage import draw_risk_coverage
from medlora.report.sections import Figure, Paragraph, Table
from medlora.report.trust import arrange_chosen_point, arrange_trust

RNG = np.random.default_rng(0)
SCORES = RNG.random((80, 2))
SCORES /= SCORES.sum(axis=1, keepdims=True)
TARGETS = np.eye(2, dtype=bool)[(SCORES[:, 0] < RNG.random(80)).astype(int)]


def read_texts(drawing):
    return [
        "".join(each.itertext()).strip() for each in ElementTree.fromstring(drawing).iter("text")
    ]


def make_estimate(value, spread=0.05):
    return {"value": value, "low": value - spread, "high": value + spread}


def make_content(**changes):
    curve = trace_risk(
        SCORES.max(axis=1)[:, None], RNG.random((80, 1)) < 0.3, n_resamples=20
    ).to_dict()
    figures = {"log_loss": 0.5, "calibration_error": 0.1, "brier_score": 0.2}
    content = {
        "calibration": {"method": "temperature", "before": figures, "after": figures},
        "conformal": {
            "wanted": 0.9,
            "coverage": make_estimate(0.7),
            "mean_size": make_estimate(1.2),
            "single": make_estimate(0.8),
            "empty": make_estimate(0.0),
            "by_class": {"a": {"coverage": make_estimate(0.7)}, "b": {"coverage": {}}},
        },
        "abstaining": {
            "n_answers": 80,
            "n_abstained": 16,
            "answered": make_estimate(0.8),
            "error": make_estimate(0.1),
            "error_withheld": make_estimate(0.5),
            "error_of_all": make_estimate(0.2),
        },
        "risk_coverage": curve,
        "decision_curve": {
            name: trace_net_benefit(SCORES[:, k], TARGETS[:, k], n_resamples=20).to_dict()
            for k, name in enumerate("ab")
        },
    }
    return content | changes


def arrange(content, before=SCORES):
    return {
        section.anchor: section
        for section in arrange_trust(content, before, TARGETS, multi_label=False)
    }


def find_blocks(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def test_everything_that_was_measured_has_its_section() -> None:
    found = arrange(make_content())
    assert list(found) == ["calibration", "not-answering", "net-benefit"]
    (table,) = find_blocks(found["calibration"], Table)
    assert ("calibration error", "0.100", "0.100") in table.rows
    words = " ".join(block.text for block in find_blocks(found["not-answering"], Paragraph))
    assert "abstains from 16 of 80 answers" in words
    assert "0.100 (0.050–0.150) among those it gives" in words
    (table,) = find_blocks(found["not-answering"], Table)
    assert table.rows == (("a", "0.700 (0.650–0.750)"), ("b", "undefined"))
    assert len(find_blocks(found["net-benefit"], Figure)) == 1


@pytest.mark.parametrize(
    ("coverage", "verdict"),
    [(0.7, "less than was asked for"), (0.9, "as far as these images can tell"), (0.99, "more")],
)
def test_a_coverage_that_fails_is_called_that(coverage, verdict) -> None:
    content = make_content()
    content["conformal"]["coverage"] = make_estimate(coverage)
    (first, _) = find_blocks(arrange(content)["not-answering"], Paragraph)
    assert verdict in first.text


def test_what_a_task_has_not_is_not_told() -> None:
    content = make_content()
    del content["calibration"], content["conformal"]
    content["abstaining"]["n_abstained"] = 0
    found = arrange(content, before=None)
    assert list(found) == ["not-answering", "net-benefit"]
    (only,) = find_blocks(found["not-answering"], Paragraph)
    assert "withhold none" in only.text


def test_the_mark_is_where_the_task_itself_abstains() -> None:
    content = make_content()
    marked = draw_risk_coverage(content["risk_coverage"], content["abstaining"])
    assert "the task's own rule" in read_texts(marked)
    assert "answers 0.800 of the images with an error of 0.100" in marked
    plain = draw_risk_coverage(content["risk_coverage"])
    assert "the task's own rule" not in read_texts(plain)
    assert marked == draw_risk_coverage(content["risk_coverage"], content["abstaining"])


def test_a_curve_without_mistakes_and_one_without_bands_can_be_drawn() -> None:
    perfect = trace_risk(np.array([[0.9]]), np.array([[False]]), n_resamples=0).to_dict()
    assert "0.000" in read_texts(draw_risk_coverage(perfect))
    curve = trace_net_benefit([0.2, 0.9], np.array([False, False]), n_resamples=0).to_dict()
    assert "threshold probability" in read_texts(draw_decision_curves({"a": curve}))


def test_only_so_many_panels_are_drawn() -> None:
    curve = make_content()["decision_curve"]["a"]
    curves = {f"class {number}": curve for number in range(N_PANELS + 2)}
    texts = read_texts(draw_decision_curves(curves))
    assert sum(text.startswith("class ") for text in texts) == N_PANELS
    section = arrange(make_content(decision_curve=curves))["net-benefit"]
    (figure,) = find_blocks(section, Figure)
    assert "The first 12 of 14 classes" in figure.caption


def test_a_chosen_point_is_told_with_its_intervals() -> None:
    assert arrange_chosen_point(None) == ()
    reached = {
        "positive": "ill",
        "n_positive": 30,
        "n_negative": 50,
        **{name: make_estimate(0.5) for name in ("threshold", "sensitivity", "specificity")},
    }
    point = {"wanted": {"measure": "sensitivity", "value": 0.9}, "reached": [reached]}
    (section,) = arrange_chosen_point(point)
    assert "a sensitivity 0.9" in section.intro
    (table,) = find_blocks(section, Table)
    assert table.rows == (("ill", *["0.500 (0.450–0.550)"] * 3, "30", "50"),)
