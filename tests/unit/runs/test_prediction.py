import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medlora.data.listing import list_images
from medlora.data.source import FolderSource
from medlora.runs.prediction import predict_images
from training_samples import PREPROCESSING


class Brightness(nn.Module):
    """Logits from the mean brightness; no backbone at all."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([-9 * mean, 9 * mean], dim=1)


@dataclass
class MemorySource:
    """The same picture under every name but those that say `bad`."""

    content: bytes

    def read_bytes(self, location):
        return b"" if "bad" in location else self.content


def make_task(**changes):
    card = {
        "preprocessing": PREPROCESSING,
        "multi_label": False,
        "thresholds": (0.5, 0.5),
        "classes": ("dark", "light"),
        "conformal": None,
    }
    return SimpleNamespace(
        model=Brightness().eval(), card=SimpleNamespace(**(card | changes)), measures=()
    )


def write(path, level):
    Image.fromarray(np.full((8, 8), level, np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_answers_keep_the_order_and_bad_files_get_a_reason(tmp_path, batch_size) -> None:
    levels = [10, 250, 240, 20, 255]
    names = [write(tmp_path / f"{9 - n}.png", level) for n, level in enumerate(levels)]
    broken = tmp_path / "5x.png"
    broken.write_bytes((tmp_path / "9.png").read_bytes()[:40])
    names[2:2] = [str(broken), str(tmp_path / "missing.png")]
    answers = list(
        predict_images(make_task(), FolderSource(tmp_path), names, batch_size=batch_size)
    )
    assert [answer.location for answer in answers] == names
    decisions = ["dark", "light", None, None, "light", "dark", "light"]
    assert [answer.decision for answer in answers] == decisions
    for answer in answers:
        assert (answer.error is None) == (answer.probabilities is not None)
    assert "No such file" in answers[3].error
    assert sum(answers[0].probabilities) == pytest.approx(1)


def test_nothing_but_bad_files_and_no_files_at_all(tmp_path) -> None:
    source = FolderSource(tmp_path)
    answers = list(predict_images(make_task(), source, ["a.png", "b.png"], batch_size=1))
    assert [answer.decision for answer in answers] == [None, None]
    assert list(predict_images(make_task(), source, [])) == []


def test_labels_are_joined(tmp_path) -> None:
    name = write(tmp_path / "a.png", 128)
    task = make_task(multi_label=True, thresholds=(0.1, 0.1))
    answers = list(predict_images(task, FolderSource(tmp_path), [name]))
    assert answers[0].decision == "dark|light"


def test_an_answer_that_should_not_be_used_says_why(tmp_path) -> None:
    names = [write(tmp_path / "a.png", 128), write(tmp_path / "b.png", 250)]
    (tmp_path / "c.png").write_bytes(b"no image")
    conformal = SimpleNamespace(least=(0.2, 0.2), most=())
    task = make_task(conformal=conformal)
    names.append(str(tmp_path / "c.png"))
    unsure, sure, broken = predict_images(task, FolderSource(tmp_path), names)
    assert unsure.decision in ("dark", "light")
    assert unsure.abstain == "undecided between dark and light"
    assert unsure.prediction_set == ("dark", "light")
    assert (sure.abstain, sure.prediction_set, sure.undecided) == ("", ("light",), ())
    assert (broken.abstain, broken.prediction_set) == ("", None)


def test_every_frame_and_folder_is_listed_for_prediction(tmp_path) -> None:
    names = [write(tmp_path / f"{name}.png", 50) for name in "ba"]
    source, locations = list_images([tmp_path])
    answers = list(predict_images(make_task(), source, locations))
    assert [answer.location for answer in answers] == sorted(names)


def test_locations_are_taken_only_a_little_ahead(tmp_path) -> None:
    content = Path(write(tmp_path / "a.png", 90)).read_bytes()
    taken = []

    def names():
        for number in range(1000):
            taken.append(number)
            yield f"{number}.png"

    answers = predict_images(make_task(), MemorySource(content), names(), batch_size=4)
    for _ in range(10):
        next(answers)
    answers.close()
    assert len(taken) <= 10 + 3 * 4


def test_memory_does_not_grow_with_the_number_of_images(tmp_path) -> None:
    content = Path(write(tmp_path / "a.png", 90)).read_bytes()

    def measure(n_images):
        names = (f"{'bad' if number % 7 == 0 else ''}{number}.png" for number in range(n_images))
        tracemalloc.start()
        try:
            answers = predict_images(make_task(), MemorySource(content), names, batch_size=16)
            n_answers = sum(1 for _ in answers)
            return n_answers, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measure(50)
    few, peak_of_few = measure(200)
    many, peak_of_many = measure(2000)
    assert (few, many) == (200, 2000)
    assert peak_of_many < 1.5 * peak_of_few + 100_000
