"""Table of kind `audit-memory`: what an audit of more and more images holds in memory."""

from typing import Any

from benchmarks.result_fields import field, format_table


def render_audit_memory(result: dict[str, Any]) -> str:
    """A row for each number of images, and what follows for many.

    Args:
        result: As benchmarks/README.md describes it; two rows at least, by number of images.

    Raises:
        ResultError: A field is missing.
    """
    rows = field(result, "rows")
    lines = [
        [
            f"{field(row, 'n_images'):,}",
            f"{field(row, 'base_bytes') / 2**20:,.0f}",
            f"{field(row, 'own_bytes') / 2**20:,.0f}",
            f"{field(row, 'peak_bytes') / 2**20:,.0f}",
            f"{1000 * field(row, 'processor_seconds') / row['n_images']:.0f}",
        ]
        for row in rows
    ]
    table = format_table(
        [
            "images",
            "MiB of its own with the backbone loaded",
            "MiB of its own, at most",
            "with pages of files",
            "ms of one core an image",
        ],
        lines,
    )
    fewer, more = rows[-2:]
    slope = (more["own_bytes"] - fewer["own_bytes"]) / (more["n_images"] - fewer["n_images"])
    n_far = field(result, "far")
    far = more["own_bytes"] + slope * (n_far - more["n_images"])
    words = (
        f"An image more takes {slope / 2**10:.1f} KiB of the process's own, by the last two rows, "
        f"so that {n_far:,} images would take {far / 2**30:.1f} GiB at most. That is extrapolated. "
        "Pages of files are given back when memory is short."
    )
    return "\n\n".join([table, words, *result.get("notes", [])])
