"""Tables of kind `mixed-tasks`: batches of many tasks, measured within one run."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.result_fields import ResultError, field, format_span, format_table

Row = dict[str, Any]


def render_mixed_tasks(result: Row) -> str:
    """The contests with their ratios, the additions, the strategies, and what is to be added.

    Ratios are computed here from the rows, so that they cannot contradict them.

    Args:
        result: As benchmarks/README.md describes it.

    Raises:
        ResultError: A field is missing, or a ratio names no row.
    """
    parts = [str(result["setting"])] if result.get("setting") else []
    for network in field(result, "networks"):
        parts += _render_network(network)
    if result.get("adding"):
        parts += _render_adding(result["adding"])
    if result.get("strategies"):
        parts += _render_strategies(result["strategies"])
    if result.get("figure"):
        text = "Throughput against the bare backbone, and what the strategies cost in one layer"
        parts.append(f"![{text}]({result['figure']})")
    parts += result.get("notes", [])
    return "\n\n".join(parts)


def list_batch_sizes(network: Row) -> list[int]:
    """The batch sizes that a network was measured with.

    Raises:
        ResultError: Not every contestant had the same.
    """
    sizes = [
        [field(batch, "batch_size") for batch in field(row, "batches")]
        for row in field(network, "rows")
    ]
    if not sizes or any(other != sizes[0] for other in sizes):
        raise ResultError(f"the rows have batches of {sizes}, and all must have the same")
    return sizes[0]


def compare_rows(network: Row, of: str, to: str, batch_size: int) -> float:
    """The ratio of two contestants' speeds: the median of those of the rounds.

    Args:
        network: One of the result's `networks`.
        of: Name of a row.
        to: Name of the row that it is divided by.
        batch_size: Images in a batch.

    Raises:
        ResultError: There is no such row or batch, or they have no round in common.
    """
    return median(_list_ratios(network, of, to, batch_size))


def _list_ratios(network: Row, of: str, to: str, batch_size: int) -> list[float]:
    """The ratio in every round in which both took part: the first ones, as many as both have."""
    tops, bottoms = (field(_find_batch(network, name, batch_size), "repeats") for name in (of, to))
    if not tops or not bottoms:
        raise ResultError(f"{of!r} and {to!r} have no round in common, and a ratio needs one")
    if min(bottoms) <= 0:
        raise ResultError(f"a speed of {to!r} is {min(bottoms)}, and a ratio needs a positive one")
    return [float(top / bottom) for top, bottom in zip(tops, bottoms, strict=False)]


def _render_network(network: Row) -> list[str]:
    sizes = list_batch_sizes(network)
    reference = field(network, "reference")
    place = "GPU" if field(network, "device") == "cuda" else "processor"
    title = f"**{field(network, 'backbone')} on the {place}, {field(network, 'precision')}**"
    if network.get("every_row_differs"):
        title += ", every image of a batch asks another task"
    header = ["who answers", "MB for a task"]
    for size in sizes:
        header += [f"images/s, batches of {size}", "to the bare backbone"]
    lines, before = [], ""
    for row in network["rows"]:
        name = field(row, "name")
        line = [name, _format_size(row.get("bytes_per_task"))]
        for size in sizes:
            ratio = compare_rows(network, name, reference, size)
            line += [_format_speed(_find_batch(network, name, size)), f"{ratio:.3f}"]
        how = row.get("how", "–")
        lines.append([*line, "as above" if how == before else how])
        before = how
    parts = [title, format_table([*header, "how it is called"], lines)]
    if network.get("ratios"):
        parts.append(_render_ratios(network, sizes))
    if network.get("matrix"):
        parts.append(_describe_share(network, max(sizes)))
    return parts


def _render_ratios(network: Row, sizes: Sequence[int]) -> str:
    lines = []
    for ratio in network["ratios"]:
        of, to = field(ratio, "of"), field(ratio, "to")
        rounds = [_list_ratios(network, of, to, size) for size in sizes]
        values = [median(repeats) for repeats in rounds]
        aim = ratio.get("at_least")
        lines.append(
            [
                f"{of} to {to}",
                *(
                    format_span(value, repeats, end_digits=2)
                    for value, repeats in zip(values, rounds, strict=True)
                ),
                "–" if aim is None else f"at least {aim:g}",
                "–" if aim is None else _say(all(value >= aim for value in values)),
            ]
        )
    columns = [f"batches of {size}" for size in sizes]
    return format_table(["ratio of images per second", *columns, "aim", "reached"], lines)


def _describe_share(network: Row, batch_size: int) -> str:
    matrix = network["matrix"]
    rate = field(matrix, "operations_per_second")
    operations = field(matrix, "operations_per_image")
    shares = []
    for name in field(matrix, "of"):
        speed = field(_find_batch(network, name, batch_size), "images_per_second")
        shares.append(f"{100 * speed * operations / rate:.0f} % by {name}")
    return (
        f"Square matrices of {field(matrix, 'side')} rows are multiplied at "
        f"{rate / 1e12:.3g} TFLOP/s here. An image takes {operations / 1e9:.1f} GFLOP; of that "
        f"rate batches of {batch_size} reach {', '.join(shares)}."
    )


def _render_adding(adding: Row) -> list[str]:
    limit = field(adding, "at_most_seconds")
    lines = []
    for row in field(adding, "rows"):
        first, last = field(row, "from"), field(row, "to")
        place = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        seconds, repeats = field(row, "seconds"), row.get("repeats") or [field(row, "seconds")]
        span = f"{1e3 * min(repeats):.2f} to {1e3 * max(repeats):.2f}"
        lines.append(
            [
                place,
                f"{1e3 * seconds:.2f} ms ({span})",
                f"under {1e3 * limit:g} ms",
                _say(seconds < limit),
            ]
        )
    header = ["number of the task that is added", "time of `TaskBank.add`", "aim", "reached"]
    size = field(adding, "bytes")
    sentence = (
        f"A task's tensors take {_format_size(field(size, 'file'))} MB in its file, in float32. "
        f"The bank holds them in {_format_size(field(size, 'held'))} MB"
    )
    if "resident" in size:
        sentence += f"; the process grew by {_format_size(size['resident'])} MB for each task"
    return [format_table(header, lines), f"{sentence}."]


def _render_strategies(strategies: Sequence[Row]) -> list[str]:
    names = list(field(strategies[0], "extra"))
    lines = []
    for row in strategies:
        extra = field(row, "extra")
        lines.append(
            [
                f"{field(row, 'batch_size')}",
                f"{field(row, 'n_distinct')}",
                f"{1e3 * field(row, 'base_seconds'):.1f} ms",
                *(f"{100 * field(extra, name):+.1f} %" for name in names),
            ]
        )
    return [
        "What the updates of one query-key-value layer add to the layer's own time:",
        format_table(["images", "different tasks", "the layer alone", *names], lines),
    ]


def _find_batch(network: Row, name: str, batch_size: int) -> Row:
    rows = {field(row, "name"): row for row in field(network, "rows")}
    if name not in rows:
        raise ResultError(f"a ratio names {name!r}, and the rows are {sorted(rows)}")
    for batch in field(rows[name], "batches"):
        if field(batch, "batch_size") == batch_size:
            found: Row = batch
            return found
    raise ResultError(f"{name!r} has no batches of {batch_size}")


def _format_speed(batch: Row) -> str:
    speed, repeats = field(batch, "images_per_second"), field(batch, "repeats")
    return format_span(speed, repeats, 2 if speed < 100 else 0)


def _format_size(n_bytes: float | None) -> str:
    return "–" if n_bytes is None else f"{n_bytes / 1e6:.2f}"


def _say(is_reached: bool) -> str:
    return "yes" if is_reached else "no"
