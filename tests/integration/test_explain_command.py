"""`medlora explain` on tasks that were really trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medlora.backbones.weights import load_backbone
from medlora.runs.opened import open_task
from medlora.task.file import load_task, save_task
from medlora.task.trust import ConformalRecord
from novelty_samples import keep_novelty
from run_samples import CLASSES, FAST, run_command, train


@pytest.fixture
def command(monkeypatch, own_cache):
    return lambda *arguments: run_command(monkeypatch, "explain", *arguments)


@pytest.fixture(scope="module")
def task(trained):
    return trained / "task.safetensors"


@pytest.fixture(scope="module")
def picture(images):
    return sorted((images / "light").glob("*.png"))[0]


def test_one_image(command, task, picture, tmp_path, capsys) -> None:
    out, values = tmp_path / "out" / "map.png", tmp_path / "map.npy"
    assert command(task, picture, "-o", out, "--array", values, *FAST) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{picture}: ")
    assert said.rstrip().endswith("by attention")
    with Image.open(out) as sheet:
        assert sheet.width == 3 * 256 + 32
    heat = np.load(values)
    with Image.open(picture) as image:
        assert heat.shape == image.size[::-1]
    assert heat.dtype == np.float32
    assert 0 <= heat.min() < heat.max() <= 1
    first = out.read_bytes()
    assert command(task, picture, "-o", out, *FAST) == 0
    assert out.read_bytes() == first


def test_a_class_of_ones_own(command, task, picture, tmp_path, capsys) -> None:
    maps = []
    for name in CLASSES:
        values = tmp_path / f"{name}.npy"
        arguments = ("-o", tmp_path / "x.png", "--array", values, "--class", name)
        assert command(task, picture, *arguments, *FAST) == 0
        assert f"{name}: " in capsys.readouterr().out
        maps.append(np.load(values))
    assert not np.allclose(maps[0], maps[1])
    assert command(task, picture, "-o", tmp_path / "x.png", "--class", "grey", *FAST) == 2
    assert "has no class 'grey'; its classes are dark, light" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limit", "least", "reason"),
    [
        (1e-3, None, "unlike the training images"),
        (1e3, (0.0, 0.0), "undecided between dark and light"),
        (1e-3, (0.0, 0.0), "unlike the training images; undecided between dark and light"),
        (1e3, None, ""),
    ],
)
def test_an_answer_that_should_not_be_used_says_so(
    command, task, picture, tmp_path, capsys, limit, least, reason
) -> None:
    kept = keep_novelty(load_task(task), load_backbone("test_vit", "random"), limit=limit)
    sets = least and ConformalRecord(0.9, False, least, (), "val", (5, 5), 10)
    own = tmp_path / "own.safetensors"
    save_task(own, replace(kept, card=replace(kept.card, conformal=sets)))
    out, records = tmp_path / "map.png", tmp_path / "map.json"
    assert command(own, picture, "-o", out, "--json", records, *FAST) == 0
    said = capsys.readouterr().out.rstrip()
    assert said.endswith(f"; abstain: {reason}" if reason else "by attention")
    (record,) = json.loads(records.read_text())
    assert record["abstain"] == reason
    assert record.keys() >= {"file", "class", "probability", "decision", "method"}
    assert (record["novelty"] > 1) == (limit < 1)
    with Image.open(out) as sheet:
        red = np.asarray(sheet.convert("RGB")).astype(int)
    is_red = (red[:60, :, 0] > 120) & (red[:60, :, 1] < 40)
    assert is_red.any() == bool(reason)


@pytest.mark.parametrize("method", ["attention", "integrated-gradients"])
def test_several_images_go_to_a_folder(command, task, images, tmp_path, method, capsys) -> None:
    out, arrays = tmp_path / "maps", tmp_path / "arrays"
    two = sorted((images / "dark").glob("*.png"))[:2]
    arguments = ("-o", out, "--array", arrays, "--method", method)
    assert command(task, *two, *arguments, *FAST) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    names = [f"{number}-{path.stem}" for number, path in enumerate(two, 1)]
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.png" for name in names]
    assert sorted(path.name for path in arrays.iterdir()) == [f"{name}.npy" for name in names]
    assert command(task, *two, "-o", tmp_path / "one.png", *FAST) == 2
    assert "for 2 images. Name a folder" in capsys.readouterr().err


def test_an_ensemble_has_the_mean_of_its_members(command, task, picture, tmp_path) -> None:
    from medlora.task.ensemble import Ensemble, write_ensemble

    other = tmp_path / "other.safetensors"
    other.write_bytes(task.read_bytes())
    (tmp_path / "one.safetensors").write_bytes(task.read_bytes())
    files = ("one.safetensors", "other.safetensors")
    card = open_task(task, weights="random", precision="fp32").card
    ensemble = Ensemble.of("both", tmp_path, files, card.thresholds)
    write_ensemble(tmp_path / "ensemble.json", ensemble)
    maps = []
    for number, place in enumerate((task, tmp_path / "ensemble.json")):
        values = tmp_path / f"{number}.npy"
        assert command(place, picture, "-o", tmp_path / "x.png", "--array", values, *FAST) == 0
        maps.append(np.load(values))
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


def test_faults_take_one_line(command, task, picture, tmp_path, capsys) -> None:
    out = tmp_path / "x.png"
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:60])
    for arguments, reason in (
        ((task, picture, "-o", out, "--method", "grad-cam"), "last feature maps are known of"),
        ((task, picture, "-o", out, "--method", "guess"), "--method must be one of auto"),
        ((task, picture, "-o", tmp_path / "x.jpg"), "--output must end in .png, or be a folder"),
        ((task, broken, "-o", out), "broken.png: it cannot be decoded"),
        ((task, "-", "-o", out), "takes files and folders"),
    ):
        assert command(*arguments, *FAST) == 2
        error = capsys.readouterr().err.strip()
        assert reason in error
        assert len(error.splitlines()) == 1
    assert not out.exists()


def test_convolutions_are_explained_where_they_look(command, tmp_path_factory, tmp_path) -> None:
    """A bright square somewhere on noise is the only difference between the two classes."""
    data = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    boxes = {}
    for name in ("plain", "square"):
        (data / name).mkdir()
        for index in range(16):
            pixels = rng.integers(0, 90, (96, 96), dtype=np.uint8)
            if name == "square":
                top, left = rng.integers(8, 60, 2)
                pixels[top : top + 28, left : left + 28] += 120
                boxes[index] = (top, left)
            Image.fromarray(pixels).save(data / name / f"{index:02d}.png")
    folder = tmp_path / "run"
    train(data, folder, backbone="test_resnet", method="pca-logistic")
    asked = [data / "square" / f"{index:02d}.png" for index in boxes]
    arrays = tmp_path / "arrays"
    arguments = ("-o", tmp_path / "maps", "--array", arrays, "--class", "square")
    assert command(folder / "task.safetensors", *asked, *arguments, *FAST) == 0
    hits = []
    for (top, left), path in zip(boxes.values(), sorted(arrays.iterdir()), strict=True):
        heat = np.load(path)
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        hits.append(top <= row < top + 28 and left <= column < left + 28)
    assert np.mean(hits) >= 0.9
