from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medlora.errors import DataError
from medlora.runs.comparing import name_methods
from medlora.train.settings import TrainSettings


def describe_run(place: str = "runs/one", **settings: Any) -> Any:
    """What of a run's answers its method's name is made of."""
    plan = SimpleNamespace(settings=TrainSettings(backbone="vit", **settings))
    card = SimpleNamespace(
        method=plan.settings.method, backbone=SimpleNamespace(name=plan.settings.backbone)
    )
    return SimpleNamespace(place=Path(place), plan=plan, card=card)


def test_methods_that_differ_have_short_names() -> None:
    runs = [describe_run(), describe_run(seed=1), describe_run(method="linear")]
    assert name_methods(runs) == {"lora": [0, 1], "linear": [2]}


def test_runs_of_one_method_are_told_apart_by_the_first_setting_that_differs() -> None:
    runs = [describe_run(rank=4), describe_run(rank=8), describe_run(method="linear")]
    assert name_methods(runs) == {
        "lora on vit, rank 4": [0],
        "lora on vit, rank 8": [1],
        "linear on vit": [2],
    }


def test_what_is_left_to_the_default_is_named_by_its_value() -> None:
    runs = [describe_run(rank=4), describe_run(seed=1), describe_run(learning_rate=0.01)]
    assert name_methods(runs) == {
        "lora on vit, learning rate 0.001": [0, 1],
        "lora on vit, learning rate 0.01": [2],
    }


def test_runs_that_no_single_setting_tells_apart_are_told_by_two() -> None:
    runs = [describe_run(rank=rank, epochs=epochs) for rank in (4, 8) for epochs in (3, 5)]
    assert list(name_methods(runs)) == [
        "lora on vit, rank 4, epochs 3",
        "lora on vit, rank 4, epochs 5",
        "lora on vit, rank 8, epochs 3",
        "lora on vit, rank 8, epochs 5",
    ]


def test_runs_that_no_two_settings_tell_apart_are_told_by_their_folders() -> None:
    settings = [(rank, epochs, size) for rank in (4, 8) for epochs in (3, 5) for size in (8, 16)]
    runs = [
        describe_run(f"runs/{rank}-{epochs}-{size}", rank=rank, epochs=epochs, batch_size=size)
        for rank, epochs, size in settings
    ]
    assert list(name_methods(runs)) == [f"runs/{a}-{b}-{c}" for a, b, c in settings]


def test_one_seed_twice_is_refused() -> None:
    with pytest.raises(DataError, match="have one seed"):
        name_methods([describe_run("a"), describe_run("b")])
