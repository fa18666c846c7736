"""The task files that are shipped."""

import json
from pathlib import Path

import pytest

from medlora.runs.verification import verify_task_files
from medlora.task.file import load_task

ZOO = Path(__file__).resolve().parents[2] / "model_zoo"
FILES = sorted(ZOO.glob("*.safetensors"))
LARGEST = 1_000_000


def test_there_are_four() -> None:
    assert len(FILES) == 4


def test_each_repeats_its_stored_answers() -> None:
    found = list(verify_task_files(FILES))
    assert [each.fault for each in found] == [None] * len(FILES)
    assert all(each.difference is not None for each in found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_is_small_and_has_its_card_beside_it(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    card = load_task(path).card
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == card.to_dict()
    assert card.name == path.stem
    assert "not for use on patients" in card.note
