"""The numbers of the tables and of the first sentence."""

from typing import Any

from medlora.report.tables import (
    arrange_cell,
    arrange_classes,
    arrange_fold_heads,
    arrange_folds,
    arrange_key_figures,
    read_counts,
    write_operating_points,
    write_result,
)
from medlora.report.wording import Interval, format_count


def make_evaluation(**changes: Any) -> dict[str, Any]:
    estimate = {"value": 0.75, "low": 0.5, "high": 0.875}
    undefined = dict.fromkeys(("value", "low", "high"), "undefined")
    return {
        "n_images": 1200,
        "n_groups": 1200,
        "multi_label": False,
        "counts": [1200, 0],
        "thresholds": [0.5, 0.5],
        "overall": {"kappa": estimate, "auroc": undefined, "accuracy": estimate},
        "per_class": {"a": {"recall": estimate}, "b": {"recall": undefined}},
        **changes,
    }


def test_places_stay_inside_the_drawing() -> None:
    cell = arrange_cell(Interval(1.5, -0.25, 2.0))
    assert (cell.place, cell.low, cell.high) == (100.0, 0.0, 100.0)
    assert (cell.value, cell.bounds) == ("1.500", "-0.250–2.000")


def test_measures_are_grouped_and_unknown_ones_come_last() -> None:
    groups = arrange_key_figures([make_evaluation()])
    assert [(group.heading, [row.name for row in group.rows]) for group in groups] == [
        ("Decisions", ["Accuracy"]),
        ("Mean over classes", ["AUROC"]),
        ("Other", ["Kappa"]),
    ]
    auroc = groups[1].rows[0].cells[0]
    assert (auroc.value, auroc.bounds, auroc.place) == ("undefined", "", None)


def test_a_measure_that_only_the_first_evaluation_has_is_undefined_in_the_second() -> None:
    rows = arrange_key_figures([make_evaluation(), make_evaluation(overall={})])[0].rows
    assert [cell.value for cell in rows[0].cells] == ["0.750", "undefined"]


def test_class_rows_follow_the_order_of_the_classes() -> None:
    rows = arrange_classes(make_evaluation(), ["a", "b"])
    assert [(row.name, row.count, row.cells[0].value) for row in rows] == [
        ("a", "1\u202f200", "0.75"),
        ("b", "0", "undefined"),
    ]


def test_counts_are_read_by_name_and_by_place() -> None:
    assert read_counts({"counts": {"b": 2, "a": 1}}, ["a", "b"]) == [1, 2]
    assert read_counts({"counts": [1, 2]}, ["a", "b"]) == [1, 2]
    assert read_counts({}, ["a", "b"]) == [None, None]


def test_an_undefined_result_is_called_so() -> None:
    assert write_result(make_evaluation(), None, "test") == (
        "On 1\u202f200 test images, accuracy is 0.750 "
        "(95\u00a0% interval 0.500\u00a0to\u00a00.875) and mean AUROC undefined."
    )


def test_multi_label_results_are_the_two_means() -> None:
    sentence = write_result(make_evaluation(multi_label=True, n_groups=7), None, "val")
    assert sentence.startswith("On 1\u202f200 validation images (7 patient groups), mean AUROC is")
    assert sentence.endswith("and mean average precision undefined.")


def test_folds_have_a_row_each_and_then_their_mean() -> None:
    def fold(accuracy, auroc, epoch):
        estimates = {"accuracy": {"value": accuracy, "low": 0.1, "high": 1.0}}
        estimates["auroc"] = {"value": auroc, "low": "undefined", "high": "undefined"}
        return {"n_images": 1200, "best_epoch": epoch, "overall": estimates}

    rows = arrange_folds([fold(0.5, 0.75, 3), fold(0.7, "undefined", 10)], multi_label=False)
    heads = arrange_fold_heads(multi_label=False)
    assert [row.name for row in rows] == ["0", "1", "mean ± SD"]
    assert [row.epoch for row in rows] == ["3", "10", ""]
    accuracy, auroc = heads.index("Accuracy"), heads.index("AUROC")
    assert (rows[0].cells[accuracy].value, rows[0].cells[accuracy].bounds) == (
        "0.500",
        "0.100–1.000",
    )
    assert (rows[2].cells[accuracy].value, rows[2].cells[accuracy].bounds) == ("0.600", "± 0.141")
    assert (rows[2].cells[auroc].value, rows[2].cells[auroc].bounds) == ("0.750", "")
    assert rows[1].cells[auroc].value == "undefined"
    assert arrange_folds([], multi_label=True) == []
    assert "Exact match" in arrange_fold_heads(multi_label=True)


def test_an_operating_point_is_a_sentence_for_each_set_of_classes() -> None:
    sensitivity = {"value": 0.75, "low": 0.5, "high": 0.875}
    undefined = dict.fromkeys(("value", "low", "high"), "undefined")
    reached = {
        "positive": "any class but none",
        "n_positive": 1200,
        "n_negative": 0,
        "sensitivity": sensitivity,
        "specificity": undefined,
    }
    point = {"wanted": {"measure": "sensitivity", "value": 0.95}, "reached": [reached]}
    (sentence,) = write_operating_points(point)
    assert sentence == (
        "Thresholds were set for sensitivity 0.95 of any class but none on images that were not "
        "trained on. Here sensitivity is 0.750 (95\u00a0% interval 0.500\u00a0to\u00a00.875) and "
        f"specificity undefined, on {format_count(1200)} positive and 0 negative images."
    )
    assert write_operating_points(None) == []
