"""Counts of parameters: those of the paper, and those of a network with weights."""

import pytest

from medlora.backbones.weights import load_backbone
from medlora.errors import BackboneError, MedLoRAError, SettingsError, TargetError
from medlora.experiments.sizes import count_size, count_sizes
from medlora.task.model import TaskModel, plan_adapter

MILLION = 2**20


def test_the_papers_base_transformer() -> None:
    size = count_size("vit_base_patch16_224", rank=4, n_classes=2)
    assert size.n_trainable == 148_994
    assert size.n_adapter == 147_456
    assert round(size.n_trainable / MILLION, 3) == 0.142
    # The paper counts the head with its network.
    assert round((size.n_parameters + size.n_head) / MILLION, 3) == 81.825
    assert round(100 * size.share, 3) == 0.174


def test_the_papers_giga_transformer() -> None:
    size = count_size("vit_gigantic_patch14_clip_224", rank=4, n_classes=2)
    assert round(size.n_trainable / MILLION, 2) == 1.22
    assert round(100 * size.share, 2) == 0.07
    assert size.n_parameters / MILLION == pytest.approx(1759, rel=0.002)


@pytest.mark.parametrize(("name", "rank"), [("test_vit", 3), ("resnet18", 2)])
def test_counting_without_values_agrees_with_a_real_model(name, rank) -> None:
    size = count_size(name, rank=rank, n_classes=5)
    backbone = load_backbone(name, "random")
    adapter = plan_adapter(backbone, rank=rank, alpha=1.0)
    model = TaskModel(backbone, 5, method="lora", adapter=adapter)
    assert size.n_parameters == backbone.n_parameters
    assert size.n_head == sum(parameter.numel() for parameter in model.head.parameters())
    trainable = sum(parameter.numel() for parameter in model.named_trainable().values())
    assert size.n_trainable == trainable
    assert not any(p.is_meta for p in model.parameters())


def test_a_row_has_the_papers_millions() -> None:
    row = count_size("test_vit").to_dict()
    assert row["backbone"] == "test_vit"
    assert row["n_trainable"] == row["n_adapter"] + row["n_head"]
    assert row["share"] == row["n_trainable"] / row["n_parameters"]
    assert row["binary_millions"] == row["n_parameters"] / MILLION
    assert row["trainable_binary_millions"] == row["n_trainable"] / MILLION


@pytest.mark.parametrize(
    ("names", "changes", "kind", "match"),
    [
        ([], {}, SettingsError, "Name one backbone at least"),
        (["test_vit"], {"n_classes": 0}, SettingsError, "classes must be 1 or more, not 0"),
        (["test_vit"], {"rank": 0}, MedLoRAError, "rank"),
        (["vit_colossal"], {}, BackboneError, "no usable model 'vit_colossal'"),
        (["test_mambaout"], {}, TargetError, "none for MambaOut"),
    ],
)
def test_what_cannot_be_counted_is_said(names, changes, kind, match) -> None:
    with pytest.raises(kind, match=match):
        count_sizes(names, **changes)


def test_progress_is_told() -> None:
    steps: list[tuple[str, int, int]] = []
    count_sizes(["test_vit", "test_vit2"], progress=lambda *step, **_: steps.append(step))
    assert steps == [("counting", done, 2) for done in range(3)]
