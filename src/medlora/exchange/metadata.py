"""What travels with a task in formats that keep a table of texts beside their tensors."""

from medlora.task.card import TaskCard
from medlora.task.strict_json import format_json


def describe_task(card: TaskCard) -> dict[str, str]:
    """A card's fields that are needed to use a task, as texts.

    Args:
        card: The task's card.

    Returns:
        `task`, `backbone`, `fingerprint`, `created` and `note` as they are; `classes`,
        `multi_label`, `thresholds` and `preprocessing` as JSON.

    Example:
        >>> from medlora.preprocessing import Preprocessing
        >>> from medlora.task.card import BackboneReference
        >>> card = TaskCard(
        ...     name="demo", classes=("no", "yes"), multi_label=False, method="linear",
        ...     backbone=BackboneReference("vit_tiny_patch16_224", "0" * 64),
        ...     preprocessing=Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3),
        ...     adapter=None, thresholds=(0.5, 0.5), created="2025-01-31T12:00:00+00:00",
        ... )
        >>> describe_task(card)["classes"], describe_task(card)["thresholds"]
        ('["no","yes"]', '[0.5,0.5]')
    """
    return {
        "task": card.name,
        "classes": format_json(list(card.classes)),
        "multi_label": format_json(card.multi_label),
        "thresholds": format_json(list(card.thresholds)),
        "preprocessing": format_json(card.preprocessing.to_dict()),
        "backbone": card.backbone.name,
        "fingerprint": card.backbone.fingerprint,
        "created": card.created,
        "note": card.note,
    }
