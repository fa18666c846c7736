"""What a single run's numbers support, in a few sentences, and no more than that."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from medlora.report.audit_accounts import read_audit
from medlora.report.cards import read_mapping
from medlora.report.content import ReportContent
from medlora.report.sections import Items, Section
from medlora.report.tables import SPLIT_WORDS, read_counts
from medlora.report.wording import (
    Interval,
    clean_text,
    format_bounds,
    format_count,
    format_number,
    read_interval,
)

_NORMAL: Final = 1.959964
# That a two-sided test at .05 finds a difference with 80 % power takes so many standard errors.
_POWER_ERRORS: Final = 2.801585
# How closely two methods' mistakes on the same images are correlated: as is usual, and not at all.
_RELATED, _UNRELATED = 0.5, 0.0
_CHANCE: Final = 0.5
_NAMES: Final = {"accuracy": "accuracy", "auroc": "mean AUROC"}


def describe_verdict(content: ReportContent) -> Section:
    """The verdict as the first section of a report.

    Args:
        content: What the report is about.
    """
    return Section("Verdict", "verdict", "", (Items(tuple(list_verdict(content))),), "methods")


def list_verdict(content: ReportContent) -> list[str]:
    """What the run's scores show, one sentence or two for each question.

    A score is held against what an answer without looking would get: for single labels the
    accuracy of always naming the most frequent class of the scored images, for several labels an
    AUROC of .5. Only of images that the run has kept apart is it said what that shows.

    Args:
        content: What the report is about.

    Reference:
        Wilson, JASA 1927, for the interval where all images, or none, were decided rightly, of
        which a bootstrap can tell none.
    """
    if read_mapping(content.card, "training").get("shuffled_labels"):
        return [
            "Labels were shuffled on purpose: the scores check the procedure, and say nothing of "
            "the task."
        ]
    return [*_judge_score(content), *_judge_size(content)]


def _judge_score(content: ReportContent) -> Iterator[str]:
    """The score against what is reached without looking, on images that are new to the task."""
    evaluation, unseen = content.evaluation, content.evaluation_unseen
    doubts = list(_list_doubts(content))
    where = f" on {_tell_images(evaluation, SPLIT_WORDS.get(content.split, content.split))}"
    is_new = unseen is None and not doubts
    yield _hold_against_chance(content, evaluation, where, is_new=is_new)
    if unseen is not None:
        n_left = int(unseen["n_images"])
        n_seen = format_count(int(evaluation["n_images"]) - n_left)
        yield f"Of these, {n_seen} are also in training or validation, and flatter the score."
        left = f" on the {format_count(n_left)} others"
        yield _hold_against_chance(content, unseen, left, is_new=not doubts)
    yield from doubts


def _list_doubts(content: ReportContent) -> Iterator[str]:
    """Why nothing is shown about new images, or new patients."""
    if content.split == "val":
        yield (
            "There is no test split: epoch and thresholds were chosen by the images that are "
            "scored here, so that nothing is shown about new ones."
        )
    n_seen = read_mapping(read_audit(content), "n_seen").get("test")
    if content.split == "test" and n_seen and n_seen == content.evaluation["n_images"]:
        yield (
            "All of these images are also in training or validation, so that nothing is shown "
            "about new ones."
        )
    n_across = content.facts.get("n_patients_across")
    if isinstance(n_across, int) and n_across:
        yield (
            f"Patients with images in several splits: {format_count(n_across)}. For new patients "
            "the score is too good, by how much cannot be told."
        )


def _judge_size(content: ReportContent) -> Iterator[str]:
    """What so many images can tell at all."""
    unseen = content.evaluation_unseen
    evaluation = content.evaluation if unseen is None else unseen
    key = _choose_measure(content)
    found = _read(evaluation, key)
    units = _tell_images(evaluation)
    if found.low is None or found.high is None:
        yield f"{units} cannot bound the score: nothing is shown beyond the numbers themselves."
        return
    error = (found.high - found.low) / (2 * _NORMAL)
    related, unrelated = (
        _POWER_ERRORS * error * math.sqrt(2 * (1 - shared)) for shared in (_RELATED, _UNRELATED)
    )
    yield (
        f"{units} tell another method apart from this one only if its {_NAMES[key]} differs by "
        f"about {related:.3f} to {unrelated:.3f} (80 % power)."
    )


def _hold_against_chance(
    content: ReportContent, evaluation: Mapping[str, Any], where: str, *, is_new: bool
) -> str:
    """A score with its interval and what is reached without looking, and what that shows."""
    key = _choose_measure(content)
    found = _read(evaluation, key)
    name = _NAMES[key][0].upper() + _NAMES[key][1:]
    if found.value is None:
        return f"{name}{where} is undefined."
    bounds = format_bounds(found).replace("–", " to ")
    score = f"{name}{where} is {format_number(found.value)}"
    score += f" (95 % interval {bounds})" if bounds else " (without an interval)"
    baseline, named = _find_baseline(evaluation, content.classes, key)
    if baseline is None:
        return f"{score}."
    shown = f", {_compare(found, baseline)}" if is_new else ""
    return f"{score}. {named} would give {format_number(baseline)}{shown}."


def _compare(found: Interval, baseline: float) -> str:
    if found.low is None or found.high is None:
        return "and whether the difference is chance cannot be told"
    if found.low > baseline:
        return "which the interval excludes: the task tells something of images that are new to it"
    if found.high < baseline:
        return "which is more: on these images the task does worse than without looking"
    return "which the interval does not exclude: these images do not show that the task does better"


def _find_baseline(
    evaluation: Mapping[str, Any], classes: Sequence[str], key: str
) -> tuple[float | None, str]:
    """What an answer without looking gets, and how it is given."""
    if key == "auroc":
        return _CHANCE, "Guessing"
    counts = [count or 0 for count in read_counts(evaluation, classes)]
    total = sum(counts)
    if not total:
        return None, ""
    largest = max(range(len(counts)), key=lambda place: counts[place])
    return counts[largest] / total, f"Always answering {clean_text(classes[largest])}"


def _read(evaluation: Mapping[str, Any], key: str) -> Interval:
    """A score with an interval that means something; without one where there is none."""
    found = read_interval(read_mapping(evaluation, "overall").get(key))
    if found.value is None or (found.low is not None and found.low != found.high):
        return found
    if key != "accuracy" or found.value not in (0, 1):
        return Interval(found.value, None, None)
    # All of the images look alike to a bootstrap, however few they are.
    n_units = int(evaluation["n_groups"])
    reach = _NORMAL**2 / (n_units + _NORMAL**2)
    return Interval(found.value, 0, reach) if not found.value else Interval(1, 1 - reach, 1)


def _tell_images(evaluation: Mapping[str, Any], word: str = "") -> str:
    n_images, n_groups = int(evaluation["n_images"]), int(evaluation["n_groups"])
    of = f" of {format_count(n_groups)} patients" if n_groups < n_images else ""
    return f"{format_count(n_images)} {f'{clean_text(word)} ' if word else ''}images{of}"


def _choose_measure(content: ReportContent) -> str:
    return "auroc" if content.multi_label else "accuracy"
