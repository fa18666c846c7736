import copy
import json
import re
from typing import Any

import pytest

from benchmarks.novelty_candidates_table import render_novelty_candidates
from benchmarks.record import ROOT
from benchmarks.result_fields import ResultError
from benchmarks.trust_table import render_trust

TEXT = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def read_example(kind: str) -> dict[str, Any]:
    found = re.search(rf"### Kind `{kind}`\n\n```json\n(.*?)```", TEXT, flags=re.DOTALL)
    assert found is not None
    example: dict[str, Any] = json.loads(found[1])
    return example


def test_a_cell_tells_auroc_interval_and_share() -> None:
    table = render_trust(read_example("trust"))
    assert "| blood cells | 0.999 [0.995, 1.000] &#124; 99.0 % |" in table
    assert "| photographs | 1.000 &#124; 100.0 % |" in table
    assert "| own test images called unlike | 2.0 % |" in table
    assert "AUROC 0.999 on average, 0.999 at least, of 1 pairs of tasks" in table
    assert "0.980 on average (aim: at least 0.9, reached); blurred 0.980." in table
    assert "takes at most 28 kB; computing it took 6.7 %" in table


def test_an_aim_that_is_missed_is_said_to_be() -> None:
    result = copy.deepcopy(read_example("trust"))
    for each in result["arms"][0]["tasks"][0]["sets"]:
        each["auroc"] = 0.5
    table = render_trust(result)
    assert "aim: at least 0.98; reached by 0 of them" in table
    assert "aim: at least 0.9, not reached" in table


def test_one_modality_is_counted_apart() -> None:
    result = copy.deepcopy(read_example("trust"))
    result["arms"][0]["tasks"][0]["sets"][0]["kind"] = "same modality"
    table = render_trust(result)
    assert "Another modality" not in table
    assert "same modality |" in table
    assert "are one modality" in table


def test_candidates_stand_in_their_order() -> None:
    table = render_novelty_candidates(read_example("novelty-candidates"))
    row = next(line for line in table.splitlines() if line.startswith("| blocks.3"))
    assert row.endswith("| 0.999 | 0.990 | 0.999 | 1.000 | 0.990 | 0.980 | 0.850 | 0.955 | 1.0 % |")


@pytest.mark.parametrize(
    ("render", "kind", "name"),
    [
        (render_trust, "trust", "arms"),
        (render_novelty_candidates, "novelty-candidates", "backbones"),
    ],
)
def test_a_missing_field_is_named(render: Any, kind: str, name: str) -> None:
    result = read_example(kind)
    del result[name]
    with pytest.raises(ResultError, match=f"the field '{name}' is missing"):
        render(result)
