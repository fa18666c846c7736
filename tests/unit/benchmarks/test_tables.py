"""Tables generated into documents: mechanism, both renderers, and what they refuse."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.real_tasks_table import render_real_tasks
from benchmarks.record import ROOT, write_result
from benchmarks.result_fields import ResultError
from benchmarks.tables import RENDERERS, main, render_result, rewrite_document
from benchmarks.training_speed_table import render_training_speed

SPEED = {
    "setting": "ViT-B/16, rank 4.",
    "rows": [
        {
            "name": "ours",
            "precision": "bf16",
            "images_per_second": 6.0,
            "repeats": [5.9, 6.25],
            "peak_memory_bytes": 3 * 2**29,
            "how": "medlora train",
        },
        {"name": "theirs", "precision": "fp32", "images_per_second": 2.0},
    ],
    "ratios": [
        {"of": "ours", "to": "theirs", "measure": "images_per_second", "at_least": 3},
        {"of": "ours", "to": "theirs", "measure": "images_per_second", "at_most": 2.5},
        {"of": "theirs", "to": "ours", "measure": "images_per_second"},
    ],
}


def task_row(**changes: Any) -> dict[str, Any]:
    row = {
        "data": "MRI",
        "test_images": "all test images",
        "n_images": 394,
        "backbone": "vit",
        "method": "lora",
        "seed": 0,
        "learning_rate": 0.001,
        "trainable_parameters": 37636,
        "metrics": {"accuracy": {"value": 0.8, "low": 0.75, "high": 0.85}},
    }
    return row | changes


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A repository with one document that shows one recorded result."""
    write_result("speed", "training-speed", SPEED, seed=3, folder=tmp_path / "docs" / "results")
    text = "# Title\n\n<!-- generated: speed -->\nold\n<!-- end generated -->\n\nLast line\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_stale_document_is_found_then_written_then_fresh(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (site / "README.md").read_text(encoding="utf-8")

    assert main(["--check"], root=site) == 1
    assert "README.md is stale" in capsys.readouterr().out
    assert (site / "README.md").read_text(encoding="utf-8") == before

    assert main([], root=site) == 0
    after = (site / "README.md").read_text(encoding="utf-8")
    assert "| ours | bf16 | 6.0 (5.9 to 6.2) | 1.50 GiB | medlora train |" in after
    assert after.startswith("# Title\n\n<!-- generated: speed -->\n\nViT-B/16, rank 4.\n")
    assert after.endswith("<!-- end generated -->\n\nLast line\n")
    assert "old" not in after

    assert main(["--check"], root=site) == 0


def test_a_changed_number_in_the_document_is_stale(site: Path) -> None:
    main([], root=site)
    document = site / "README.md"
    document.write_text(document.read_text(encoding="utf-8").replace("3.00", "4.00"))
    assert main(["--check"], root=site) == 1


def test_the_origin_of_a_result_is_told(site: Path) -> None:
    rendered = render_result(site / "docs" / "results" / "speed.json")
    assert re.search(r"Measured on .+ \(\d+ cores.*\).*; python 3\.\d+", rendered)


def test_a_result_not_yet_recorded_is_said_to_be_missing(tmp_path: Path) -> None:
    sentence = render_result(tmp_path / "absent.json")
    assert sentence == "No result has been recorded in `docs/results/absent.json` yet."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- generated: a -->\n", "table 'a' is not closed"),
        ("<!-- generated: a -->\n<!-- generated: b -->\n", "line 2: table 'a' is not closed"),
        ("x\n<!-- end generated -->\n", "line 2: .* closes no table"),
    ],
)
def test_markers_must_come_in_pairs(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=message):
        rewrite_document(text, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ('{"format": 2, "kind": "real-tasks"}', "format is 2, and this script reads 1"),
        ('{"format": 1, "kind": "poem"}', "kind is 'poem', and must be one of .*deployment"),
        ('{"format": 1, "kind": "real-tasks"}', "the field 'result' is missing"),
        ("[]", "an object with the field 'format' is needed"),
    ],
)
def test_a_file_of_another_layout_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ResultError, match=message):
        render_result(path)


def test_scores_can_be_shown_without_what_is_said_of_every_two_methods(tmp_path: Path) -> None:
    pairs = {"test_images": "All test images", "pairs": [{"verdict": "They are alike."}]}
    result = {"rows": [task_row()], "comparisons": [pairs]}
    write_result("task", "real-tasks", result, seed=0, folder=tmp_path)
    write_result("speed", "training-speed", SPEED, seed=0, folder=tmp_path)
    marker = "<!-- generated: {} -->\n<!-- end generated -->\n"

    whole = rewrite_document(marker.format("task"), tmp_path)
    short = rewrite_document(marker.format("task, scores"), tmp_path)

    assert "They are alike." in whole and "They are alike." not in short
    assert "0.800 [0.750, 0.850]" in short and "Measured on" in short
    with pytest.raises(ResultError, match="'training-speed', and must be one of real-tasks"):
        rewrite_document(marker.format("speed, scores"), tmp_path)


def test_an_error_names_the_document_and_exits_with_2(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "docs" / "results" / "speed.json").write_text("{", encoding="utf-8")
    assert main([], root=site) == 2
    assert re.search(r"README\.md: .*speed\.json is no JSON", capsys.readouterr().err)


def test_ratios_are_computed_and_judged() -> None:
    table = render_training_speed(SPEED)
    assert "| ours to theirs: images per second | 3.00 | at least 3 | yes |" in table
    assert "| ours to theirs: images per second | 3.00 | at most 2.5 | no |" in table
    assert "| theirs to ours: images per second | 0.33 | – | – |" in table


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        ({"of": "nobody", "to": "ours", "measure": "images_per_second"}, "names 'nobody'"),
        ({"of": "ours", "to": "theirs", "measure": "joules"}, "the field 'joules' is missing"),
        ({"of": "ours", "measure": "images_per_second"}, "the field 'to' is missing"),
    ],
)
def test_a_ratio_of_nothing_is_refused(ratio: dict[str, str], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        render_training_speed(SPEED | {"ratios": [ratio]})


def test_a_ratio_to_zero_is_refused() -> None:
    rows = [*SPEED["rows"], {"name": "still", "precision": "fp32", "images_per_second": 0}]
    ratio = {"of": "ours", "to": "still", "measure": "images_per_second"}
    with pytest.raises(ResultError, match=r"'still' is 0\.0, and a ratio needs a positive one"):
        render_training_speed({"rows": rows, "ratios": [ratio]})


def test_one_seed_is_shown_with_its_interval() -> None:
    table = render_real_tasks({"rows": [task_row()]})
    assert "**MRI, all test images (394)**" in table
    row = "| vit | lora | 37,636 | 0.001 | 1 | 0.800 [0.750, 0.850] | – | – | – | – |"
    assert row in table


def test_seeds_are_averaged_and_their_spread_is_told() -> None:
    second = {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.95}}
    table = render_real_tasks({"rows": [task_row(), task_row(seed=1, metrics=second)]})
    assert "| 2 | 0.850 ± 0.071 [0.800, 0.900] |" in table


@pytest.mark.parametrize("estimate", ["undefined", {"value": "undefined"}, {"value": None}])
def test_an_undefined_score_is_called_so(estimate: Any) -> None:
    rows = [task_row(), task_row(seed=1, metrics={"accuracy": estimate})]
    assert "| 2 | undefined |" in render_real_tasks({"rows": rows})


def test_each_set_of_test_images_has_a_table_of_its_own() -> None:
    table = render_real_tasks(
        {"rows": [task_row(), task_row(test_images="not in Training", n_images=306)]}
    )
    assert "**MRI, all test images (394)**" in table
    assert "**MRI, not in Training (306)**" in table


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([task_row(), task_row()], r"two rows with one seed: \[0, 0\]"),
        ([task_row(), task_row(seed=1, n_images=306)], r"count \[306, 394\] of them"),
        ([{"data": "MRI"}], "the field 'test_images' is missing"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(
    rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ResultError, match=message):
        render_real_tasks({"rows": rows})


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    rows = [{"name": "a|b", "precision": "fp32", "images_per_second": 1.0}]
    assert "| a&#124;b | fp32 |" in render_training_speed({"rows": rows})


def test_the_described_layouts_are_those_that_the_renderers_read() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    described = re.findall(r"### Kind `(.+?)`\n\n```json\n(.*?)```", text, flags=re.DOTALL)
    assert [kind for kind, _ in described] == sorted(RENDERERS)
    for kind, example in described:
        assert "| " in RENDERERS[kind](json.loads(example))
