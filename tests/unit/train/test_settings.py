import inspect
import json
from dataclasses import fields

import pytest

from medlora.cli.train import train_task
from medlora.data.augment import Augmentation
from medlora.errors import SettingsError
from medlora.runs.folder import RunPlan
from medlora.train.settings import DEFAULT_LEARNING_RATES, SELECTION_MEASURES, TrainSettings

# Where the command line spells a setting in another way.
CLI_NAMES = {"warmup_fraction": "warmup"}
AUGMENTATION_NAMES = {
    "rotation_degrees": "rotation",
    "shift_fraction": "shift",
    "scale_fraction": "scale",
    "contrast": "vary_contrast",
    "brightness": "vary_brightness",
}
DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(train_task).parameters.items()
}


def test_the_command_line_has_the_defaults_of_the_settings() -> None:
    settings = TrainSettings()
    compared = 0
    for field in fields(TrainSettings):
        if field.name == "augmentation":
            continue
        default = DEFAULTS[CLI_NAMES.get(field.name, field.name)]
        own = getattr(settings, field.name)
        if isinstance(own, tuple):
            own = ",".join(own) or "none"
        assert default == own, field.name
        compared += 1
    for field in fields(Augmentation):
        name = AUGMENTATION_NAMES.get(field.name, field.name)
        assert DEFAULTS[name] == getattr(settings.augmentation, field.name), name
        compared += 1
    assert compared == len(fields(TrainSettings)) - 1 + len(fields(Augmentation)) == 44


def test_the_command_line_has_the_defaults_of_the_plan() -> None:
    plan = RunPlan("data", TrainSettings(), "name")
    names = {field.name for field in fields(RunPlan)} - {"data", "settings", "name", "command"}
    assert len(names) == 11
    for name in names:
        assert DEFAULTS[name] == getattr(plan, name), name


CHANGED = TrainSettings(
    method="linear",
    backbone="resnet18",
    rank=8,
    alpha=3.5,
    scaling="alpha/sqrt(rank)",
    targets=("mlp", "blocks.*"),
    dropout=0.25,
    train_norm=True,
    epochs=3,
    batch_size=5,
    learning_rate=0.02,
    optimizer="sgd",
    weight_decay=0.5,
    schedule="constant",
    warmup_fraction=0.3,
    label_smoothing=0.05,
    class_weights="balanced",
    sampling="balanced",
    clip_norm=0.0,
    select_by="loss",
    patience=4,
    thresholds="youden",
    calibration="vector",
    coverage=0.9,
    coverage_by_class=True,
    precision="bf16",
    contrast="clahe",
    prepare=("crop", "denoise"),
    channels=("path_t1", "path_t2"),
    augmentation=Augmentation(rotation_degrees=5.0, flip_vertical=True, noise=0.1),
    views=4,
    last_blocks=2,
    val_fraction=0.2,
    test_fraction=0.0,
    seed=11,
)


def test_the_changed_settings_differ_everywhere() -> None:
    default = TrainSettings()
    same = [f.name for f in fields(default) if getattr(default, f.name) == getattr(CHANGED, f.name)]
    # An operating point does not go with another rule for the thresholds.
    assert same == ["input_norm", "operating_point"]


@pytest.mark.parametrize("settings", [TrainSettings(), CHANGED, CHANGED.resolve()])
def test_settings_survive_json(settings) -> None:
    assert TrainSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_all_of_a_backbone_is_not_trained_in_its_last_blocks() -> None:
    with pytest.raises(SettingsError, match="last_blocks must be 0 with the method full"):
        TrainSettings(method="full", last_blocks=1)


def test_factorised_layers_have_no_last_blocks() -> None:
    with pytest.raises(SettingsError, match="last_blocks must be 0 with the method factorised"):
        TrainSettings(method="factorised", last_blocks=2)


def test_settings_from_before_there_was_a_calibration_have_none() -> None:
    values = TrainSettings().to_dict()
    del values["calibration"]
    assert TrainSettings.from_dict(values) == TrainSettings(calibration="none")
    assert "calibration" not in TrainSettings(calibration="none").to_dict()


def test_classes_are_covered_only_at_some_coverage() -> None:
    with pytest.raises(SettingsError, match="coverage_by_class needs a coverage"):
        TrainSettings(coverage_by_class=True)
    with pytest.raises(SettingsError, match=r"coverage must be in \(0, 1\)"):
        TrainSettings(coverage=1.0)


def test_what_came_later_is_not_written_where_it_changes_nothing() -> None:
    assert (
        not {"views", "last_blocks", "operating_point", "prepare", "channels", "coverage"}
        & TrainSettings().to_dict().keys()
    )
    assert TrainSettings(prepare=("crop",)).to_dict()["prepare"] == ["crop"]
    assert TrainSettings(views=2).to_dict()["views"] == 2
    assert TrainSettings(last_blocks=1).to_dict()["last_blocks"] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("rank", 65537),
        ("epochs", 0),
        ("epochs", 100_001),
        ("batch_size", 0),
        ("patience", -1),
        ("dropout", -0.1),
        ("dropout", 1.0),
        ("warmup_fraction", 1.0),
        ("warmup_fraction", -0.1),
        ("label_smoothing", 1.0),
        ("label_smoothing", float("nan")),
        ("val_fraction", 1.0),
        ("test_fraction", 1.0),
        ("test_fraction", -0.1),
        ("weight_decay", -1.0),
        ("weight_decay", 101.0),
        ("clip_norm", -1.0),
        ("seed", -1),
        ("seed", 2**31),
        ("views", -1),
        ("last_blocks", -1),
        ("views", 100_001),
        ("val_fraction", 0.0),
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", 1e6),
        ("learning_rate", float("nan")),
        ("alpha", 0.0),
    ],
)
def test_a_value_out_of_range_is_refused(name, value) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} must be"):
        TrainSettings(**{name: value})


@pytest.mark.parametrize(
    "name",
    [
        "method",
        "scaling",
        "optimizer",
        "schedule",
        "class_weights",
        "sampling",
        "select_by",
        "thresholds",
        "precision",
        "contrast",
    ],
)
def test_a_wrong_word_is_refused_with_the_right_ones(name) -> None:
    right = str(getattr(TrainSettings(), name))
    with pytest.raises(SettingsError, match=rf"^{name} must be one of .*{right}.*, not 'wrong'"):
        TrainSettings(**{name: "wrong"})


def test_an_unknown_step_of_preparation_is_refused() -> None:
    with pytest.raises(SettingsError, match="one of crop, denoise, bias-field, not 'sharpen'"):
        TrainSettings(prepare=("sharpen",))


@pytest.mark.parametrize(
    "change",
    [
        {"augmentation": Augmentation(noise=0.1)},
        {"views": 2},
        {"last_blocks": 1},
        {"train_norm": True},
        {"sampling": "balanced"},
    ],
)
def test_what_means_nothing_to_pca_logistic_is_refused(change) -> None:
    with pytest.raises(SettingsError, match=rf"^{next(iter(change))} has no meaning"):
        TrainSettings(method="pca-logistic", **change)


def test_no_targets_are_refused() -> None:
    with pytest.raises(SettingsError, match="targets must name at least one"):
        TrainSettings(targets=())


@pytest.mark.parametrize("value", [0, 1, 65536])
def test_the_ends_of_a_range_belong_to_it(value) -> None:
    if value:
        assert TrainSettings(rank=value).rank == value
    else:
        assert TrainSettings(dropout=value, warmup_fraction=value, clip_norm=value).clip_norm == 0


@pytest.mark.parametrize("method", ["lora", "linear", "full", "factorised"])
def test_each_method_has_its_own_learning_rate(method) -> None:
    resolved = TrainSettings(method=method, rank=3).resolve()
    assert resolved.learning_rate == DEFAULT_LEARNING_RATES[method]
    assert resolved.alpha == 3.0
    kept = TrainSettings(method=method, learning_rate=0.5, alpha=2.0).resolve()
    assert (kept.learning_rate, kept.alpha) == (0.5, 2.0)


def test_the_methods_rates_differ() -> None:
    assert len(set(DEFAULT_LEARNING_RATES.values())) == 4


@pytest.mark.parametrize(("method", "rank"), [("lora", 4), ("linear", 4), ("factorised", 8)])
def test_each_method_has_its_own_rank(method, rank) -> None:
    resolved = TrainSettings(method=method).resolve()
    assert (resolved.rank, resolved.alpha) == (rank, rank)
    assert TrainSettings(method=method, rank=3).resolve().rank == 3


@pytest.mark.parametrize(
    ("method", "is_alike"), [("linear", True), ("full", True), ("lora", False)]
)
def test_a_rank_tells_runs_apart_where_there_is_an_adapter(method, is_alike) -> None:
    one = TrainSettings(method=method, rank=4, targets=("default",)).reduce()
    other = TrainSettings(method=method, rank=8, targets=("all",)).reduce()
    assert (one == other) is is_alike
    rated = TrainSettings(method=method, learning_rate=0.5).reduce()
    assert rated.learning_rate == 0.5 and rated != one


def test_a_record_of_before_there_was_a_rank_for_each_method_keeps_its_own() -> None:
    record = TrainSettings().to_dict() | {"rank": 4}
    assert TrainSettings.from_dict(record).rank == 4


@pytest.mark.parametrize("targets", [("default",), ("fc",)])
def test_factorised_are_all_connected_layers(targets) -> None:
    assert TrainSettings(method="factorised", targets=targets).targets == targets
    with pytest.raises(SettingsError, match=r"must be 'default' or 'fc', not conv, fc\. Adapt"):
        TrainSettings(method="factorised", targets=("conv", "fc"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"surprise": 1}, "surprise"),
        ({"rank": "four"}, "not valid"),
        ({"targets": None}, "not valid"),
        ({"epochs": 0}, "epochs must be in"),
    ],
)
def test_a_changed_record_is_refused(change, match) -> None:
    with pytest.raises(SettingsError, match=match):
        TrainSettings.from_dict(TrainSettings().to_dict() | change)


def test_a_record_without_targets_is_refused() -> None:
    values = TrainSettings().to_dict()
    del values["targets"]
    with pytest.raises(SettingsError, match="not valid: 'targets'"):
        TrainSettings.from_dict(values)


def test_every_selection_measure_can_be_chosen() -> None:
    assert [TrainSettings(select_by=name).select_by for name in SELECTION_MEASURES] == list(
        SELECTION_MEASURES
    )


def test_only_factorised_layers_have_their_inputs_normalised() -> None:
    for norm in ("rms", "standard"):
        assert TrainSettings(method="factorised", input_norm=norm).input_norm == norm
    assert "input_norm" not in TrainSettings(method="factorised").to_dict()
    with pytest.raises(SettingsError, match="input_norm 'rms' is for the method factorised"):
        TrainSettings(method="lora", input_norm="rms")
