import json

import pytest

from medlora.errors import SettingsError, StorageError
from medlora.runs.folder import RunFolder, RunPlan, read_json, write_json
from medlora.train.settings import TrainSettings

PLAN = RunPlan(
    data="/data/films",
    settings=TrainSettings(rank=8, targets=("mlp",)),
    name="films",
    weights="/weights/vit.safetensors",
    group_by="case",
    skip_unreadable=True,
    allow_patient_overlap=True,
    shuffle_labels=True,
    save_dtype="float16",
    note="Adults only.",
    command="medlora train films",
)
RECORD = {
    "plan": PLAN.to_dict(),
    "classes": ["a", "b"],
    "data_sha256": "00",
    "n_skipped": 0,
    "unreadable": [],
    "backbone_fingerprint": "11",
    "n_processes": 1,
}


@pytest.mark.parametrize("plan", [PLAN, RunPlan("d", TrainSettings(), "n")])
def test_a_plan_survives_json(plan) -> None:
    assert RunPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_run_from_before_novelty_goes_on_without_it() -> None:
    values = PLAN.to_dict()
    assert values.pop("novelty") is True
    assert RunPlan.from_dict(values).novelty is False


@pytest.mark.parametrize(
    ("change", "match"),
    [({"surprise": 1}, "plan is not valid: .*surprise"), ({"settings": {}}, "not valid")],
)
def test_a_changed_plan_is_refused(change, match) -> None:
    with pytest.raises(SettingsError, match=match):
        RunPlan.from_dict(PLAN.to_dict() | change)


def test_a_plan_without_settings_is_refused() -> None:
    with pytest.raises(SettingsError, match="plan is not valid: 'settings'"):
        RunPlan.from_dict({"data": "d", "name": "n"})


def test_a_missing_or_empty_folder_is_free(tmp_path) -> None:
    RunFolder(tmp_path / "missing").check_free()
    RunFolder(tmp_path).check_free()


def test_what_a_kill_left_before_the_plan_is_no_obstacle(tmp_path) -> None:
    (tmp_path / "split.csv").write_text("path\n")
    (tmp_path / ".run.json.0011.part").write_text("{")
    RunFolder(tmp_path).check_free()


@pytest.mark.parametrize("name", ["run.json", "checkpoint.pt", "thesis.doc", ".hidden"])
def test_a_folder_with_anything_else_is_refused(tmp_path, name) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(SettingsError, match=r"is not empty.*--output.*--resume"):
        RunFolder(tmp_path).check_free()


def test_a_file_is_no_run_folder(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        RunFolder(path).check_free()


@pytest.mark.parametrize("missing", ["run.json", "split.csv"])
def test_half_a_run_cannot_be_read(tmp_path, missing) -> None:
    (tmp_path / "split.csv").write_text("")
    write_json(tmp_path / "run.json", RECORD)
    assert RunFolder(tmp_path).read_record() == RECORD
    (tmp_path / missing).unlink()
    with pytest.raises(SettingsError, match="holds no run to go on with"):
        RunFolder(tmp_path).read_record()


@pytest.mark.parametrize("key", RECORD)
def test_a_record_that_lacks_something_is_refused(tmp_path, key) -> None:
    (tmp_path / "split.csv").write_text("")
    write_json(tmp_path / "run.json", {k: v for k, v in RECORD.items() if k != key})
    with pytest.raises(SettingsError, match="is not a run's plan"):
        RunFolder(tmp_path).read_record()
    write_json(tmp_path / "run.json", RECORD | {key: None})
    with pytest.raises(SettingsError, match=f"'{key}' in .* is not what a run writes"):
        RunFolder(tmp_path).read_record()


def test_half_written_files_are_removed_and_others_kept(tmp_path) -> None:
    for name in (".checkpoint.pt.ab12.part", "checkpoint.pt", ".note"):
        (tmp_path / name).write_text("")
    RunFolder(tmp_path).remove_parts()
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", ".note"}


def test_json_is_written_for_readers_and_read_again(tmp_path) -> None:
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"é": [1.5, None]})
    assert "é" in path.read_text("utf-8")
    assert read_json(path, "thing") == {"é": [1.5, None]}


def test_a_number_that_is_none_is_never_written(tmp_path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_damaged_json_is_refused(tmp_path, text) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"The thing .*x\.json is not valid JSON"):
        read_json(path, "thing")


def test_missing_json_is_refused(tmp_path) -> None:
    with pytest.raises(StorageError, match=r"The thing .* cannot be read"):
        read_json(tmp_path / "x.json", "thing")
