import itertools
import re

import pytest

from medlora.errors import SettingsError
from medlora.tune.space import Choice, Range, read_space
from medlora.tune.values import list_fields

GOOD = {
    "backbone": "test_vit",
    "epochs": [3, 10],
    "learning_rate": {"low": "1e-4", "high": 0.01, "log": True},
    "rank": {"low": 1, "high": 9, "step": 4},
    "targets": ["default", ["conv", "mlp"]],
    "class_weights": ["none", "balanced"],
    "train_norm": [False, True],
    "alpha": [None, 8],
    "augmentation.noise": {"low": 0, "high": 0.1, "step": 0.05},
    "augmentation.flip_horizontal": True,
}


def test_every_setting_can_be_named() -> None:
    names = list_fields()
    assert {"rank", "dropout", "optimizer", "augmentation.rotation_degrees"} <= names.keys()
    assert "augmentation" not in names


def test_a_space_holds_and_varies() -> None:
    space = read_space(GOOD, "space.yaml")
    assert space.base.backbone == "test_vit"
    assert space.base.augmentation.flip_horizontal
    assert space.dimensions["epochs"] == Choice((3, 10))
    assert space.dimensions["learning_rate"] == Range(1e-4, 0.01, None, True, False)
    assert space.dimensions["rank"] == Range(1, 9, 4, False, True)
    assert space.dimensions["targets"] == Choice(("default", "conv,mlp"))
    assert space.dimensions["alpha"] == Choice((None, 8.0))
    settings = space.settle(
        {"epochs": 10, "targets": "conv,mlp", "augmentation.noise": 0.05, "alpha": None}
    )
    assert (settings.epochs, settings.targets, settings.alpha) == (10, ("conv", "mlp"), None)
    assert settings.augmentation.noise == 0.05
    assert settings.augmentation.flip_horizontal


def test_a_grid_has_every_combination_once() -> None:
    space = read_space(
        {
            "rank": {"low": 1, "high": 3},
            "dropout": {"low": 0.0, "high": 0.2, "step": 0.1},
            "optimizer": ["adam", "sgd"],
        },
        "space.yaml",
    )
    points = space.list_points()
    assert len(points) == len({tuple(point.items()) for point in points}) == 3 * 3 * 2
    assert points[0] == {"rank": 1, "dropout": 0.0, "optimizer": "adam"}
    assert points[-1] == {"rank": 3, "dropout": 0.2, "optimizer": "sgd"}
    with pytest.raises(SettingsError, match="'learning_rate' is a range without a step"):
        read_space(GOOD, "space.yaml").list_points()


@pytest.mark.parametrize(
    "values",
    [
        {"method": "factorised", "backbone": "vgg16", "input_norm": ["none", "rms"]},
        {"input_norm": "rms", "method": ["factorised"], "rank": [4, 8]},
        {"coverage": 0.8, "coverage_by_class": [False, True]},
        {"coverage_by_class": True, "coverage": {"low": 0.8, "high": 0.9}},
        {"views": [2, 4], "augmentation.noise": 0.1, "method": ["lora", "full"]},
    ],
)
def test_a_value_may_need_another_one_of_the_space(values) -> None:
    space = read_space(values, "space.yaml")
    for probe in space.list_probes():
        settings = space.settle(probe)
        for key, value in values.items():
            if not isinstance(value, list | dict) and "." not in key:
                assert getattr(settings, key) == value


def test_every_two_values_meet_in_a_probe() -> None:
    space = read_space(
        {"rank": {"low": 1, "high": 9}, "optimizer": ["adamw", "adam", "sgd"], "epochs": [1, 2]},
        "space.yaml",
    )
    probes = list(space.list_probes())
    assert probes[0] == {"rank": 1, "optimizer": "adamw", "epochs": 1}
    ends = {"rank": (1, 9), "optimizer": ("adamw", "adam", "sgd"), "epochs": (1, 2)}
    for one, other in itertools.combinations(ends, 2):
        met = {(probe[one], probe[other]) for probe in probes}
        assert met == set(itertools.product(ends[one], ends[other]))
    assert len(probes) < 2 * 3 * 2


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([], "must hold names of settings"),
        ({"rnak": [1, 2]}, "there is no setting 'rnak'. Is 'rank' meant?"),
        ({"zzz": [1, 2]}, "there is no setting 'zzz'. There are alpha, augmentation.brightness"),
        ({"augmentation": [1]}, "there is no setting 'augmentation'"),
        ({7: [1]}, "there is no setting 7"),
        ({"rank": 4}, "varies nothing"),
        ({"rank": []}, "rank: the list is empty"),
        ({"rank": [1, 1]}, "rank: 1 is there twice"),
        ({"rank": [1, "two"]}, "rank: must be a whole number, not 'two'"),
        ({"rank": [1, 2.5]}, "rank: must be a whole number, not 2.5"),
        ({"rank": [True]}, "rank: must be a whole number, not True"),
        ({"rank": [0, 1]}, "rank: rank must be in [1, 65536], not 0"),
        ({"train_norm": [1]}, "train_norm: must be true or false, not 1"),
        ({"dropout": ["much"]}, "dropout: must be a number, not 'much'"),
        ({"backbone": [4]}, "backbone: must be text, not 4"),
        ({"targets": [4]}, "targets: must be names, joined by commas"),
        ({"optimizer": ["adam", "lion"]}, "optimizer: optimizer must be one of adamw, adam, sgd"),
        ({"optimizer": "lion", "rank": [1]}, "optimizer: optimizer must be one of"),
        ({"rank": {"low": 1}}, "rank: a range has 'low' and 'high'"),
        ({"rank": {"low": 1, "high": 2, "stp": 1}}, "rank: a range has 'low' and 'high'"),
        ({"rank": {"low": 4, "high": 4}}, "rank: 'low' must be below 'high', not 4 and 4"),
        ({"rank": {"low": 1, "high": 4, "step": 0}}, "rank: 'step' must be above 0"),
        (
            {"rank": {"low": 1, "high": 4, "step": 1, "log": True}},
            "rank: 'step' must be above 0, and does not go with 'log: true'",
        ),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, "'low' must be above 0 where 'log'"),
        ({"dropout": {"low": 0, "high": 1}}, "dropout: dropout must be in [0, 1), not 1.0"),
        ({"optimizer": {"low": 1, "high": 2}}, "optimizer: this setting is no number"),
        ({"augmentation.noise": [2]}, "augmentation.noise: Augmentation noise must be in [0, 1]"),
        (
            {"method": ["factorised", "lora"], "input_norm": ["none", "rms"]},
            "method lora with input_norm rms: input_norm 'rms' is for the method factorised",
        ),
        ({"method": ["factorised", "lora"], "input_norm": "rms"}, "method: input_norm 'rms' is"),
        ({"rank": [1, 2], "input_norm": "rms"}, "input_norm: input_norm 'rms' is for the method"),
        (
            {"views": {"low": 0, "high": 4}, "rank": [1, 2], "method": ["lora", "pca-logistic"]},
            "views 4 with method pca-logistic: views has no meaning",
        ),
        ({"coverage_by_class": [False, True]}, "coverage_by_class: coverage_by_class needs a"),
        (
            {"coverage": [0.9, None], "coverage_by_class": [False, True]},
            "coverage None with coverage_by_class True: coverage_by_class needs a coverage",
        ),
        (
            {"method": "pca-logistic", "views": 4, "rank": [1, 2]},
            "views has no meaning for the method pca-logistic",
        ),
        (
            {"operating_point": "ill:sensitivity=0.9", "thresholds": ["fixed", "f1"]},
            "thresholds: operating_point does not go with thresholds 'f1'",
        ),
        ({"seed": [0, 1]}, "seed cannot vary"),
        ({"val_fraction": {"low": 0.1, "high": 0.2}}, "val_fraction cannot vary"),
    ],
)
def test_faults_are_named(values, fault) -> None:
    with pytest.raises(SettingsError, match=rf"^space\.yaml.*{re.escape(fault)}"):
        read_space(values, "space.yaml")
