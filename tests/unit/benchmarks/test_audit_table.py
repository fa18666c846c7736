import copy

import pytest

from benchmarks.audit_table import render_audit_result
from benchmarks.result_fields import ResultError

RESULT = {
    "backbone": "tf_efficientnet_lite0",
    "datasets": [
        {
            "name": "brains",
            "n_images": 40,
            "kinds": {"mirrored": [20, 20], "resized": [20, 19]},
            "n_false": 1,
            "n_before": 3,
            "n_judged_same": 2,
        }
    ],
    "costs": {
        "n_images": 20000,
        "n_cores": 2,
        "seconds": {"hashes": 8.0, "neighbours": 4.0},
        "seconds_of_pair": 0.0005,
        "seconds_of_features": 0.01,
        "pairs_of_image": 18,
        "far": 100000,
        "far_seconds": {"hashes": 200, "neighbours": 100, "pictures": 300, "features": 600},
        "peak_bytes": 2**30,
        "aim_seconds": 1800,
    },
    "aims": {"recall": 0.95, "precision": 0.95},
}


def test_shares_aims_and_costs_are_written() -> None:
    text = render_audit_result(RESULT)
    assert "| brains | 40 | 1.00 | 0.95 | 0.975 | 1 | 0.975 |" in text
    assert "on each: reached." in text
    assert "brains 3 (2 of them the same picture)" in text
    assert "100,000 images would take 20 minutes beyond decoding (aim: under 30, reached)" in text


def test_what_is_missed_is_said() -> None:
    result = copy.deepcopy(RESULT)
    result["datasets"][0]["n_false"] = 9
    result["costs"]["far_seconds"]["features"] = 6000
    text = render_audit_result(result)
    assert "not reached on brains" in text
    assert "(aim: under 30, not reached)" in text


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ResultError, match="'n_false' is missing"):
        render_audit_result(
            RESULT | {"datasets": [{"name": "x", "n_images": 1, "kinds": {"a": [1, 1]}}]}
        )
