"""Tables of kind `sizes`: what an adapter trains, and the scores of runs."""

from typing import Any

from benchmarks.result_fields import field, format_span, format_table

Row = dict[str, Any]


def render_sizes(result: Row) -> str:
    """A table of counts, one of scores where there are any, and the figure.

    Args:
        result: `rank`, `n_classes`, `rows` of `BackboneSize.to_dict`, `scores` of
            `RunScore.to_dict`, and `figure` beside the document.

    Raises:
        ResultError: A field is missing.
    """
    counts = [
        [
            f"`{field(row, 'backbone')}`",
            f"{field(row, 'n_parameters'):,}",
            f"{field(row, 'n_adapter'):,}",
            f"{field(row, 'n_head'):,}",
            f"{field(row, 'n_trainable'):,}",
            f"{100 * field(row, 'n_trainable') / field(row, 'n_parameters'):.3f} %",
        ]
        for row in field(result, "rows")
    ]
    header = ["backbone", "parameters", "adapter", "head", "trained", "share"]
    about = (
        f"Adapters of rank {field(result, 'rank')} on each family's default layers, with a head "
        f"of {field(result, 'n_classes')} classes:"
    )
    parts = [about, format_table(header, counts)]
    scores = field(result, "scores")
    if scores:
        measure = field(scores[0], "measure")
        lines = [
            [
                f"`{field(row, 'backbone')}`",
                str(field(row, "method")),
                f"{field(row, 'n_trainable'):,}",
                f"{field(row, 'n_images'):,}",
                format_span(field(row, "value"), (row["low"], row["high"])),
            ]
            for row in scores
        ]
        title = ["backbone", "method", "trained", "test images", measure]
        parts += [f"Scores on {field(scores[0], 'data')}:", format_table(title, lines)]
    parts.append(f"![Trained parameters and scores by size]({field(result, 'figure')})")
    return "\n\n".join(parts)
