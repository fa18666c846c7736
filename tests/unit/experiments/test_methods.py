"""Methods compared on one data set: the same splits, tries and seeds for each."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from medlora.data.cache import NoCache
from medlora.errors import SettingsError, WeightsNotFoundError
from medlora.evaluate.grouping import SubgroupColumn
from medlora.experiments.methods import (
    FinishedMethods,
    MethodsPlan,
    list_rates,
    list_runs,
    run_methods,
)
from medlora.train.settings import TrainSettings
from run_samples import BACKBONE, write_images, write_manifest

SETTINGS = TrainSettings(
    backbone=BACKBONE, epochs=1, batch_size=8, precision="fp32", test_fraction=0.3
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> MethodsPlan:
    folder = tmp_path_factory.mktemp("methods")
    images = write_images(folder / "images", n_per_class=20)
    rows = [
        {
            "path": f"images/{path.parent.name}/{path.name}",
            "label": path.parent.name,
            "patient": f"p{number // 2}",
            "sex": "FM"[number // 2 % 2],
        }
        for number, path in enumerate(sorted(images.rglob("*.png")))
    ]
    return MethodsPlan(
        data=write_manifest(folder / "manifest.csv", rows),
        methods=("pca-logistic", "lora"),
        settings=SETTINGS,
        seeds=(0, 1),
        n_tries=2,
        weights="random",
        margin=0.05,
        subgroups=(SubgroupColumn("sex"),),
        n_resamples=50,
    )


@pytest.fixture(scope="module")
def folder(plan: MethodsPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    assert run_methods(plan, place, cache=NoCache())
    return place


def test_every_run_has_the_same_splits(plan: MethodsPlan, folder: Path) -> None:
    def read(path: Path) -> list[tuple[str, str]]:
        with path.open() as stream:
            return [(row["sha256"], row["split"]) for row in csv.DictReader(stream)]

    settled = read(folder / "split.csv")
    assert {split for _, split in settled} == {"train", "val", "test"}
    runs = sorted(folder.rglob("run.json"))
    # Of two tries the better one is the first seed as well; the probe of components has no tries.
    assert len(runs) == 2 + 1 + 2
    assert all(read(path.parent / "split.csv") == settled for path in runs)


def test_what_was_found(plan: MethodsPlan, folder: Path) -> None:
    found = FinishedMethods(plan, folder).read()
    methods = {each["name"]: each["n_seeds"] for each in found["comparison"]["methods"]}
    assert methods == {"pca-logistic": 2, "lora": 2}
    (pair,) = found["comparison"]["pairs"]
    assert (pair["first"], pair["second"]) == ("pca-logistic", "lora")
    assert found["comparison"]["margin"] == 0.05
    assert {row["seed"] for row in found["rows"]} == {0, 1}
    (note,) = found["notes"]
    assert note.startswith("The best learning rate of lora, ")
    assert set(found["subgroups"]) == {"pca-logistic", "lora"}
    (by_sex,) = found["subgroups"]["lora"]
    assert [group["name"] for group in by_sex["groups"]] == ["F", "M"]
    n_test = sum(row["n_images"] for row in found["rows"][:1])
    assert sum(group["n_images"] for group in by_sex["groups"]) == n_test
    assert json.loads(json.dumps(found)) == found


def test_a_stopped_comparison_goes_on(plan: MethodsPlan, tmp_path: Path) -> None:
    short = replace(plan, seeds=(0,), n_tries=1, subgroups=())
    calls = iter(range(1000))
    stop = lambda: next(calls) >= 2  # noqa: E731
    assert not run_methods(short, tmp_path, cache=NoCache(), should_stop=stop)
    settled = (tmp_path / "split.csv").read_bytes()
    assert run_methods(short, tmp_path, cache=NoCache())
    assert (tmp_path / "split.csv").read_bytes() == settled
    finished = FinishedMethods(short, tmp_path)
    found = finished.read()
    finished.report(found, [tmp_path / "page.html"])
    assert found["comparison"]["pairs"][0]["verdict"].split()[0] in (
        tmp_path / "page.html"
    ).read_text(encoding="utf-8")
    assert found["notes"] == []


def test_a_comparison_on_other_data_is_not_taken_for_this_one(
    plan: MethodsPlan, folder: Path, tmp_path: Path
) -> None:
    with plan.data.open() as stream:
        rows = list(csv.DictReader(stream))
    fewer = write_manifest(plan.data.parent / "fewer.csv", rows[:-2])
    for changed, words in (
        (replace(plan, data=fewer), r"data '.*manifest.csv' instead of '.*fewer.csv', n_images 4"),
        (replace(plan, skip_unreadable=True), "skip_unreadable False instead of True"),
        (replace(plan, group_by="sex", subgroups=()), "group_by None instead of 'sex'"),
    ):
        with pytest.raises(SettingsError, match=rf"a comparison on other data \({words}.*another"):
            run_methods(changed, folder, cache=NoCache())
    with pytest.raises(SettingsError, match=r"seed-0 holds another run \(weights 'random'"):
        run_methods(replace(plan, weights="/elsewhere.pth"), folder, cache=NoCache())


def test_labels_that_have_changed_since_are_told(plan: MethodsPlan, tmp_path: Path) -> None:
    data = tmp_path / "images"
    write_images(data, n_per_class=8)
    short = replace(plan, data=data, seeds=(0,), n_tries=1, subgroups=())
    place = tmp_path / "runs"
    assert not run_methods(short, place, cache=NoCache(), should_stop=lambda: True)
    one, other = sorted(path for path in data.iterdir() if path.is_dir())[:2]
    next(one.iterdir()).rename(other / "moved.png")
    with pytest.raises(SettingsError, match=r"names, labels, splits or groups .* have changed"):
        run_methods(short, place, cache=NoCache())
    (place / "data.json").unlink()
    with pytest.raises(SettingsError, match=r"data.json is missing.*Choose another folder"):
        run_methods(short, place, cache=NoCache())


def test_as_many_rates_for_each_method() -> None:
    assert list_rates("linear", 3) == (3e-3, 1e-2, 3e-2)
    assert list_rates("full", 2) == (6e-5, 2e-4)
    assert list_rates("lora", 1) == (3e-3,)
    assert list_rates("pca-logistic", 3) == (1e-3,)


def test_a_method_without_steps_has_no_augmentation(plan: MethodsPlan, tmp_path: Path) -> None:
    from medlora.data.augment import Augmentation

    varied = replace(plan, settings=replace(SETTINGS, augmentation=Augmentation(noise=0.1)))
    plain, lora = (runs.arm.settings for runs in list_runs(varied, tmp_path))
    assert plain.augmentation == Augmentation()
    assert lora.augmentation == Augmentation(noise=0.1)


def test_what_cannot_be_compared_is_refused(plan: MethodsPlan) -> None:
    for methods in (("lora",), ("lora", "lora")):
        with pytest.raises(SettingsError, match="must name two different methods"):
            replace(plan, methods=methods)
    with pytest.raises(SettingsError, match="There is no method 'svm'; there are lora"):
        replace(plan, methods=("lora", "svm"))
    with pytest.raises(SettingsError, match="One seed and one try"):
        replace(plan, seeds=())
    with pytest.raises(SettingsError, match="'patient' is no column of subgroups"):
        replace(plan, subgroups=(SubgroupColumn("patient"),))


def test_missing_weights_are_told_before_an_image_is_read(
    plan: MethodsPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medlora.experiments.splits.read_table", None)
    lost = replace(plan, weights=str(tmp_path / "lost.safetensors"))
    with pytest.raises(WeightsNotFoundError, match=r"lost\.safetensors"):
        run_methods(lost, tmp_path, cache=NoCache())
    assert not (tmp_path / "split.csv").exists()
