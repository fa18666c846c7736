"""What a bank owes on every family: an answer does not depend on what else is asked."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from bank_samples import answer_apart, draw_pictures, make_task
from medlora.backbones.fingerprint import compute_fingerprint
from medlora.backbones.spec import find_chain
from medlora.bank.bank import TaskBank
from medlora.task.file import Task
from medlora.task.trained import find_normalisations
from tests.contract.family_samples import draw_backbone, each_family

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
OTHER_TARGETS = {
    "vit_tiny_patch16_224": "blocks.*.mlp.fc1",
    "vgg11": "fc",
    "resnet18": "layer3.*.conv?",
    "densenet121": "features.denseblock4.*.conv2",
    "tf_efficientnet_lite0": "conv",
    "convnext_atto": "conv",
    "swin_tiny_patch4_window7_224": "attention",
    "swinv2_tiny_window8_256": "mlp",
}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "bf16"])


@cache
def make_tasks(name: str) -> dict[str, Task]:
    backbone = draw_backbone(name)
    norms = find_normalisations(backbone.model)
    strength = 0.02
    return {
        task.card.name: task
        for task in (
            make_task(backbone, "plain", strength=strength),
            make_task(backbone, "twin", n_classes=3, seed=1, strength=strength),
            make_task(backbone, "ranked", rank=3, alpha=6.0, seed=2, strength=strength),
            make_task(
                backbone,
                "elsewhere",
                targets=[OTHER_TARGETS[name]],
                n_classes=5,
                multi_label=True,
                mean=0.3,
                seed=3,
                strength=strength,
            ),
            make_task(backbone, "head", method="linear", seed=4, strength=strength),
            make_task(backbone, "other head", method="linear", n_classes=4, seed=5),
            make_task(backbone, "norms", trained=norms[-1:], seed=6, strength=strength),
        )
    }


def fill_bank(name: str, dtype: torch.dtype, **settings: Any) -> TaskBank:
    bank = TaskBank(draw_backbone(name), dtype=dtype, **settings)
    for task in make_tasks(name).values():
        bank.add(task)
    return bank


@each_dtype
@each_family
def test_an_answer_does_not_depend_on_the_rest_of_the_batch(name: str, dtype: torch.dtype) -> None:
    backbone, tasks, tolerance = draw_backbone(name), make_tasks(name), TOLERANCES[dtype]
    bank = fill_bank(name, dtype)
    unmerged = fill_bank(name, dtype, merged_byte_budget=0)
    pictures = draw_pictures(3)
    every = list(tasks)
    together = bank.predict(pictures, [every, every[::-1], every[:3]])
    mixed = bank.predict([pictures[0]] * len(every), every)
    for key, task in tasks.items():
        expected = answer_apart(task, backbone, pictures[0], dtype=dtype)
        merged = answer_apart(task, backbone, pictures[0], dtype=dtype, merged=True)
        (alone,) = bank.predict(pictures[:1], [key])
        own = bank.predict(pictures, [key] * 3)
        (added,) = unmerged.predict(pictures[:1], [key])
        found = {
            "merged": merged,
            "alone": alone[key].probabilities,
            "alone, update added": added[key].probabilities,
            "own batch": own[0][key].probabilities,
            "mixed batch": mixed[every.index(key)][key].probabilities,
            "several tasks": together[0][key].probabilities,
        }
        for way, values in found.items():
            assert np.abs(np.array(values) - expected).max() <= tolerance, (key, way)
        other = np.array(own[1][key].probabilities)
        assert np.abs(np.array(together[1][key].probabilities) - other).max() <= tolerance, key
    assert unmerged.n_merged_bytes == 0
    assert compute_fingerprint(backbone.model.state_dict()) == backbone.fingerprint


@each_family
def test_an_adapter_of_the_bank_changes_answers(name: str) -> None:
    """Or the test above would pass where the bank forgets all of them."""
    backbone, tasks = draw_backbone(name), make_tasks(name)
    (picture,) = draw_pictures(1)
    for key in ("plain", "ranked", "elsewhere"):
        task = tasks[key]
        without = {
            tensor: value * 0 if tensor.endswith(".B") else value
            for tensor, value in task.tensors.items()
        }
        expected = answer_apart(task, backbone, picture)
        plain = answer_apart(Task(task.card, without), backbone, picture)
        assert np.abs(expected - plain).max() > 2 * TOLERANCES[torch.float32], key


@each_family
@torch.inference_mode()
def test_the_chain_of_a_family_is_called_in_order_and_alone(name: str) -> None:
    """Repeating images before any module of the chain gives what repeating them first gives."""
    network = draw_backbone(name).model
    chain = find_chain(network)
    assert chain
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([1, 0, 1])
    expected = network(images[rows])
    for link in (chain[0], chain[len(chain) // 2], chain[-1]):
        hook = network.get_submodule(link).register_forward_pre_hook(
            lambda _, inputs: (inputs[0][rows], *inputs[1:])
        )
        try:
            assert (network(images) - expected).abs().max() <= 1e-5, link
        finally:
            hook.remove()
