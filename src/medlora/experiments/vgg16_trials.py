"""What the experiment on low-rank layers in VGG16 consists of: every trial, and the paper's grid.

Reference:
    Enhancing Brain Tumor Classification: VGG16 with Low-Rank Adaptation (LoRA).
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from medlora.backbones.weights import EMBEDDED_BACKBONE
from medlora.errors import SettingsError
from medlora.experiments.arms import Arm
from medlora.experiments.augmentations import BRAIN_MRI
from medlora.experiments.vgg16_plan import Trial, Vgg16Plan
from medlora.experiments.vgg16_published import PUBLISHED
from medlora.runs.folder import RunPlan
from medlora.train.settings import TrainSettings
from medlora.tune.plan import TuneFolder, TunePlan
from medlora.tune.space import Choice, Range, Space

PRINTED = "vgg16_seed.features"
PRETRAINED = "vgg16.features"
RANK = 8
_NOTE = "An experiment's run; not for use on patients."
# The three convolutions of VGG16's last block, by their places in timm's `features`.
_LAST_CONVOLUTIONS = ("features.24", "features.26", "features.28")
# Of the tumours a glioma is the one that must not be missed.
_POINTS = {
    "one false alarm in twenty for glioma": "glioma_tumor:specificity=0.95",
    "one false alarm in ten for glioma": "glioma_tumor:specificity=0.9",
    "one false alarm in five for glioma": "glioma_tumor:specificity=0.8",
}
# Networks beside VGG16. An adapter in the largest takes hours on a processor, and is an experiment
# of its own.
_SMALL = (EMBEDDED_BACKBONE, "vit_tiny_patch16_224")
_LARGEST = "vit_base_patch16_clip_quickgelu_224.openai"
# Lasting views of each image: what is frozen is computed once for each of them.
_VIEWS = 4


def plan_grid(plan: Vgg16Plan) -> TunePlan:
    """The paper's grid as a search on validation images: 54 combinations."""
    base = TrainSettings(
        method="factorised",
        backbone=PRETRAINED,
        rank=RANK,
        schedule="constant",
        warmup_fraction=0.0,
        weight_decay=0.0,
        calibration="none",
        precision=plan.precision,
        seed=plan.seeds[0],
    )
    dimensions: dict[str, Choice | Range] = {
        "learning_rate": Choice((0.001, 0.005, 0.01)),
        "batch_size": Choice((16, 32, 64)),
        "optimizer": Choice(("adam", "adamw", "sgd")),
        "epochs": Choice((3, 10)),
    }
    space = Space(base, dimensions, "the paper's grid")
    return TunePlan(
        replace(plan_run(plan), settings=base, name="vgg16-lora-grid"),
        space,
        sampler="grid",
        n_trials=len(space.list_points()),
        pruner="none",
    )


def list_trials(plan: Vgg16Plan, folder: Path, part: str) -> list[Trial]:
    """The trials of a part.

    Ranks are varied in the grid's best settings, balance and preparation in those of `condition`:
    only `rank` and `conditioning` need the grid.

    Raises:
        SettingsError: The part needs the grid, and the grid is not finished.
    """
    if part == "published":
        return list(_list_published(plan))
    if part == "backbone":
        return list(_list_backbones(plan))
    if part == "method":
        return list(_list_methods(plan))
    if part == "conditioning":
        return list(_list_conditioning(plan, read_best(folder)))
    recipe = condition(plan)
    if part == "rank":
        best = read_best(folder)
        return [
            _vary(plan, part, f"rank {rank}", best, rank=rank) for rank in (1, 2, 4, 8, 16, 32, 64)
        ]
    if part == "balance":
        return [
            _vary(plan, part, "none", recipe),
            _vary(plan, part, "weighted loss", recipe, class_weights="balanced"),
            _vary(plan, part, "resampling", recipe, sampling="balanced"),
            *(
                _vary(plan, part, name, recipe, operating_point=point)
                for name, point in _POINTS.items()
            ),
        ]
    views = {"augmentation": BRAIN_MRI, "views": _VIEWS}
    return [
        _vary(plan, part, "neither", recipe),
        _vary(plan, part, "equalisation", recipe, contrast="equalize"),
        _vary(plan, part, "CLAHE", recipe, contrast="clahe"),
        _vary(plan, part, "cropping to the head", recipe, prepare=("crop",)),
        _vary(plan, part, "augmentation", recipe, **views),
        _vary(plan, part, "all three", recipe, prepare=("crop",), contrast="clahe", **views),
    ]


def condition(plan: Vgg16Plan) -> TrainSettings:
    """How the factorised layers are trained where the paper's grid does not bind.

    AdamW at a rate at which the loss falls evenly, a cosine, smoothed labels, and the dropout that
    a VGG has before its fully connected layers: at the grid's constant rates the training images
    are learnt by heart within a few epochs. Their inputs are normalised, so that the contrast of
    an image does not count.
    """
    return TrainSettings(
        method="factorised",
        backbone=PRETRAINED,
        rank=32,
        dropout=0.5,
        input_norm="rms",
        learning_rate=3e-4,
        weight_decay=0.05,
        label_smoothing=0.1,
        batch_size=16,
        epochs=20,
        calibration="none",
        precision=plan.precision,
        seed=plan.seeds[0],
    )


def _list_conditioning(plan: Vgg16Plan, best: TrainSettings) -> Iterator[Trial]:
    """From the grid's best settings to those of `condition`, a step at a time."""
    conditioned = condition(plan)
    full = replace(conditioned, input_norm="none")
    steps = (
        ("the grid's best", best),
        ("AdamW, cosine, 20 epochs", replace(full, rank=8, dropout=0.0, label_smoothing=0.0)),
        ("and smoothed labels", replace(full, rank=8, dropout=0.0)),
        ("and dropout", replace(full, rank=8)),
        ("and rank 32", full),
        ("and normalised inputs", conditioned),
    )
    for name, settings in steps:
        yield _vary(plan, "conditioning", name, settings)


def _list_published(plan: Vgg16Plan) -> Iterator[Trial]:
    for row in PUBLISHED:
        settings = TrainSettings(
            method="factorised",
            backbone=PRINTED,
            rank=RANK,
            batch_size=row.batch_size,
            optimizer=row.optimizer,
            epochs=row.epochs,
            schedule="constant",
            warmup_fraction=0.0,
            weight_decay=0.0,
            calibration="none",
            precision=plan.precision,
        )
        name = f"{row.optimizer} {row.learning_rate:g}, batch {row.batch_size}, {row.epochs} epochs"
        arm = Arm(settings, (row.learning_rate,), row.epochs, plan.seeds)
        yield Trial("published", name, arm, weights="random", published=row.accuracy)


def _list_methods(plan: Vgg16Plan) -> Iterator[Trial]:
    """Each with three rates to choose from, a factor of about three apart."""
    common = TrainSettings(
        backbone=PRETRAINED,
        label_smoothing=0.05,
        augmentation=BRAIN_MRI,
        calibration="none",
        precision=plan.precision,
    )
    factorised = replace(condition(plan), augmentation=BRAIN_MRI, views=_VIEWS)
    cases: tuple[tuple[str, TrainSettings, tuple[float, ...], int], ...] = (
        ("factorised", factorised, (1e-4, 3e-4, 1e-3), factorised.epochs),
        ("linear probe", replace(common, method="linear", views=_VIEWS), (1e-2, 3e-2, 1e-1), 30),
        (
            "lora, last block of convolutions",
            replace(common, targets=_LAST_CONVOLUTIONS, views=_VIEWS),
            (1e-3, 3e-3, 1e-2),
            4,
        ),
        # What trains the first convolutions as well goes through all of the network and back at
        # every step: an epoch takes half an hour of a core, and the best try is the run.
        ("lora, all convolutions", replace(common, targets=("conv",)), (1e-3, 3e-3, 1e-2), 1),
        ("full", replace(common, method="full"), (1e-5, 3e-5, 1e-4), 1),
    )
    for name, settings, rates, epochs in cases:
        arm = Arm(replace(settings, epochs=epochs), rates, max(1, epochs // 3), plan.seeds)
        # Without lasting views there is nothing that could be kept.
        yield Trial("method", name, arm, cache_features="on" if settings.views else "auto")


def _list_backbones(plan: Vgg16Plan) -> Iterator[Trial]:
    """Factorised layers behind the map of each, trained alike; and adapters in them."""
    common = replace(condition(plan), input_norm="standard")
    for backbone in (PRETRAINED, *_SMALL, _LARGEST):
        yield _vary(plan, "backbone", f"factorised on {backbone}", common, backbone=backbone)
    # With the thresholds that are tried on VGG16: the one that comes with the product, the largest.
    for backbone, (words, point) in product((EMBEDDED_BACKBONE, _LARGEST), _POINTS.items()):
        changes: dict[str, Any] = {"backbone": backbone, "operating_point": point}
        yield _vary(plan, "backbone", f"factorised on {backbone}, {words}", common, **changes)
    for backbone in _SMALL:
        settings = TrainSettings(
            backbone=backbone,
            epochs=3,
            label_smoothing=0.05,
            augmentation=BRAIN_MRI,
            calibration="none",
            precision=plan.precision,
        )
        arm = Arm(settings, (1e-3, 3e-3, 1e-2), 1, plan.seeds)
        yield Trial("backbone", f"lora on {backbone}", arm)


def _vary(plan: Vgg16Plan, part: str, name: str, best: TrainSettings, **changes: Any) -> Trial:
    settings = replace(best, **changes)
    rate = best.resolve().learning_rate or 0.0
    return Trial(part, name, Arm(settings, (rate,), best.epochs, plan.seeds))


def plan_run(plan: Vgg16Plan) -> RunPlan:
    """What all runs share."""
    return RunPlan(
        data=str(plan.data.resolve()),
        settings=TrainSettings(),
        name="vgg16-lora",
        note=_NOTE,
        command="medlora reproduce vgg16-lora",
        # Drawing them takes longer than training on kept features.
        heat_maps=False,
        novelty=False,
    )


def read_best(folder: Path) -> TrainSettings:
    """The settings of the grid's best trial.

    Raises:
        SettingsError: The grid is not finished.
    """
    best = TuneFolder(folder / "grid").best
    if not best.report.is_file():
        raise SettingsError(
            f"{folder / 'grid'} holds no finished grid, which the parts 'rank' and 'conditioning' "
            "start from. Run the part 'grid' first."
        )
    return RunPlan.from_dict(best.read_record()["plan"]).settings
