"""A comparison of methods says what is odd about the learning rates that it chose from."""

import json
from pathlib import Path

import pytest

from medlora.experiments.arms import FAULT_NAME, Arm, ArmRuns
from medlora.experiments.methods import describe_rates
from medlora.train.settings import TrainSettings

RATES = (1e-3, 3e-3, 1e-2)


@pytest.mark.parametrize(
    ("scores", "sentences"),
    [
        ((0.7, 0.9, 0.8), []),
        ((0.9, 0.8, 0.7), ["The best learning rate of lora, 0.001, is the lowest of 3"]),
        ((0.7, 0.8, 0.9), ["The best learning rate of lora, 0.01, is the highest of 3"]),
        ((0.7, 0.8, None), ["Training lora diverged at a learning rate of 0.01, which is out of"]),
        (
            (0.8, 0.7, None),
            ["Training lora diverged at a learning rate of 0.01", "0.001, is the lowest of 3"],
        ),
    ],
)
def test_rates_at_an_end_and_rates_that_diverged_are_told(
    scores: tuple[float | None, ...], sentences: list[str], tmp_path: Path
) -> None:
    runs = ArmRuns(Arm(TrainSettings(), RATES, 1, (0,)), tmp_path)
    for rate, score in zip(RATES, scores, strict=True):
        place = runs.try_folder(rate)
        place.path.mkdir()
        if score is None:
            fault = {"error": "The loss is nan in epoch 1, step 2."}
            (place.path / FAULT_NAME).write_text(json.dumps(fault), encoding="utf-8")
        else:
            row = {"val_auroc": score, "val_loss": 1.0}
            place.history.write_text(json.dumps([row]), encoding="utf-8")
    notes = describe_rates(runs)
    assert len(notes) == len(sentences)
    for note, sentence in zip(notes, sentences, strict=True):
        assert sentence in note
    assert ("The loss is nan in epoch 1, step 2." in " ".join(notes)) == (None in scores)
