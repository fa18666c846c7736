"""The rows of the tables that the paper on low-rank layers in VGG16 prints.

Reference:
    Enhancing Brain Tumor Classification: VGG16 with Low-Rank Adaptation (LoRA).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PublishedRow:
    """One row of the paper's tables.

    Attributes:
        learning_rate: Of the optimiser.
        batch_size: Images of a step.
        optimizer: `adam`, `adamw` or `sgd`.
        epochs: Passes over the training images.
        accuracy: As the paper gives it.
    """

    learning_rate: float
    batch_size: int
    optimizer: Any
    epochs: int
    accuracy: str


PUBLISHED = (
    PublishedRow(0.001, 32, "adam", 10, ".25 (baseline; recall and precision .25, AUROC .49)"),
    PublishedRow(0.001, 16, "adam", 3, "29.19 %"),
    PublishedRow(0.001, 32, "adam", 3, "29.19 %"),
    PublishedRow(0.001, 64, "adam", 3, "29.19 %"),
    PublishedRow(0.005, 64, "adam", 3, "25.38 %"),
    PublishedRow(0.01, 32, "adam", 3, "25.38 %"),
    PublishedRow(0.001, 16, "adam", 10, "0.25"),
    PublishedRow(0.001, 16, "adamw", 3, "25.38 % (29.19 % in the text)"),
    PublishedRow(0.001, 16, "sgd", 3, "25.38 % (29.19 % in the text)"),
)
