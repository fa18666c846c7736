"""Scores of finished runs beside the size of their backbones, and the figure of both."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medlora.errors import DataError, SettingsError, StorageError
from medlora.experiments.size_scores import RunScore, read_scores
from medlora.experiments.sizes import BackboneSize
from medlora.experiments.sizes_figure import draw_sizes
from medlora.task.file import load_task


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """What of a finished run is read."""
    for name in ("evaluation.json", "task.safetensors"):
        shutil.copy(trained / name, tmp_path / name)
    return tmp_path


def test_a_run_tells_its_score_and_size(run) -> None:
    record = json.loads((run / "evaluation.json").read_text())
    task = load_task(run / "task.safetensors")
    (score,) = read_scores([run])
    estimate = record["all"]["overall"]["auroc"]
    assert (score.value, score.low, score.high) == tuple(estimate.values())
    assert score.n_images == record["all"]["n_images"]
    assert score.split == record["split"]
    assert (score.backbone, score.method, score.run) == ("test_vit", "lora", run.name)
    assert score.n_trainable == sum(tensor.numel() for tensor in task.tensors.values())
    assert score.to_dict()["measure"] == "auroc"
    assert read_scores([run / "evaluation.json"]) == [score]


def test_another_measure_can_be_asked(run) -> None:
    record = json.loads((run / "evaluation.json").read_text())
    (score,) = read_scores([run], "accuracy")
    assert score.value == record["all"]["overall"]["accuracy"]["value"]


def test_a_measure_that_there_is_not_is_refused(run) -> None:
    with pytest.raises(DataError, match=r"holds no value of 'luck'\. Choose one of: accuracy"):
        read_scores([run], "luck")
    path = run / "evaluation.json"
    record = json.loads(path.read_text())
    record["all"]["overall"]["auroc"]["value"] = "undefined"
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="holds no value of 'auroc'"):
        read_scores([run])


@pytest.mark.parametrize(
    ("content", "kind", "match"),
    [
        ("[]", DataError, "must be a JSON object"),
        ("{}", DataError, "'all' in .* must be a JSON object"),
        ("{", SettingsError, "is not valid JSON"),
    ],
)
def test_what_is_no_evaluation_is_refused(run, content, kind, match) -> None:
    (run / "evaluation.json").write_text(content)
    with pytest.raises(kind, match=match):
        read_scores([run])


def test_a_run_without_its_task_file_is_refused(run) -> None:
    (run / "task.safetensors").unlink()
    with pytest.raises(StorageError, match=r"task\.safetensors"):
        read_scores([run])


SIZES = [
    BackboneSize("test_vit", 300_000, 6_000, 130),
    BackboneSize("test_vit2", 900_000, 9_000, 130),
    BackboneSize("resnet18", 11_000_000, 90_000, 1_026),
]
SCORE = RunScore("run", "tumours", "test_vit", "lora", 6_130, "test", 50, "auroc", 0.8, 0.7, 0.9)


def read_texts(content: bytes) -> str:
    return " | ".join(re.findall(r"<!-- (.*?) -->", content.decode()))


def test_counts_alone_make_one_panel() -> None:
    texts = read_texts(draw_sizes(SIZES, [], Path("sizes.svg")))
    assert "trained parameters" in texts
    assert "parameters of the backbone" in texts
    assert "auroc" not in texts
    assert "2.04 %" in texts


def test_scores_stand_above_the_counts() -> None:
    better = replace(SCORE, backbone="test_vit2", value=0.85)
    unbounded = replace(SCORE, backbone="resnet18", method="linear", low=None, high=None)
    texts = read_texts(draw_sizes(SIZES, [SCORE, better, unbounded], Path("sizes.svg")))
    assert "auroc" in texts
    assert "tumours, lora" in texts
    assert "tumours, linear" in texts
