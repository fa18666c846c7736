"""Whole runs: what they leave, how they go on, and what they refuse."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from medlora.data.cache import NoCache
from medlora.data.table import read_table
from medlora.errors import DataError, SettingsError, TrainingError
from medlora.runs import ongoing, saving
from medlora.runs.opened import open_task
from medlora.runs.training import resume_run, start_run
from medlora.task.file import load_task, pack_task, unpack_task
from run_samples import assert_same_tensors, make_plan, read_tensors, train, write_images

AUGMENTED = {"rotation_degrees": 10.0, "flip_horizontal": True, "noise": 0.05}


def resume(folder, **arguments):
    return resume_run(folder, cache=NoCache(), **arguments)


def test_a_run_leaves_all_its_files(trained, images) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "audit.json",
        "checkpoint.pt",
        "evaluation.json",
        "history.json",
        "predictions.csv",
        "model-card.md",
        "report.html",
        "report.json",
        "run.json",
        "split.csv",
        "task.safetensors",
    }
    task = load_task(trained / "task.safetensors")
    assert task.card.training["precision"] == "fp32"
    assert task.card.training["n_epochs_done"] == 4
    assert task.card.data["n_images"] == {"train": 20, "val": 4, "test": 4}
    assert unpack_task(pack_task(task), "again").card == task.card
    evaluation = json.loads((trained / "evaluation.json").read_text())
    assert evaluation["split"] == "test"
    assert evaluation["all"]["n_images"] == 4
    assert len((trained / "predictions.csv").read_text().splitlines()) == 5
    split = read_table(trained / "split.csv")
    assert split.n_images == read_table(images).n_images == 28


def test_a_finished_run_can_be_resumed_without_change(trained, tmp_path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / ".task.safetensors.00ff.part").write_bytes(b"left by a kill")
    result = resume(folder)
    assert result.ended == "finished"
    assert_same_tensors(read_tensors(folder), read_tensors(trained))
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("method", ["linear", "full"])
def test_the_other_methods_give_tasks_that_open(images, tmp_path, method) -> None:
    result = train(images, tmp_path / "run", method=method, epochs=1)
    opened = open_task(result.task, weights=None if method == "full" else "random")
    assert opened.card.method == method


def test_half_precision_files_open(images, tmp_path) -> None:
    result = train(images, tmp_path / "run", epochs=1, save_dtype="float16", train_norm=True)
    tensors = load_task(result.task).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert any(name.startswith("trained.") for name in tensors)
    open_task(result.task, weights="random")


def test_bf16_is_told_in_the_card(images, tmp_path) -> None:
    result = train(images, tmp_path / "run", epochs=1, precision="bf16")
    assert load_task(result.task).card.training["precision"] == "bf16"


def test_a_run_goes_on_in_the_precision_that_it_began_in(images, tmp_path, monkeypatch) -> None:
    """What is fastest is measured, and may be measured otherwise another time."""
    monkeypatch.setattr(ongoing, "choose_precision", lambda precision, device: "bf16")
    whole, folder = tmp_path / "whole", tmp_path / "run"
    train(images, whole, precision="auto")
    left = iter([False] * 3)
    stopped = train(images, folder, precision="auto", should_stop=lambda: next(left, True))
    assert stopped.ended == "stopped"
    monkeypatch.setattr(ongoing, "choose_precision", lambda precision, device: "fp32")
    result = resume(folder)
    assert load_task(result.task).card.training["precision"] == "bf16"
    assert_same_tensors(read_tensors(folder), read_tensors(whole))


def test_a_run_in_a_precision_that_there_is_not_is_refused(trained, tmp_path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"precision": "fp7"}))
    with pytest.raises(SettingsError, match="started in the precision 'fp7', which there is not"):
        resume(folder)


def test_a_run_with_changed_images_is_not_taken_up(tmp_path) -> None:
    data = write_images(tmp_path / "data")
    folder = tmp_path / "run"
    train(data, folder, epochs=1, should_stop=lambda: True)
    path = data / "dark" / "003.png"
    kept = path.read_bytes()
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match=r"not those that the run .* started with: a file has"):
        resume(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"003\.png"):
        resume(folder)
    path.write_bytes(kept)
    assert resume(folder).ended == "finished"


def test_a_run_with_other_weights_is_not_taken_up(images, tmp_path) -> None:
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "test_vit.safetensors"
    torch.manual_seed(1)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), weights)
    folder = tmp_path / "run"
    train(images, folder, weights=str(weights), should_stop=lambda: True)
    torch.manual_seed(2)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), weights)
    with pytest.raises(SettingsError, match=r"started on test_vit@\w{6}; the weights now found"):
        resume(folder)


def test_a_run_goes_on_with_as_many_processes(trained, tmp_path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"n_processes": 4}))
    with pytest.raises(SettingsError, match=r"4 process\(es\), not 1. Go on with --devices 4"):
        resume(folder)


def test_a_damaged_checkpoint_is_refused(trained, tmp_path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    content = (folder / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match="checkpoint cannot be read"):
        resume(folder)


def test_a_folder_in_use_is_refused(trained, images) -> None:
    before = (trained / "task.safetensors").read_bytes()
    with pytest.raises(SettingsError, match="is not empty"):
        start_run(make_plan(images), trained, cache=NoCache())
    assert (trained / "task.safetensors").read_bytes() == before


def test_test_images_are_not_read_before_the_end(tmp_path, monkeypatch) -> None:
    """Whoever reads a test image while the trainer is at work, and be it by a row, is caught."""
    from medlora.data.cache import PreparedImages
    from medlora.train.loop import Trainer

    data = write_images(tmp_path / "data")
    at_work = []
    read: list[int] = []
    run, read_one = Trainer.run, PreparedImages.read_one

    def watch_run(trainer):
        at_work.append(True)
        try:
            return run(trainer)
        finally:
            at_work.clear()

    def watch_read(images, row):
        if at_work:
            read.append(row)
        return read_one(images, row)

    monkeypatch.setattr(Trainer, "run", watch_run)
    monkeypatch.setattr(PreparedImages, "read_one", watch_read)
    train(data, tmp_path / "run", epochs=2)
    table = read_table(tmp_path / "run" / "split.csv")
    expected = {*table.rows_in("train").tolist(), *table.rows_in("val").tolist()}
    assert set(read) == expected
    assert len(table.rows_in("test")) == 4


def test_the_test_split_does_not_change_what_is_learnt(tmp_path) -> None:
    data = write_images(tmp_path / "data")
    first = tmp_path / "first"
    train(data, first)
    table = read_table(first / "split.csv")
    for row in table.rows_in("test"):
        Image.fromarray(np.full((24, 24, 3), 255, np.uint8)).save(first / table.locations[row])
    rows = (first / "split.csv").read_text()
    (tmp_path / "split.csv").write_text(rows)
    train(tmp_path / "split.csv", tmp_path / "second")
    assert_same_tensors(read_tensors(first), read_tensors(tmp_path / "second"))


def test_unreadable_images_are_left_out_and_told_of(tmp_path) -> None:
    data = write_images(tmp_path / "data")
    for name in ("dark/001.png", "light/002.png"):
        (data / name).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    folder = tmp_path / "run"
    result = train(data, folder, epochs=1, skip_unreadable=True)
    assert "2 unreadable image(s) were left out." in result.warnings
    assert load_task(result.task).card.data["n_skipped"] == 2
    assert "2 unreadable image(s) were left out" in result.report.read_text()
    again = resume(folder)
    assert "2 unreadable image(s) were left out." in again.warnings


def test_a_file_that_answers_otherwise_is_refused(images, tmp_path, monkeypatch) -> None:
    """The file's self-check passes, but on validation images it is another model."""
    build = saving.build_model

    def build_another(task, backbone, **arguments):
        model = build(task, backbone, **arguments)
        if "dtype" in arguments:
            with torch.no_grad():
                model.head.bias[0] += 1
        return model

    monkeypatch.setattr(saving, "build_model", build_another)
    with pytest.raises(TrainingError, match=r"task\.safetensors does not answer like the trained"):
        train(images, tmp_path / "run", epochs=1)
    assert not (tmp_path / "run" / "report.html").exists()


def test_every_class_needs_images_to_train_and_to_validate(tmp_path) -> None:
    for split, classes in (("train", ("a", "b", "c")), ("val", ("a", "b")), ("test", ("a",))):
        write_images(tmp_path / "data" / split, 3, classes=classes, seed=len(classes))
    with pytest.raises(DataError, match=r"no image of c in the split 'val'"):
        train(tmp_path / "data", tmp_path / "run")


def test_a_class_that_the_test_split_lacks_is_undefined(tmp_path) -> None:
    for split, classes in (("train", ("a", "b")), ("val", ("a", "b")), ("test", ("a",))):
        write_images(tmp_path / "data" / split, 3, classes=classes, seed=len(split))
    result = train(tmp_path / "data", tmp_path / "run", epochs=1)
    assert "No image of class 'b': its scores are undefined." in result.warnings
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["all"]["per_class"]["b"]["recall"]["value"] == "undefined"


def test_shuffled_labels_without_a_leak_give_no_warning(tmp_path) -> None:
    data = write_images(tmp_path / "data", 30)
    result = train(data, tmp_path / "run", shuffle_labels=True, epochs=6, learning_rate=0.01)
    assert not [warning for warning in result.warnings if "shuffled" in warning]
    assert load_task(result.task).card.training["shuffled_labels"] is True


def test_shuffled_labels_with_a_leak_give_a_warning(tmp_path) -> None:
    """Validation images are copies of training images, so their labels can be learnt by heart."""
    write_images(tmp_path / "data" / "train", 12)
    shutil.copytree(tmp_path / "data" / "train", tmp_path / "data" / "val")
    result = train(
        tmp_path / "data",
        tmp_path / "run",
        shuffle_labels=True,
        method="full",
        backbone="test_resnet",
        epochs=14,
        learning_rate=3e-3,
    )
    assert [
        warning for warning in result.warnings if "With shuffled labels validation still" in warning
    ]


def test_an_adapter_that_changes_nothing_is_told(images, tmp_path) -> None:
    result = train(images, tmp_path / "run", epochs=1, learning_rate=1e-12)
    assert any("The adapter changes nothing" in warning for warning in result.warnings)


def test_a_constant_predictor_is_told_with_its_share(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for name, n_images in (("common", 24), ("rare", 8)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(n_images):  # nothing tells the classes apart
            pixels = rng.integers(0, 256, (24, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{index}.png")
    result = train(tmp_path / "data", tmp_path / "run", epochs=3, method="linear")
    found = [warning for warning in result.warnings if "Every image is called 'common'" in warning]
    assert found
    assert len(found) == len(set(found))
    assert all("75.00 %" in warning or "80.00 %" in warning for warning in found)


def test_a_good_run_gives_no_warning(images, tmp_path) -> None:
    result = train(images, tmp_path / "run", epochs=4, learning_rate=0.01)
    # That the test split is small is true of every run on so few images.
    assert [own for own in result.warnings if "test images an accuracy" not in own] == []
    assert len(result.warnings) == 1
    assert result.scores.overall.overall["auroc"].value == 1.0


def test_an_exploding_run_stops_and_keeps_its_checkpoint(images, tmp_path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match="The last good checkpoint is kept"):
        train(
            images,
            folder,
            epochs=50,
            learning_rate=9e5,
            clip_norm=0.0,
            warmup_fraction=0.5,
            batch_size=20,
        )
    assert (folder / "run.json").is_file()
    if (folder / "checkpoint.pt").is_file():
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        assert all(torch.isfinite(tensor).all() for tensor in state["tensors"].values())


def test_an_operating_point_is_set_on_validation_and_told_on_test(images, tmp_path) -> None:
    text = "light:sensitivity=0.9"
    train(images, tmp_path / "run", epochs=3, learning_rate=0.01, operating_point=text)
    card = load_task(tmp_path / "run" / "task.safetensors").card
    assert card.training["operating_point"] == text
    assert sum(card.thresholds) == pytest.approx(1)
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    (reached,) = found["operating_point"]["reached"]
    recall = found["all"]["per_class"]["light"]["recall"]["value"]
    assert reached["sensitivity"]["value"] == pytest.approx(recall)
    assert (reached["n_positive"], reached["n_negative"]) == (2, 2)
    assert found["val"]["per_class"]["light"]["recall"]["value"] >= 0.9
    assert (
        "Thresholds were set for sensitivity 0.9 of light"
        in (tmp_path / "run" / "report.html").read_text()
    )
    with pytest.raises(SettingsError, match="names the class 'cyst'"):
        train(images, tmp_path / "none", operating_point="cyst:sensitivity=0.9")
    assert not (tmp_path / "none").exists()
    with pytest.raises(SettingsError, match="operating_point does not go with thresholds 'f1'"):
        make_plan(images, operating_point=text, thresholds="f1")
