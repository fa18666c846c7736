import copy
import json
import re

import pytest

from benchmarks.calibration_table import render_calibration
from benchmarks.record import ROOT
from benchmarks.result_fields import ResultError

TEXT = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
EXAMPLE = json.loads(re.search(r"### Kind `calibration`\n\n```json\n(.*?)```", TEXT, re.S)[1])


def test_both_tables_and_the_verdict() -> None:
    text = render_calibration(EXAMPLE)
    assert "| brain MRI | 430 | 394 | temperature 1.25 | 0.060 to 0.030 | 0.200 to 0.150 |" in text
    assert "| 0.700 (0.650 to 0.750) | 1.20 (1.10 to 1.30) | 0.800 (0.750 to 0.850) |" in text
    assert "- brain MRI: the coverage falls short of 0.9, beyond what chance explains (the" in text


@pytest.mark.parametrize(
    ("bounds", "words"), [((0.85, 0.93), "agrees with 0.9"), ((0.92, 0.95), "is above 0.9")]
)
def test_a_coverage_that_holds(bounds, words) -> None:
    result = copy.deepcopy(EXAMPLE)
    result["tasks"][0]["coverage"]["coverage"] |= dict(zip(("low", "high"), bounds, strict=True))
    assert words in render_calibration(result)


def test_a_task_without_calibration_has_empty_cells() -> None:
    result = copy.deepcopy(EXAMPLE)
    result["tasks"][0] |= {"validation": None, "test": None, "method": "none", "scale": []}
    assert re.search(
        r"\| brain MRI \| 430 \| 394 \| none \| +\| +\| +\|", render_calibration(result)
    )


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ResultError, match="answered"):
        render_calibration({**EXAMPLE, "tasks": [{**EXAMPLE["tasks"][0], "abstaining": {}}]})
