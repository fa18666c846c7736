"""Table of kind `novelty-candidates`: which description tells unusual images best."""

from typing import Any

from benchmarks.result_fields import field, format_table

_COLUMNS = (
    ("another modality", "modality"),
    ("its lowest", "lowest modality"),
    ("photographs", "photographs"),
    ("pure noise", "pure noise"),
    ("inverted", "inverted"),
    ("blurred", "blurred"),
    ("upside-down", "upside-down"),
    ("spoilt, mean of four", "spoilt"),
)


def render_novelty_candidates(result: dict[str, Any]) -> str:
    """A table for each backbone: mean AUROCs over the tasks, and false alarms.

    Args:
        result: As benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing.
    """
    counts = field(result, "n_images")
    parts = []
    for backbone in field(result, "backbones"):
        rows = [
            [
                field(each, "name"),
                *(f"{field(each, key):.3f}" for _, key in _COLUMNS),
                f"{100 * field(each, 'false_alarms'):.1f} %",
            ]
            for each in field(backbone, "candidates")
        ]
        header = ["description and distance", *(title for title, _ in _COLUMNS), "false alarms"]
        parts += [f"**{field(backbone, 'backbone')}**", format_table(header, rows)]
    parts.append(
        f"AUROC, mean over five tasks, of {counts['train']} training, {counts['val']} validation "
        f"and {counts['test']} test images each (fewer where a split has fewer)."
    )
    return "\n\n".join(parts)
