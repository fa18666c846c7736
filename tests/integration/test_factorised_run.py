"""Factorised layers from the command line to answers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import nn

from medlora.backbones import weights
from medlora.backbones.spec import create_architecture, read_preprocessing
from medlora.data.augment import Augmentation
from medlora.data.cache import NoCache, default_cache
from medlora.data.image import normalise_batch
from medlora.lora.factorised import find_factorised
from medlora.preprocessing import Preprocessing
from medlora.progress import silent
from medlora.runs.folder import RunFolder
from medlora.runs.ongoing import OngoingRun
from medlora.runs.opened import open_task
from medlora.runs.standardising import standardise_inputs
from medlora.runs.training import resume_run, start_run
from medlora.task.file import load_task
from medlora.train.examples import TrainingData
from run_samples import assert_same_tensors, make_plan, read_tensors, run_command, write_images

SETTINGS = ("--weights", "random", "--precision", "fp32", "--epochs", "1", "--batch-size", "4")


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the size that the network was made for, this would take most of a minute."""

    def read_small(model: nn.Module) -> Preprocessing:
        return replace(read_preprocessing(model), size=(64, 64))

    monkeypatch.setattr(weights, "read_preprocessing", read_small)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "images", n_per_class=4)


def test_a_task_is_trained_shown_checked_and_asked(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, factorised = tmp_path / "run", ("--backbone", "vgg11", "--method", "factorised")
    assert run_command(monkeypatch, "train", images, *factorised, *SETTINGS, "-o", run) == 0
    path = run / "task.safetensors"
    card = load_task(path).card
    assert (card.backbone.name, card.method) == ("vgg11.features", "factorised")
    assert card.factorised is not None
    assert card.factorised.rank == card.training["rank"] == 8
    assert path.stat().st_size < 1.31e6
    assert "fully connected layers W = U V" in (run / "report.html").read_text()
    capsys.readouterr()
    assert run_command(monkeypatch, "show", path, "--check", "--weights", "random") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "U and V 299,008, biases 8,192, head 8,194" in shown
    assert "pre_logits.fc1 25,088 to 4,096; pre_logits.fc2 4,096 to 4,096" in shown
    assert "self-check passed" in shown
    picture, answers = next(images.rglob("*.png")), tmp_path / "answers.json"
    asked = (path, picture, "--weights", "random", "--json", answers)
    assert run_command(monkeypatch, "predict", *asked) == 0
    (answer,) = json.loads(answers.read_text())
    assert set(answer["probabilities"]) == {"dark", "light"}


def test_any_network_gets_such_layers_behind_its_map(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, factorised = tmp_path / "run", ("--backbone", "resnet18", "--method", "factorised")
    kept = ("--cache-features", "on")
    assert run_command(monkeypatch, "train", images, *factorised, *SETTINGS, *kept, "-o", run) == 0
    path = run / "task.safetensors"
    card = load_task(path).card
    assert (card.backbone.name, card.method) == ("resnet18", "factorised")
    assert card.training["features"].startswith("cached at fc.layers: 100 % of a forward pass")
    capsys.readouterr()
    assert run_command(monkeypatch, "show", path, "--check", "--weights", "random") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "fc.layers.fc1 25,088 to 4,096; fc.layers.fc2 4,096 to 4,096" in shown
    assert "self-check passed" in shown
    scored = ("evaluate", path, images, "--weights", "random", "--split", "all")
    assert run_command(monkeypatch, *scored, "--json", tmp_path / "scores.json") == 0
    merged = (
        "tasks",
        "merge",
        path,
        "--out",
        tmp_path / "plain.safetensors",
        "--weights",
        "random",
    )
    capsys.readouterr()
    assert run_command(monkeypatch, *merged) == 2
    line = capsys.readouterr().err
    assert "timm's resnet18 has no fully connected layers behind its feature map" in line
    assert not (tmp_path / "plain.safetensors").exists()


STANDARD: dict[str, Any] = {
    **{"backbone": "resnet18", "method": "factorised", "input_norm": "standard"},
    **{"batch_size": 2, "dropout": 0.2, "epochs": 2},
}


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("kept", ["on", "off"])
def test_standardised_inputs_are_in_the_weights_in_the_end(
    images: Path, tmp_path: Path, own_cache: Path, kept: Any, views: int
) -> None:
    more = {"augmentation": Augmentation(flip_horizontal=True), "views": views} if views else {}
    cache = default_cache()
    plan = make_plan(images, **STANDARD, **more, cache_features=kept)
    whole = start_run(plan, tmp_path / "whole", cache=cache)
    assert whole.task is not None
    task = load_task(whole.task)
    assert task.card.training["input_norm"] == "standard"
    assert task.card.factorised is not None and task.card.factorised.input_norm == "none"
    # What the run answered in the end and what its file answers are the same.
    open_task(whole.task, weights="random")
    left = iter([False] * 2)
    stopped = start_run(plan, tmp_path / "run", cache=cache, should_stop=lambda: next(left, True))
    assert stopped.ended == "stopped"
    assert resume_run(tmp_path / "run", cache=cache).ended == "finished"
    assert_same_tensors(read_tensors(tmp_path / "run"), read_tensors(tmp_path / "whole"))


def test_the_first_layer_is_given_standardised_channels(images: Path) -> None:
    plan = make_plan(images, **STANDARD)
    fabric = Fabric(accelerator="cpu", devices=1)
    run = OngoingRun(plan, RunFolder(Path("nowhere")), NoCache(), fabric, silent)
    data = run.prepare(images)
    rows = np.arange(data.table.n_images)
    training = TrainingData(
        **{"images": data.images, "targets": data.table.targets, "multi_label": False},
        **{"train_rows": rows, "val_rows": rows[:0], "preprocessing": run.preprocessing},
    )
    model = run.build_model(2)
    standardise_inputs(run, model, training)
    layer = next(iter(find_factorised(model.network).values()))
    assert layer.shift is not None and layer.factor is not None
    hidden = model.start(normalise_batch(data.images.read(rows), run.preprocessing))
    standard = ((hidden - layer.shift) * layer.factor).transpose(0, 1).flatten(1)
    assert standard.mean(dim=1).abs().max() < 1e-3
    varying = hidden.std(dim=(0, 2, 3)) > 0.05 * hidden.std(dim=(0, 2, 3)).square().mean().sqrt()
    assert varying.sum() > 10
    assert (standard.std(dim=1, correction=0)[varying] - 1).abs().max() < 1e-2


def test_views_are_standardised_alike_with_and_without_kept_features(
    images: Path, own_cache: Path
) -> None:
    shifts = []
    for kept in ("on", "off"):
        more = {"augmentation": Augmentation(flip_horizontal=True, brightness=0.4), "views": 2}
        plan = make_plan(images, **STANDARD, **more, cache_features=kept)
        fabric = Fabric(accelerator="cpu", devices=1)
        run = OngoingRun(plan, RunFolder(Path("nowhere")), default_cache(), fabric, silent)
        data = run.prepare(images)
        rows = np.arange(data.table.n_images)
        training = TrainingData(
            **{"images": data.images, "targets": data.table.targets, "multi_label": False},
            **{"train_rows": rows, "val_rows": rows[:0], "preprocessing": run.preprocessing},
            names=data.names,
        )
        model = run.build_model(2)
        run.keep_features(model, data, training)
        assert (run.features is not None) == (kept == "on")
        standardise_inputs(run, model, training)
        layer = next(iter(find_factorised(model.network).values()))
        assert layer.shift is not None
        shifts.append(layer.shift)
    torch.testing.assert_close(*shifts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--method", "factorised", "--input-norm", "standard", "--train-norm"),
            "input_norm 'standard' keeps what the frozen layers give on average, and train_norm",
        ),
        (
            ("--backbone", "vgg11", "--method", "factorised", "--train-norm"),
            "vgg11.features has no normalisation layer with a scale and a shift",
        ),
        (("--backbone", "test_vit", "--method", "factorised", "--targets", "qv"), "must be 'def"),
        (("--backbone", "vgg11.features", "--targets", "fc"), "W would be random"),
        (("--method", "factorised", "--targets", "conv"), "targets must be 'default' or 'fc'"),
        (("--method", "factorised", "--rank", "0"), "rank must be in [1, 65536]"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert run_command(monkeypatch, "train", images, *arguments, *SETTINGS, "-o", tmp_path) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_convolutions_from_a_file_are_not_filled_up_with_random_layers(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    save_file(create_architecture("vgg11.features").state_dict(), tmp_path / "v.safetensors")
    adapter = ("--backbone", "vgg11", "--targets", "fc", "--weights", tmp_path / "v.safetensors")
    assert run_command(monkeypatch, "train", images, *adapter, "-o", tmp_path / "run") == 2
    line = capsys.readouterr().err
    assert "fully connected layers (W) would be random: choose --backbone vgg11.features" in line
    assert line.count("\n") == 1
