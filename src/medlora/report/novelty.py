"""The part of a report about images that are unlike the training images."""

from collections.abc import Iterator, Mapping
from typing import Any

from medlora.report.cards import read_mapping
from medlora.report.sections import Block, Entries, Paragraph, Section, Table
from medlora.report.wording import (
    clean_text,
    format_bounds,
    format_count,
    format_number,
    read_interval,
)

_INTRO = (
    "A classifier answers every image, also one of another kind. How far an image lies from the "
    "training images says whether it should."
)


def arrange_novelty(content: Mapping[str, Any] | None) -> tuple[Section, ...]:
    """The section of what a run has found.

    Args:
        content: As `medlora.runs.novelty.describe_kept` writes it, and under `scored` what
            `measure_unlike` does, if there are test images; None where the task keeps nothing of
            its training images.
    """
    if content is None:
        return ()
    scored = read_mapping(content, "scored")
    pairs = [
        ("statistic", _tell_statistic(content)),
        ("limit", _tell_limit(content)),
        ("validation images", _count_unlike(read_mapping(content, "validation"))),
        ("test images", _tell_share(scored, read_mapping(content, "promised"))),
    ]
    blocks: list[Block] = [Entries(tuple((name, value) for name, value in pairs if value))]
    blocks += _tell_abstaining(scored)
    return (Section("Images unlike the training images", "novelty", _INTRO, tuple(blocks)),)


def _tell_statistic(content: Mapping[str, Any]) -> str:
    return (
        "Mahalanobis distance, with a covariance of few directions, of what enters "
        f"{clean_text(str(content['place']))} of the network (mean and spread of each channel, "
        f"{format_count(content['n_values'])} values), from "
        f"{format_count(content['n_train'])} training images. Labels play no part in it."
    )


def _tell_limit(content: Mapping[str, Any]) -> str:
    promised = read_mapping(content, "promised")
    return (
        f"{content['limit']:.3f}, chosen by {format_count(promised['n_units'])} images or patients "
        "that nothing was learnt from. Of images like those, at most "
        f"{_percent(promised['false_alarms'])} lie beyond it on average; by chance of which were "
        f"drawn, it may be up to {_percent(promised['most'])} (95 % confidence)."
    )


def _count_unlike(counts: Mapping[str, Any]) -> str:
    n_images = counts.get("n_images")
    if not n_images:
        return ""
    n_unlike = counts["n_unlike"]
    return (
        f"{format_count(n_unlike)} of {format_count(n_images)} ({_percent(n_unlike / n_images)}) "
        "lie beyond the limit, which they chose."
    )


def _tell_share(scored: Mapping[str, Any], promised: Mapping[str, Any]) -> str:
    if not scored:
        return ""
    share = read_interval(scored["share"])
    found = (
        f"{format_count(scored['n_unlike'])} of {format_count(scored['n_images'])} lie beyond it: "
        f"a share of {_quote(scored['share'])}."
    )
    if share.low is not None and share.low > promised["most"]:
        return f"{found} That is more than chance explains: they are not like those of validation."
    if share.low is not None and share.low > promised["false_alarms"]:
        return (
            f"{found} That is more than promised on average, and as much as so few validation "
            "images may let happen."
        )
    return f"{found} That agrees with what is promised."


def _tell_abstaining(scored: Mapping[str, Any]) -> Iterator[Block]:
    """What is won and lost where no answer is given to images beyond the limit."""
    rules = [
        (name, scored[key])
        for name, key in (
            ("images unlike the training images", "abstaining"),
            ("these, and doubtful prediction sets", "with_sets"),
        )
        if key in scored
    ]
    if not rules:
        return
    if not any(own["n_abstained"] for _, own in rules):
        yield Paragraph("No test image goes without an answer, so that no score changes.")
        return
    yield Table(
        "What abstaining does to the error on the test images (95 % intervals).",
        ("No answer to", "Withheld", "Error of the answered", "Of the withheld", "Of all"),
        tuple(
            (
                name,
                f"{format_count(own['n_abstained'])} of {format_count(own['n_answers'])}",
                *(_quote(own[key]) for key in ("error", "error_withheld", "error_of_all")),
            )
            for name, own in rules
        ),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _quote(estimate: Any) -> str:
    interval = read_interval(estimate)
    bounds = format_bounds(interval)
    return format_number(interval.value) + (f" ({bounds})" if bounds else "")
