"""Images unlike the training images, from training to every command that answers."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from medlora.data.cache import NoCache
from medlora.data.table import read_table
from medlora.runs.folds import start_folds
from medlora.runs.novelty import spread_rows
from medlora.runs.opened import open_task
from medlora.runs.training import resume_run
from medlora.task.file import load_task
from medlora.task.novelty import list_entries
from run_samples import (
    FAST,
    TINY,
    assert_same_tensors,
    make_plan,
    read_answers,
    read_tensors,
    run_command,
    train,
    write_images,
    write_manifest,
    write_title,
)

UNLIKE = "unlike the training images"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("many") / "images", n_per_class=40)


@pytest.fixture(scope="module")
def kept(many, tmp_path_factory):
    """The folder of a run whose task file keeps where the training images lie."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLORA_CACHE", str(folder.parent / "cache"))
        assert run_command(patch, "train", many, *TINY, "--epochs", "1", "-o", folder) == 0
    return folder


@pytest.fixture
def strange(tmp_path):
    """An image of pure noise."""
    path = tmp_path / "strange.png"
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_training_keeps_where_the_training_images_lie(kept, many, tmp_path) -> None:
    task = load_task(kept / "task.safetensors")
    novelty = task.card.novelty
    assert novelty is not None
    counts = task.card.data["n_images"]
    assert (novelty.n_train, novelty.n_val) == (counts["train"], counts["val"])
    assert novelty.false_alarms == pytest.approx(1 / (counts["val"] + 1))
    assert list_entries(novelty).keys() <= task.tensors.keys()
    assert len(open_task(kept / "task.safetensors", weights="random").measures) == 1


def test_a_run_that_is_resumed_keeps_the_same_to_the_bit(kept, tmp_path) -> None:
    folder = shutil.copytree(kept, tmp_path / "run")
    (folder / "task.safetensors").unlink()
    resume_run(folder, cache=NoCache())
    assert_same_tensors(read_tensors(folder), read_tensors(kept))


def test_predictions_say_which_images_are_unlike_them(
    command, kept, many, strange, tmp_path, capsys
) -> None:
    known = sorted((many / "dark").iterdir())[:5]
    table, records = tmp_path / "answers.csv", tmp_path / "answers.json"
    task = kept / "task.safetensors"
    given = ("predict", task, *known, strange, *FAST)
    assert command(*given, "--csv", table, "--json", records) == 0
    rows, listed = read_answers(table), json.loads(records.read_text())
    assert rows[-1]["abstain"].startswith(UNLIKE)
    assert float(rows[-1]["novelty"]) > 1
    assert listed[-1]["abstain"].startswith(UNLIKE)
    assert listed[-1]["novelty"] == pytest.approx(float(rows[-1]["novelty"]))
    assert set(listed[-1]["probabilities"]) == {"dark", "light"}
    assert sum(row["abstain"] == "" for row in rows[:-1]) >= 4
    assert "of 6 image(s) should not be decided so" in capsys.readouterr().err


def test_a_bank_says_the_same(command, kept, strange, tmp_path) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    shutil.copy(kept / "task.safetensors", tasks / "one.safetensors")
    alone, mixed = tmp_path / "alone.csv", tmp_path / "mixed.csv"
    assert command("predict", kept / "task.safetensors", strange, *FAST, "--csv", alone) == 0
    assert command("predict", "--tasks", tasks, strange, *FAST, "--csv", mixed) == 0
    (one,), (other,) = read_answers(alone), read_answers(mixed)
    assert other["abstain"] == one["abstain"]
    assert float(other["novelty"]) == pytest.approx(float(one["novelty"]), rel=1e-2)


def test_a_run_tells_its_share_of_them_and_what_abstaining_does(kept) -> None:
    found = json.loads((kept / "evaluation.json").read_text())["novelty"]
    counts = load_task(kept / "task.safetensors").card.data["n_images"]
    assert found["validation"] == {"n_images": counts["val"], "n_unlike": 0}
    scored = found["scored"]
    assert scored["n_images"] == counts["test"]
    assert scored["share"]["value"] == pytest.approx(scored["n_unlike"] / counts["test"])
    assert 0 <= scored["share"]["low"] <= scored["share"]["high"] < 1
    assert scored["abstaining"]["n_abstained"] == scored["n_unlike"]
    novelty = load_task(kept / "task.safetensors").card.novelty
    assert found["promised"]["false_alarms"] == novelty.false_alarms < found["promised"]["most"]
    assert 'id="novelty"' in (kept / "report.html").read_text()
    assert 'id="verdict"' in (kept / "report.html").read_text()


def test_images_of_one_patient_count_as_one(many, tmp_path) -> None:
    table = read_table(many)
    manifest = tmp_path / "manifest.csv"
    rows = [
        {"path": str(many / place), "label": label, "patient": f"{number // 4}"}
        for number, (place, label) in enumerate(
            zip(table.locations, np.array(table.classes)[table.labels], strict=True)
        )
    ]
    write_manifest(manifest, rows)
    result = train(manifest, tmp_path / "run", epochs=1, method="linear", novelty=True)
    card = load_task(result.task).card
    assert card.novelty.n_val == 4 * card.novelty.n_val_groups == card.data["n_images"]["val"]
    assert card.novelty.false_alarms == pytest.approx(1 / (card.novelty.n_val_groups + 1))


def test_evaluation_counts_them(command, kept, many, tmp_path, capsys) -> None:
    scores, table = tmp_path / "scores.json", tmp_path / "answers.csv"
    task, split = kept / "task.safetensors", kept / "split.csv"
    assert command("evaluate", task, split, *FAST, "--json", scores, "--csv", table) == 0
    found = json.loads(scores.read_text())["novelty"]
    rows = read_answers(table)
    assert found["n_unlike"] == sum(float(row["novelty"]) > 1 for row in rows)
    assert found["share"] == pytest.approx(found["n_unlike"] / len(rows))
    assert f"{UNLIKE}: {found['n_unlike']} of {len(rows)}" in capsys.readouterr().out
    told = json.loads((kept / "evaluation.json").read_text())["novelty"]
    assert found["n_unlike"] == told["scored"]["n_unlike"]
    assert found["most_false_alarms"] == told["promised"]["most"]


def test_a_task_that_keeps_nothing_says_so(command, trained, images, tmp_path, capsys) -> None:
    records = tmp_path / "answers.json"
    task = trained / "task.safetensors"
    picture = next((images / "dark").iterdir())
    assert command("predict", task, picture, *FAST, "--json", records) == 0
    assert json.loads(records.read_text())[0]["novelty"] is None
    assert command("evaluate", task, trained / "split.csv", *FAST) == 0
    assert f"{UNLIKE}: unknown, the task keeps nothing of them" in capsys.readouterr().out


def test_nothing_is_kept_where_it_is_not_wanted(command, images, tmp_path) -> None:
    folder = tmp_path / "run"
    given = (images, *TINY, "--epochs", "1", "--no-novelty", "-o", folder)
    assert command("train", *given) == 0
    task = load_task(folder / "task.safetensors")
    assert task.card.novelty is None
    assert not any(name.startswith("novelty.") for name in task.tensors)


def test_show_names_what_is_kept(command, kept, capsys) -> None:
    assert command("show", kept / "task.safetensors") == 0
    shown = " ".join(capsys.readouterr().out.split())
    novelty = load_task(kept / "task.safetensors").card.novelty
    assert f"novelty where {novelty.n_train} training images lie" in shown
    assert f"{novelty.false_alarms:.1%} false alarms on average" in shown
    assert f"with 95 % confidence, by {novelty.n_val} other images" in shown


def test_renaming_moving_and_verifying_a_task_keep_them(command, kept, tmp_path) -> None:
    task = tmp_path / "tasks" / "one.safetensors"
    task.parent.mkdir()
    shutil.copy(kept / "task.safetensors", task)
    before = load_task(task)
    assert command("tasks", "rename", task, "other") == 0
    assert_same_tensors(load_task(task).tensors, before.tensors)
    assert command("tasks", "verify", task.parent, "--weights", "random") == 0
    back = tmp_path / "back.safetensors"
    assert command("tasks", "export", task, tmp_path / "peft", "--weights", "random") == 0
    given = ("tasks", "import", tmp_path / "peft", "--out", back, "--weights", "random")
    assert command(*given) == 0
    assert back.read_bytes() == task.read_bytes()


@pytest.mark.parametrize("method", ["full", "linear", "pca-logistic"])
def test_other_methods_keep_them_too(many, tmp_path, method) -> None:
    result = train(many, tmp_path / "run", method=method, epochs=1, novelty=True)
    assert result.task is not None
    opened = open_task(result.task, weights=None if method == "full" else "random")
    assert len(opened.measures) == 1


def test_a_file_in_half_precision_keeps_them_as_they_are(many, tmp_path) -> None:
    files = [
        train(many, tmp_path / dtype, method="linear", epochs=1, novelty=True, save_dtype=dtype)
        for dtype in ("float32", "float16")
    ]
    tensors = [load_task(result.task).tensors for result in files]
    for name in tensors[0]:
        is_kept = name.startswith("novelty.")
        assert (tensors[0][name].dtype == tensors[1][name].dtype) == is_kept
        assert not is_kept or tensors[0][name].equal(tensors[1][name])


def test_too_few_images_are_told_in_a_warning(tmp_path) -> None:
    few = write_images(tmp_path / "images", n_per_class=4)
    result = train(few, tmp_path / "run", epochs=1, novelty=True)
    assert load_task(result.task).card.novelty is None
    assert any("too few to say which images are unlike them" in each for each in result.warnings)


def test_a_refit_takes_its_limit_from_the_folds(many, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("medlora.runs.results.write_report", write_title)
    plan = make_plan(many, epochs=1, method="linear", novelty=True)
    folder = tmp_path / "run"
    result = start_folds(plan, folder, n_folds=3, refit=True, cache=NoCache())
    assert result.ended == "finished"
    folds = [load_task(folder / f"fold-{n}" / "task.safetensors").card.novelty for n in range(3)]
    refit = load_task(folder / "refit" / "task.safetensors").card.novelty
    assert refit is not None
    assert refit.limit == pytest.approx(np.median([each.limit for each in folds]))
    assert refit.n_val == sum(each.n_val for each in folds)
    assert refit.n_train > max(each.n_train for each in folds)
    assert len(open_task(folder / "ensemble.json", weights="random").measures) == 3


def test_rows_are_taken_from_all_over() -> None:
    rows = np.arange(10, 1010)
    chosen = spread_rows(rows, 5)
    assert chosen.tolist() == [10, 259, 509, 759, 1009]
    assert np.array_equal(spread_rows(rows[:3], 5), rows[:3])
