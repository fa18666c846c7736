import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from medlora.data.image import normalise_batch
from medlora.errors import SettingsError, TaskFileError
from medlora.exchange import onnx as exchange_onnx
from medlora.exchange.onnx import export_onnx, save_onnx
from medlora.preprocessing import Preprocessing
from medlora.task.file import Task
from medlora.task.opening import build_model, compute_probabilities
from tests.unit.exchange.peft_samples import make_exchange_task
from tests.unit.task.model_samples import (
    RESNET,
    VIT,
    draw_backbone,
    make_model,
    make_model_task,
)

NAMES = (VIT, RESNET)


def make_task(name: str) -> Task:
    """A transformer of exclusive classes, and a convolutional network of several at once."""
    if name == VIT:
        return make_exchange_task(VIT, targets=("attention",), normalisations=True)
    return make_model_task(make_model(RESNET), RESNET, multi_label=True)


@cache
def export(name: str) -> bytes:
    return export_onnx(make_task(name), draw_backbone(name), place="here")


def open_session(content: bytes) -> Any:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_answers_like_the_task_for_any_number_of_images(name: str) -> None:
    task, backbone = make_task(name), draw_backbone(name)
    session = open_session(export(name))
    model = build_model(task, backbone, place="here")
    generator = torch.Generator().manual_seed(5)
    for n_images in (1, 5):
        shape = (n_images, 3, *task.card.preprocessing.size)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        with torch.inference_mode():
            logits = model(normalise_batch(images, task.card.preprocessing))
        expected = compute_probabilities(logits, multi_label=task.card.multi_label)
        (answers,) = session.run(None, {"images": images.numpy()})
        assert answers.dtype == np.float32
        assert np.abs(answers - expected.numpy()).max() < 1e-4
        sums = answers.sum(axis=1)
        assert np.allclose(sums, 1, atol=1e-5) == (not task.card.multi_label)


def test_pixels_that_are_normalised_already_are_refused() -> None:
    images = np.zeros((1, 3, 160, 160), dtype=np.float32)
    with pytest.raises(Exception, match=r"expected: \(tensor\(uint8\)\)"):
        open_session(export(RESNET)).run(None, {"images": images})


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_valid_and_tells_how_to_use_it(name: str) -> None:
    proto = onnx.load_from_string(export(name))
    onnx.checker.check_model(proto, full_check=True)
    assert "not normalised" in proto.doc_string
    metadata = open_session(export(name)).get_modelmeta().custom_metadata_map
    card = make_task(name).card
    assert json.loads(metadata["classes"]) == list(card.classes)
    assert json.loads(metadata["thresholds"]) == list(card.thresholds)
    assert json.loads(metadata["multi_label"]) is card.multi_label
    assert Preprocessing.from_dict(json.loads(metadata["preprocessing"])) == card.preprocessing
    assert (metadata["task"], metadata["fingerprint"]) == (card.name, card.backbone.fingerprint)


def test_a_model_that_answers_otherwise_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = export(RESNET)
    monkeypatch.setattr(exchange_onnx, "_trace", lambda diagnosis, task: content)
    other = make_model_task(make_model(RESNET, "linear"), RESNET, multi_label=True)
    with pytest.raises(TaskFileError, match=r"answers otherwise in onnxruntime: .* \(here\)"):
        save_onnx(tmp_path / "model.onnx", other, draw_backbone(RESNET), place="here")
    assert list(tmp_path.iterdir()) == []


def test_a_checked_model_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = export(RESNET)
    monkeypatch.setattr(exchange_onnx, "_trace", lambda diagnosis, task: content)
    save_onnx(tmp_path / "model.onnx", make_task(RESNET), draw_backbone(RESNET), place="here")
    assert (tmp_path / "model.onnx").read_bytes() == content


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else found(name)
    )
    rule = rf"Writing ONNX needs {missing}\. .*pip install 'medlora\[onnx\]'"
    with pytest.raises(SettingsError, match=rule):
        export_onnx(make_task(RESNET), draw_backbone(RESNET), place="here")


def test_weights_beyond_the_bound_of_the_format_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange_onnx, "_MAX_WEIGHT_BYTES", 2**20)
    with pytest.raises(TaskFileError, match=r"has 0.0 GiB of weights .* holds less than 2"):
        export_onnx(make_task(RESNET), draw_backbone(RESNET), place="here")
