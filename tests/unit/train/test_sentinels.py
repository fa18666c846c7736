"""Each watch is shown the fault that it is there for, and a sound run that it has to let pass."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from medlora.errors import TrainingError
from medlora.train import sentinels
from medlora.train.checkpoint import CheckpointMemory, unpack_state
from training_samples import make_data, make_model, make_trainer


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops(loss) -> None:
    with pytest.raises(TrainingError, match=rf"loss is {loss} in epoch 3, step 7\. The last good"):
        sentinels.check_loss(loss, loss, 1.0, epoch=3, step=7)


def test_an_exploding_loss_stops() -> None:
    with pytest.raises(
        TrainingError, match=r"explodes: its running mean is 25 .* was 2 .*limit 20"
    ):
        sentinels.check_loss(30.0, 25.0, 2.0, epoch=1, step=2)


@pytest.mark.parametrize(("smoothed", "first"), [(20.0, 2.0), (9.9, 0.01), (0.1, 3.0)])
def test_a_sound_loss_passes(smoothed, first) -> None:
    sentinels.check_loss(smoothed, smoothed, first, epoch=1, step=1)


def test_a_weight_that_is_no_number_is_named() -> None:
    good, bad = torch.ones(2), torch.tensor([1.0, math.nan])
    sentinels.check_weights({"head.weight": good}, epoch=1)
    with pytest.raises(TrainingError, match=r"'head.bias' is no longer finite in epoch 2"):
        sentinels.check_weights({"head.weight": good, "head.bias": bad}, epoch=2)


def test_a_constant_answer_is_named_with_its_share() -> None:
    targets = np.eye(3, dtype=bool)[[0, 1, 1, 2, 1, 0]]
    constant = np.eye(3, dtype=bool)[[1] * 6]
    warning = sentinels.find_constant_answer(constant, targets, ["glioma", "none", "other"])
    assert warning is not None
    assert "called 'none': the accuracy of 50.00 %" in warning
    assert "(3 of 6)" in warning


def test_constant_labels_are_named_together() -> None:
    answers = np.array([[True, False, True]] * 4)
    warning = sentinels.find_constant_answer(answers, ~answers, ["a", "b", "c"])
    assert warning is not None
    assert "called 'a' and 'c'" in warning
    assert "0.00 %" in warning
    nothing = sentinels.find_constant_answer(~answers & False, answers, ["a", "b", "c"])
    assert nothing is not None
    assert "called nothing" in nothing


def test_answers_that_differ_once_are_no_constant() -> None:
    targets = np.eye(2, dtype=bool)[[0] * 9 + [1]]
    assert sentinels.find_constant_answer(targets, targets, ["a", "b"]) is None
    assert sentinels.find_constant_answer(targets[:1], targets[:1], ["a", "b"]) is None


def test_an_idle_adapter_is_found() -> None:
    answers = np.full((3, 2), 0.5)
    warning = sentinels.find_idle_adapter(answers, answers + 1e-7)
    assert warning is not None
    assert "no probability moves by more than 1e-07" in warning
    assert sentinels.find_idle_adapter(answers, answers + 1e-4) is None


def test_skill_on_shuffled_labels_is_found() -> None:
    warning = sentinels.find_shuffled_skill(0.6, 0.7)
    assert warning is not None
    assert "AUROC 0.700 (lower limit 0.600)" in warning


@pytest.mark.parametrize(
    ("low", "value"), [(0.5, 0.6), (0.3, 0.5), (None, 0.9), (0.9, None), (0.1, 0.2)]
)
def test_chance_on_shuffled_labels_passes(low, value) -> None:
    assert sentinels.find_shuffled_skill(low, value) is None


def test_the_best_of_many_epochs_has_to_show_more() -> None:
    assert sentinels.find_shuffled_skill(0.51, 0.60) is not None
    assert sentinels.find_shuffled_skill(0.51, 0.60, n_epochs=10) is None
    assert sentinels.find_shuffled_skill(0.90, 0.95, n_epochs=10) is not None


@pytest.mark.parametrize("other", [0.56, math.nan])
def test_a_file_that_answers_otherwise_is_refused(other) -> None:
    before = np.full((2, 2), 0.5)
    after = before.copy()
    sentinels.check_same_answers(before, after, tolerance=1e-3, place="task.safetensors")
    after[1, 0] = other
    with pytest.raises(TrainingError, match=r"task\.safetensors does not answer like the trained"):
        sentinels.check_same_answers(before, after, tolerance=1e-3, place="task.safetensors")


def test_a_layer_outside_of_the_computation_stops_the_run() -> None:
    trainer = make_trainer(make_model(layers=("second", "unused")))
    with pytest.raises(TrainingError, match=r"2 trained tensor.*'adapter\.unused\.\w'.*--targets"):
        trainer.run()


class _Detached(nn.Module):
    """A layer whose result reaches the features without a gradient but for a zero."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(values)
        return result.detach() + 0 * result


def test_an_adapter_that_stays_at_zero_stops_the_run() -> None:
    model = make_model()
    model.network.second = _Detached(model.network.second)
    with pytest.raises(
        TrainingError, match=r"2 adapter\(s\) are still exactly zero, 'adapter.first"
    ):
        make_trainer(model, optimizer="sgd").run()


def test_an_exploding_run_keeps_its_last_good_checkpoint() -> None:
    store = CheckpointMemory()
    model = make_model()
    data = make_data()
    make_trainer(model, data, checkpoints=store, epochs=1).run()
    good = store.content
    trainer = make_trainer(
        make_model(), data, checkpoints=store, learning_rate=9e5, epochs=9, clip_norm=0.0
    )
    with pytest.raises(TrainingError, match="The last good checkpoint is kept"):
        trainer.run()
    assert store.content is not None
    state = unpack_state(store.content)
    assert state.epoch >= 1
    assert all(torch.isfinite(tensor).all() for tensor in state.tensors.values())
    assert good is not None


def test_weights_that_are_no_numbers_never_reach_a_checkpoint() -> None:
    """The loss of a step is that before its update: a stop in between must not keep them."""
    store = CheckpointMemory()
    model = make_model()

    def poison(*arguments: object, **figures: float) -> None:
        with torch.no_grad():
            model.head.bias.fill_(math.nan)

    trainer = make_trainer(model, checkpoints=store, progress=poison, should_stop=lambda: True)
    with pytest.raises(TrainingError, match=r"'head.bias' is no longer finite in epoch 1"):
        trainer.run()
    assert store.content is None
