"""`medlora reproduce vgg16-lora` on a small VGG and a few pictures."""

import json

import pytest

from medlora.data.cache import NoCache
from medlora.errors import SettingsError
from medlora.experiments import vgg16_trials
from medlora.experiments.arms import ArmRuns
from medlora.experiments.vgg16_lora import run_vgg16
from medlora.experiments.vgg16_plan import Vgg16Plan
from medlora.experiments.vgg16_published import PUBLISHED
from medlora.experiments.vgg16_trials import list_trials, plan_grid
from run_samples import run_command, write_images

PARTS = ("reproduce", "vgg16-lora", "--precision", "fp32")


@pytest.fixture
def command(monkeypatch, own_cache):
    monkeypatch.setattr(vgg16_trials, "PRINTED", "vgg11.features")
    monkeypatch.setattr(vgg16_trials, "PUBLISHED", PUBLISHED[1:2])
    return lambda *arguments: run_command(monkeypatch, *PARTS, *arguments)


def test_the_published_part_ends_in_a_table_and_is_not_done_again(
    command, tmp_path, capsys
) -> None:
    data = write_images(tmp_path / "images", n_per_class=8)
    given = ("--data", data, "--output", tmp_path / "runs", "--parts", "published")
    assert command(*given) == 0
    found = json.loads((tmp_path / "runs" / "vgg16-lora.json").read_text())
    rows = found["parts"][0]["rows"]
    assert {row["published"] for row in rows} == {PUBLISHED[1].accuracy}
    assert found["parts"][0]["trials"] == [rows[0]["name"]]
    assert found["parts"][0]["grid"] is None
    assert "29.19" in capsys.readouterr().out
    reports = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/**/report.html")}
    assert len(reports) == 1
    assert command(*given) == 0
    assert reports == {path: path.stat().st_mtime_ns for path in reports}
    # Figures of some images are never shown as those of others.
    other = write_images(tmp_path / "others", n_per_class=8)
    assert command("--data", other, *given[2:]) == 2
    assert "holds another run (data" in " ".join(capsys.readouterr().err.split())


def test_a_trial_that_failed_on_other_images_is_told(command, tmp_path, capsys) -> None:
    data = write_images(tmp_path / "images", n_per_class=8)
    given = ("--output", tmp_path / "runs", "--parts", "published")
    assert command("--data", data, *given) == 0
    (place,) = (tmp_path / "runs").glob("**/seed-*")
    (place.parent / "failed.json").write_text('{"error": "The loss is nan."}')
    assert command("--data", data, *given) == 0
    other = write_images(tmp_path / "others", n_per_class=8)
    assert command("--data", other, *given) == 2
    assert "holds another run (data" in " ".join(capsys.readouterr().err.split())


def test_parts_that_build_on_the_grid_say_so(command, tmp_path, capsys) -> None:
    data = write_images(tmp_path / "images", n_per_class=8)
    assert command("--data", data, "--output", tmp_path / "runs", "--parts", "rank") == 2
    assert "Run the part 'grid' first" in " ".join(capsys.readouterr().err.split())


def test_other_parts_need_no_grid(command, monkeypatch, tmp_path) -> None:
    # What is listed, and in which settings it would be trained; nothing is.
    trained = []
    monkeypatch.setattr(ArmRuns, "run", lambda runs, *_, **__: trained.append(runs.arm) or True)
    monkeypatch.setattr(ArmRuns, "is_finished", False)
    data = write_images(tmp_path / "images", n_per_class=8)
    parts = "preparation,balance,method,backbone"
    assert command("--data", data, "--output", tmp_path / "runs", "--parts", parts) == 0
    found = json.loads((tmp_path / "runs" / "vgg16-lora.json").read_text())
    numbers = {part["part"]: len(part["not_run"]) for part in found["parts"]}
    assert numbers == {"preparation": 6, "balance": 6, "method": 5, "backbone": 12}
    assert len(trained) == sum(numbers.values())
    assert {arm.settings.contrast for arm in trained} == {"none", "equalize", "clahe"}


def test_trials_can_be_chosen_by_their_names(command, monkeypatch, tmp_path, capsys) -> None:
    trained = []
    monkeypatch.setattr(ArmRuns, "run", lambda runs, *_, **__: trained.append(runs.arm) or True)
    monkeypatch.setattr(ArmRuns, "is_finished", False)
    data = write_images(tmp_path / "images", n_per_class=8)
    given = ("--data", data, "--output", tmp_path / "runs", "--parts", "method")
    assert command(*given, "--only", "convolutions") == 0
    assert [arm.settings.method for arm in trained] == ["lora", "lora"]
    found = json.loads((tmp_path / "runs" / "vgg16-lora.json").read_text())
    assert len(found["parts"][0]["not_run"]) == 5
    assert command(*given, "--only", "half") == 2
    line = " ".join(capsys.readouterr().err.split())
    assert "The part 'method' has no trial with 'half' in its name; it has 'factorised'," in line


def test_tries_that_share_views_keep_them_where_there_is_a_folder(
    command, monkeypatch, tmp_path
) -> None:
    kept = {}

    def note(runs, plan, **_) -> bool:
        kept[runs.folder.name] = plan.cache_features
        return True

    monkeypatch.setattr(ArmRuns, "run", note)
    monkeypatch.setattr(ArmRuns, "is_finished", False)
    data = write_images(tmp_path / "images", n_per_class=8)
    given = ("--data", data, "--output", tmp_path / "runs", "--parts", "method")
    assert command(*given) == 0
    assert kept == {
        "factorised": "on",
        "linear-probe": "on",
        "lora--last-block-of-convolutions": "on",
        "lora--all-convolutions": "auto",
        "full": "auto",
    }
    run_vgg16(Vgg16Plan(data, ("method",)), tmp_path / "runs", cache=NoCache())
    assert set(kept.values()) == {"auto"}


def test_an_unknown_part_and_missing_images_are_one_line(command, tmp_path, capsys) -> None:
    assert command("--data", tmp_path, "--parts", "all") == 2
    assert "There is no part 'all'" in capsys.readouterr().err
    assert command("--data", tmp_path / "none", "--parts", "published") == 2
    assert "is missing" in capsys.readouterr().err


def test_the_grid_is_the_papers(tmp_path) -> None:
    plan = Vgg16Plan(tmp_path)
    points = plan_grid(plan).space.list_points()
    assert len(points) == 54
    for row in PUBLISHED:
        assert {
            "learning_rate": row.learning_rate,
            "batch_size": row.batch_size,
            "optimizer": row.optimizer,
            "epochs": row.epochs,
        } in points
    assert len(list_trials(plan, tmp_path, "published")) == len(PUBLISHED)
    with pytest.raises(SettingsError, match="One seed at least"):
        Vgg16Plan(tmp_path, seeds=())
