import gc
from typing import Any

import pytest
import torch

from bank_samples import draw_pictures, make_task
from medlora.bank import merged
from medlora.bank.bank import TaskBank
from medlora.lora.routing import LinearUpdate
from tests.unit.task.model_samples import VIT, draw_backbone

NAMES = ("brain", "chest", "skin")


def make_bank(**settings: Any) -> TaskBank:
    bank = TaskBank(draw_backbone(VIT), **settings)
    for seed, name in enumerate(NAMES):
        bank.add(make_task(draw_backbone(VIT), name, seed=seed))
    return bank


def count_weight_bytes(bank: TaskBank) -> int:
    layers = bank.card("brain").adapter
    assert layers is not None
    network = bank.backbone.model
    return sum(network.get_submodule(name).get_parameter("weight").nbytes for name in layers.layers)


def ask(bank: TaskBank, *names: str) -> list[tuple[float, ...]]:
    answers = bank.predict(draw_pictures(len(names)), names)
    return [found[name].probabilities for found, name in zip(answers, names, strict=True)]


def test_a_batch_of_one_task_adds_no_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = make_bank()
    expected = ask(make_bank(merged_byte_budget=0), "brain", "brain")

    def refuse(*_: object) -> None:
        raise AssertionError("an update was added")

    monkeypatch.setattr(LinearUpdate, "apply", refuse)
    found = ask(bank, "brain", "brain")
    assert bank.n_merged_bytes == count_weight_bytes(bank) > 0
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    with pytest.raises(AssertionError, match="an update was added"):
        ask(bank, "brain", "chest")


def test_a_mixed_batch_merges_nothing() -> None:
    bank = make_bank()
    ask(bank, "brain", "chest")
    assert bank.n_merged_bytes == 0


def test_tasks_that_were_not_asked_for_longest_leave_first() -> None:
    bank = make_bank()
    size = count_weight_bytes(bank)
    bank = make_bank(merged_byte_budget=2 * size)
    for name in ("brain", "chest", "brain", "skin"):
        ask(bank, name)
        assert bank.n_merged_bytes <= 2 * size
    kept = {task.card.name for task in bank._merged._kept}
    assert kept == {"brain", "skin"}


def test_what_does_not_fit_is_not_merged() -> None:
    size = count_weight_bytes(make_bank())
    bank = make_bank(merged_byte_budget=size - 1)
    ask(bank, "brain")
    assert bank.n_merged_bytes == 0


def test_few_images_do_not_pay_for_large_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = make_bank()
    size = count_weight_bytes(bank)
    monkeypatch.setattr(merged, "BYTES_PER_ROW", size // 2)
    ask(bank, "brain")
    assert bank.n_merged_bytes == 0
    ask(bank, "brain", "brain", "brain")
    assert bank.n_merged_bytes == size


def test_a_task_that_leaves_takes_its_weights_along() -> None:
    bank = make_bank()
    ask(bank, "brain")
    ask(bank, "chest")
    bank.remove("brain")
    gc.collect()
    assert bank.n_merged_bytes == count_weight_bytes(make_bank())
    bank.add(make_task(draw_backbone(VIT), "brain", seed=7))
    other = make_bank(merged_byte_budget=0)
    other.remove("brain")
    other.add(make_task(draw_backbone(VIT), "brain", seed=7))
    torch.testing.assert_close(ask(bank, "brain"), ask(other, "brain"), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_same_batch_has_the_same_answer_whatever_was_asked_before(dtype: torch.dtype) -> None:
    size = count_weight_bytes(make_bank(dtype=dtype))
    bank = make_bank(dtype=dtype, merged_byte_budget=size)
    first = ask(bank, "brain")
    assert ask(bank, "brain") == first
    ask(bank, "chest")
    ask(bank, "chest", "skin")
    assert ask(bank, "brain") == first


def test_images_that_another_network_answers_stay_apart() -> None:
    """A task with a network of its own shares the batch, and not the rows."""
    backbone = draw_backbone(VIT)
    tuned = make_task(backbone, "tuned", trained=("norm.weight",), seed=5)
    bank, other = make_bank(), make_bank(merged_byte_budget=0)
    found = []
    for each in (bank, other):
        each.add(tuned)
        answers = each.predict(draw_pictures(3), ["tuned", "brain", "tuned"])
        found.append([own.probabilities for row in answers for own in row.values()])
    assert bank.n_merged_bytes > 0
    torch.testing.assert_close(*found, atol=1e-5, rtol=0)
