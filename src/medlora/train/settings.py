"""Every setting of a training run, in one record."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from medlora.data.augment import Augmentation
from medlora.errors import SettingsError
from medlora.evaluate.conformal import check_coverage
from medlora.evaluate.operating import OperatingPoint
from medlora.evaluate.thresholds import Rule
from medlora.lora.scaling import Scaling
from medlora.preprocessing import Contrast, Step, check_channels, order_steps
from medlora.task.card import Method
from medlora.task.precision import Precision

Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "constant"]
ClassWeights = Literal["none", "balanced"]
Sampling = Literal["none", "balanced"]
ThresholdRule = Rule
InputScaling = Literal["none", "rms", "standard"]
CalibrationChoice = Literal["auto", "temperature", "vector", "none"]

# Found on real images: a full network diverges at rates that an adapter needs.
DEFAULT_LEARNING_RATES: dict[str, float] = {
    "lora": 1e-3,
    "linear": 3e-3,
    "full": 5e-5,
    "factorised": 3e-4,
}
DEFAULT_RANK = 4
# The paper's own rank of its low-rank layers.
FACTORISED_RANK = 8

# Measures that validation can be ranked by, and whether more is better.
SELECTION_MEASURES: dict[str, bool] = {
    "auroc": True,
    "average_precision": True,
    "accuracy": True,
    "balanced_accuracy": True,
    "f1": True,
    "loss": False,
}

# Left out of what is written at these values, so that it stays as it was before they came.
_LATER: dict[str, Any] = {
    "calibration": "none",
    "channels": [],
    "coverage": None,
    "coverage_by_class": False,
    "input_norm": "none",
    "last_blocks": 0,
    "operating_point": None,
    "prepare": [],
    "views": 0,
}
# What says nothing where there is no adapter.
_OF_ADAPTERS = ("rank", "alpha", "scaling", "targets", "dropout")


@dataclass(frozen=True)
class TrainSettings:
    """What `medlora train` can be told; every value has a default that works.

    Attributes:
        method: `lora`, `linear` (the head alone), `full` fine-tuning, `factorised` (a VGG's
            fully connected layers as W = U V, trained from scratch, behind the last feature map of
            any network), or `pca-logistic` (a
            logistic regression on principal components of the features, without epochs).
        backbone: timm's model name.
        rank: Rank of the adapter, or of the factorised layers; where it is None 4, or 8.
        alpha: Strength of the adapter; the rank where it is None, so that the scale is 1.
        scaling: How alpha and rank give the scale.
        targets: Names of target sets, or patterns of layer names. Factorised are always all
            fully connected layers (`default` or `fc`).
        last_blocks: Train nothing before the last so many blocks of the backbone; 0 leaves
            nothing out.
        dropout: Dropout on the low-rank path, [0, 1). With factorised layers, also on what the head
            gets, as a VGG has it.
        input_norm: What is done to the inputs of factorised layers: `none`; `rms` for dividing
            those of each image by their root mean square; `standard` for training on channels of
            mean 0 and deviation 1, which lies in the weights in the end.
        train_norm: Train scale and shift of the normalisation layers as well.
        epochs: Passes over the training images, at least 1.
        batch_size: Images of one step on one device.
        learning_rate: Highest learning rate; the method's own where it is None.
        optimizer: `adamw`, `adam` or `sgd` (momentum 0.9).
        weight_decay: Decoupled for AdamW.
        schedule: `cosine` to zero or `constant`, after the warm-up.
        warmup_fraction: Share of all steps in which the rate rises from zero, [0, 1).
        label_smoothing: Share of the target spread over all classes, [0, 1).
        class_weights: `balanced` weighs each class by the inverse of its share in the loss;
            in a multi-label task, each label's positives by its negatives.
        sampling: `balanced` draws images so that every class comes equally often.
        clip_norm: Largest norm of the gradient; 0 switches clipping off.
        select_by: Validation measure that chooses the best epoch.
        patience: Epochs without improvement after which training ends; 0 never ends early.
        thresholds: How decision thresholds are chosen on validation images.
        operating_point: A sensitivity or specificity that they are to reach in place of that,
            as `OperatingPoint.parse` reads it; None for none.
        calibration: How logits are scaled after training, so that probabilities mean what they
            say: `temperature` (one scale), `vector` (a scale and an offset for each class),
            `none`, or `auto`, which chooses by the task and the number of validation images.
        coverage: Share of images whose prediction set is to hold the truth, (0, 1); None for no
            prediction sets.
        coverage_by_class: Reach it among the images of each class.
        precision: `auto`, `bf16` or `fp32`.
        channels: Columns of a manifest with the series of each case, which become the channels
            of the image; none for colour images.
        contrast: Contrast enhancement before resizing.
        prepare: Steps before that: `crop`, `denoise`, `bias-field`.
        augmentation: Random changes of training images.
        views: Augmented views of each training image, of which every epoch takes another one
            in turn; 0 draws the changes anew at each step.
        val_fraction: Share of images for validation where the data give none, (0, 1).
        test_fraction: Share of images for testing where the data give none, [0, 1).
        seed: Seed of everything random.

    Raises:
        SettingsError: A value is outside its range.
    """

    method: Method = "lora"
    backbone: str = "tf_efficientnet_lite0"
    rank: int | None = None
    alpha: float | None = None
    scaling: Scaling = "alpha/rank"
    targets: tuple[str, ...] = ("default",)
    last_blocks: int = 0
    dropout: float = 0.0
    input_norm: InputScaling = "none"
    train_norm: bool = False
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float | None = None
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    schedule: Schedule = "cosine"
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    sampling: Sampling = "none"
    clip_norm: float = 1.0
    select_by: str = "auroc"
    patience: int = 0
    thresholds: ThresholdRule = "fixed"
    operating_point: str | None = None
    calibration: CalibrationChoice = "auto"
    coverage: float | None = None
    coverage_by_class: bool = False
    precision: Precision = "auto"
    channels: tuple[str, ...] = ()
    contrast: Contrast = "none"
    prepare: tuple[Step, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)
    views: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every range."""
        choices: tuple[tuple[str, Any], ...] = (
            ("method", get_args(Method)),
            ("scaling", get_args(Scaling)),
            ("optimizer", get_args(Optimizer)),
            ("schedule", get_args(Schedule)),
            ("class_weights", get_args(ClassWeights)),
            ("sampling", get_args(Sampling)),
            ("input_norm", get_args(InputScaling)),
            ("select_by", tuple(SELECTION_MEASURES)),
            ("calibration", get_args(CalibrationChoice)),
            ("thresholds", get_args(ThresholdRule)),
            ("precision", get_args(Precision)),
            ("contrast", get_args(Contrast)),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise SettingsError(
                    f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}."
                )
        object.__setattr__(self, "prepare", order_steps(self.prepare))
        object.__setattr__(self, "channels", check_channels(self.channels))
        ranges: tuple[tuple[str, float, float, bool], ...] = (
            ("rank", 1, 65536, True),
            ("epochs", 1, 100_000, True),
            ("batch_size", 1, 65536, True),
            ("patience", 0, 100_000, True),
            ("dropout", 0, 1, False),
            ("warmup_fraction", 0, 1, False),
            ("label_smoothing", 0, 1, False),
            ("val_fraction", 0, 1, False),
            ("test_fraction", 0, 1, False),
            ("weight_decay", 0, 100, True),
            ("clip_norm", 0, 1e9, True),
            ("seed", 0, 2**31 - 1, True),
            ("views", 0, 100_000, True),
            ("last_blocks", 0, 10_000, True),
        )
        for name, low, high, closed in ranges:
            value = getattr(self, name)
            if value is None:
                continue
            if not (low <= value <= high if closed else low <= value < high):
                bracket = "]" if closed else ")"
                raise SettingsError(f"{name} must be in [{low}, {high}{bracket}, not {value}.")
        for name in ("learning_rate", "alpha"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise SettingsError(f"{name} must be above 0 and below 1e6, not {value}.")
        if self.val_fraction == 0:
            raise SettingsError("val_fraction must be above 0: the best epoch is chosen by it.")
        if self.last_blocks and self.method == "full":
            raise SettingsError(
                "last_blocks must be 0 with the method full, which trains all of the backbone."
            )
        if self.last_blocks and self.method == "factorised":
            raise SettingsError(
                "last_blocks must be 0 with the method factorised, which trains the fully "
                "connected layers and no block. Leave it out, or adapt blocks with lora."
            )
        if self.method == "pca-logistic":
            self._check_plain_features()
        if self.operating_point is not None:
            OperatingPoint.parse(self.operating_point)
            if self.thresholds != "fixed":
                raise SettingsError(
                    f"operating_point does not go with thresholds {self.thresholds!r}: both choose "
                    "them. Leave one out."
                )
        if self.coverage is not None:
            check_coverage(self.coverage)
        elif self.coverage_by_class:
            raise SettingsError("coverage_by_class needs a coverage, for example 0.9.")
        if not self.targets:
            raise SettingsError("targets must name at least one set or pattern.")
        if self.input_norm != "none" and self.method != "factorised":
            raise SettingsError(
                f"input_norm {self.input_norm!r} is for the method factorised; the method "
                f"{self.method} keeps the backbone's own normalisation. Leave it out."
            )
        if self.input_norm == "standard" and self.train_norm:
            raise SettingsError(
                "input_norm 'standard' keeps what the frozen layers give on average, and "
                "train_norm changes it. Leave one of them out."
            )
        if self.method == "factorised" and self.targets not in (("default",), ("fc",)):
            raise SettingsError(
                "The method factorised replaces all fully connected layers, so targets must be "
                f"'default' or 'fc', not {', '.join(self.targets)}. Adapt others with lora."
            )

    def _check_plain_features(self) -> None:
        """Refuse what a method without training steps would leave out in silence."""
        default = Augmentation()
        asked = {
            "augmentation": self.augmentation != default,
            "views": self.views > 0,
            "last_blocks": self.last_blocks > 0,
            "train_norm": self.train_norm,
            "sampling": self.sampling != "none",
        }
        for name, is_asked in asked.items():
            if is_asked:
                raise SettingsError(
                    f"{name} has no meaning for the method pca-logistic, which fits the features "
                    "of each image once. Leave it out, or train with linear."
                )

    def resolve(self) -> "TrainSettings":
        """The same settings with the method's rank and rate and the rank's alpha filled in."""
        rank = self.rank or (FACTORISED_RANK if self.method == "factorised" else DEFAULT_RANK)
        return replace(
            self,
            learning_rate=self.learning_rate or DEFAULT_LEARNING_RATES.get(self.method),
            rank=rank,
            alpha=self.alpha or float(rank),
        )

    def reduce(self) -> "TrainSettings":
        """The same settings, resolved; what is about an adapter by default where there is none.

        Two runs were trained alike if these are equal.

        Example:
            >>> TrainSettings(method="full", rank=8).reduce().rank is None
            True
        """
        settings = self.resolve()
        if self.method in ("lora", "factorised"):
            return settings
        plain: dict[str, Any] = {
            each.name: each.default for each in fields(self) if each.name in _OF_ADAPTERS
        }
        return replace(settings, **plain)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; without those that came later where they change nothing."""
        names = ("targets", "prepare", "channels")
        values = asdict(self) | {name: list(getattr(self, name)) for name in names}
        return {key: value for key, value in values.items() if _LATER.get(key, ...) != value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainSettings":
        """The settings that `to_dict` described.

        Raises:
            SettingsError: A name is unknown or a value is out of range.
        """
        try:
            # Runs from before there was a calibration did without.
            plain = {"calibration": "none", **values}
            plain["targets"] = tuple(plain["targets"])
            for name in ("prepare", "channels"):
                plain[name] = tuple(plain.get(name, ()))
            plain["augmentation"] = Augmentation.from_dict(plain["augmentation"])
            return cls(**plain)
        except (TypeError, KeyError) as error:
            raise SettingsError(f"The training settings are not valid: {error}.") from error
