"""What can be asked of the experiment on low-rank layers in VGG16: its parts, and one trial."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.errors import SettingsError
from medlora.experiments.arms import Arm
from medlora.train.caching import CacheFeatures

PART_NAMES = {
    "published": "As published: the printed network, no pretrained weights, factorised, rank 8",
    "grid": "The paper's grid on pretrained convolutions, chosen on validation images",
    "rank": "Ranks of the factorised layers",
    "conditioning": "How the factorised layers are trained",
    "method": "Methods on VGG16's convolutions",
    "backbone": "Other backbones",
    "balance": "Weighted loss, resampling, and a threshold for the class that is missed",
    "preparation": "Contrast, cropping and augmentation",
}


@dataclass(frozen=True)
class Trial:
    """One way of training within a part of the experiment.

    Attributes:
        part: Key of `PART_NAMES`.
        name: What is special about it, in words.
        arm: How it is trained.
        weights: The checkpoint that is asked for; None to look for it.
        published: The paper's own figure; empty where it has none.
        cache_features: Whether its frozen part is computed once for each image. `auto` looks at
            one run alone; tries that share what is kept may gain by it where one would not.
    """

    part: str
    name: str
    arm: Arm
    weights: str | None = None
    published: str = ""
    cache_features: CacheFeatures = "auto"

    @property
    def folder(self) -> str:
        """Its folder below the experiment's."""
        words = "".join(sign if sign.isalnum() else "-" for sign in self.name)
        return f"{self.part}/{words.strip('-')}"


@dataclass(frozen=True)
class Vgg16Plan:
    """What to run.

    Attributes:
        data: Brain-tumour MRI as class folders with Training and Testing.
        parts: Keys of `PART_NAMES`; all where empty.
        seeds: Seeds of every trial but those of the grid, which have the first.
        precision: `auto`, `bf16` or `fp32`.
        only: What the name of a trial that is run contains; any where empty.

    Raises:
        SettingsError: A part is unknown, or there is no seed.
    """

    data: Path
    parts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    precision: Any = "auto"
    only: str = ""

    def __post_init__(self) -> None:
        """Check names and seeds."""
        for part in self.parts:
            if part not in PART_NAMES:
                raise SettingsError(
                    f"There is no part {part!r}; there are {', '.join(PART_NAMES)}."
                )
        if not self.seeds:
            raise SettingsError("One seed at least is needed.")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The parts to run; the grid before those that are built on its choice."""
        return tuple(part for part in PART_NAMES if not self.parts or part in self.parts)
