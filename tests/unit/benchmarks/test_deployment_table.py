"""The tables of a deployment, and the script that measures some backbones."""

import json

import pytest

from benchmarks import deployment
from benchmarks.deployment_table import render_deployment
from benchmarks.result_fields import ResultError
from deployment_samples import plant_result


def test_the_aim_is_judged_for_every_pass() -> None:
    text = render_deployment({"backbones": [plant_result()], "notes": ["It rained."]})
    assert "| test_vit, in order of task, one at a time | 1.020 | at most 1.03 | yes | 1.300 |" in (
        text
    )
    assert "| test_vit, shuffled, batches of 16 | 1.040 | at most 1.03 | no | 1.320 |" in text
    assert text.endswith("It rained.")


def test_every_strategy_has_its_figures() -> None:
    text = render_deployment({"backbones": [plant_result(figure="images/x.svg")]})
    assert "**test_vit**, bf16 on cpu, 2 threads: 100 images of 4 tasks, rank 4" in text
    assert "![test_vit: seconds and ratios of each strategy](images/x.svg)" in text
    assert "| MeLo as published | 5,524,416 | 1.50 s | 1,024 MiB | 0.002 |" in text
    assert "Shuffled, one at a time:" in text
    assert (
        "| fine-tuned, from file | 2.20 s | 60.000 s | 250.00 ms | 3.00 s | "
        "1.100 (1.090 to 1.110) | 20.0 ms | 30.0 ms |"
    ) in text
    assert "| MedLoRA, any tasks | 2.04 s | 0.000 s | – |" in text
    assert "p50 of one batch" in text


def test_a_comparison_without_us_is_refused() -> None:
    result = plant_result()
    rows = [row for row in result["rows"] if row["strategy"] != "mixed"]
    with pytest.raises(ResultError, match="strategy 'mixed' did not take part"):
        render_deployment({"backbones": [result | {"rows": rows}]})
    with pytest.raises(ResultError, match="'backbones' is missing"):
        render_deployment({})


@pytest.fixture
def measured(monkeypatch):
    asked = []

    def measure(settings, **_):
        asked.append(settings)
        return plant_result(backbone=settings.backbone, load=[3.0, 3.0])

    monkeypatch.setattr(deployment, "measure_deployment", measure)
    return asked


def test_the_script_writes_a_result_and_its_figures(measured, tmp_path, capsys) -> None:
    folder = tmp_path / "docs" / "results"
    arguments = ["--backbones", "test_vit", "test_vit2", "--rounds", "2", "--note", "It rained."]
    assert deployment.main(arguments, folder=folder) == 0
    assert [(s.backbone, s.n_rounds, s.weights) for s in measured] == [
        ("test_vit", 2, "random"),
        ("test_vit2", 2, "random"),
    ]
    record = json.loads((folder / "deployment.json").read_text(encoding="utf-8"))
    assert (record["kind"], record["seed"]) == ("deployment", 0)
    for entry in record["result"]["backbones"]:
        assert (folder.parent / entry["figure"]).read_bytes().startswith(b"<?xml")
    printed = capsys.readouterr().out
    assert printed.startswith(render_deployment(record["result"]))
    assert "its load was 3.0 before the first turn.\n\nIt rained." in printed


def test_a_quick_try_writes_nothing(measured, tmp_path, capsys) -> None:
    assert deployment.main(["--quick"], folder=tmp_path) == 0
    assert [settings.backbone for settings in measured] == ["test_vit"]
    assert list(tmp_path.iterdir()) == []
    assert "| test_vit, in order of task, one at a time |" in capsys.readouterr().out
