"""What a run's scores say, in sentences; "" where there is nothing to say."""

from collections.abc import Iterator

from medlora.report.cards import read_mapping
from medlora.report.content import ReportContent
from medlora.report.tables import SPLIT_WORDS, read_counts, write_result
from medlora.report.wording import (
    clean_text,
    format_bounds,
    format_count,
    format_number,
    name_measure,
    read_interval,
)


def tell_split(content: ReportContent) -> str:
    """The images that the scores are about, as one word."""
    return SPLIT_WORDS.get(content.split, clean_text(content.split))


def tell_metrics(content: ReportContent) -> str:
    """Which measures are given."""
    names = [name_measure(key) for key in read_mapping(content.evaluation, "overall")]
    return (
        f"{', '.join(names)}; each class against all others; curves of sensitivity against "
        "specificity and of precision against recall; a confusion matrix; a reliability diagram."
    )


def tell_uncertainty(content: ReportContent) -> str:
    """How intervals were made."""
    n_resamples = content.evaluation.get("n_resamples")
    if not n_resamples:
        return ""
    is_grouped = content.evaluation["n_groups"] < content.evaluation["n_images"]
    return (
        f"95 % intervals by the percentiles of {format_count(n_resamples)} bootstrap resamples "
        f"of {'patients' if is_grouped else 'images'}."
    )


def tell_performance(content: ReportContent) -> str:
    """The result, with intervals."""
    return write_result(content.evaluation, content.evaluation_unseen, content.split)


def tell_classes_found(content: ReportContent) -> str:
    """Sensitivity and specificity of each class, with intervals."""
    per_class = read_mapping(content.evaluation, "per_class")
    parts = []
    for name in content.classes:
        own = read_mapping(per_class, name)
        figures = [
            f"{word} {_quote(own.get(key))}"
            for word, key in (("sensitivity", "recall"), ("specificity", "specificity"))
        ]
        parts.append(f"{clean_text(name)}: {', '.join(figures)}")
    return f"{'; '.join(parts)}."


def _quote(estimate: object) -> str:
    interval = read_interval(estimate)
    bounds = format_bounds(interval, 2)
    value = format_number(interval.value, 2)
    return f"{value} ({bounds})" if bounds else value


def tell_internal(content: ReportContent) -> str:
    """On which images of the same data the task was tested."""
    n_images = format_count(int(content.evaluation["n_images"]))
    if content.split == "test":
        return f"On {n_images} test images of the same data, kept apart from all choices."
    if content.split == "val":
        return (
            f"On {n_images} validation images, by which the epoch and thresholds were chosen as "
            "well; there is no test split."
        )
    return f"On {n_images} images of the same data ({tell_split(content)})."


def tell_external(content: ReportContent) -> str:
    """That no other data were tested on."""
    return "The run tested on no images but those of its own data set." if content.card else ""


def tell_failures(content: ReportContent) -> str:
    """What is shown of wrong decisions."""
    shown = (
        f" {len(content.mistakes)} wrong decisions with the highest probability are shown as "
        "pictures."
        if content.mistakes
        else ""
    )
    return f"A confusion matrix counts all wrong decisions.{shown}"


def tell_heat_maps(content: ReportContent) -> str:
    """Whether maps show what decisions rest on."""
    if not any(mistake.heat_map for mistake in content.mistakes):
        return ""
    return "Heat maps of the mistakes show which parts of an image its decision rests on."


def tell_section(content: ReportContent, anchor: str) -> str:
    """That a part of the report is about something; "" where there is no such part."""
    titles = [section.title for section in content.sections if section.anchor == anchor]
    return f"See the part “{clean_text(titles[0])}” of the report." if titles else ""


def list_limits(content: ReportContent) -> list[str]:
    """What a reader has to keep in mind, as far as the run knows it: the gravest first."""
    return [
        *_limit_validity(content),
        *_limit_size(content),
        *_limit_data(content),
        *_limit_method(content),
    ]


def _limit_validity(content: ReportContent) -> Iterator[str]:
    training = read_mapping(content.card, "training")
    if training.get("shuffled_labels"):
        yield "Labels were shuffled on purpose: the scores are a check, and no result."
    if content.split == "val":
        yield (
            "There is no test split: epoch and thresholds were chosen on the images that are "
            "scored here, so that the scores flatter."
        )
    if content.evaluation_unseen is not None:
        n_seen = content.evaluation["n_images"] - content.evaluation_unseen["n_images"]
        yield (
            f"Of the {tell_split(content)} images, {format_count(n_seen)} are byte for byte among "
            "the training or validation images; the scores without them stand beside the others."
        )


def _limit_size(content: ReportContent) -> Iterator[str]:
    evaluation = content.evaluation
    key = "auroc" if content.multi_label else "accuracy"
    interval = read_interval(read_mapping(evaluation, "overall").get(key))
    n_images = format_count(int(evaluation["n_images"]))
    if interval.low is not None and interval.high is not None:
        width = interval.high - interval.low
        name = name_measure(key) if key == "auroc" else name_measure(key).lower()
        yield (
            f"{n_images} {tell_split(content)} images leave {name} open within an interval "
            f"{width:.3f} wide ({format_bounds(interval).replace('–', ' to ')})."
        )
    counts = [
        (count, clean_text(name))
        for count, name in zip(
            read_counts(evaluation, content.classes), content.classes, strict=True
        )
        if count is not None
    ]
    few = [f"{name} ({count})" for count, name in sorted(counts) if 0 < count < 30]
    if few:
        yield (
            f"Few images of {', '.join(few)}: the sensitivity for a class with less than 30 "
            "images is hardly known."
        )
    absent = [clean_text(str(name)) for name in evaluation.get("undefined", ())]
    if absent:
        yield f"No image of {', '.join(absent)}: nothing is known of how it is recognised."


def _limit_data(content: ReportContent) -> Iterator[str]:
    data = read_mapping(content.card, "data")
    if data:
        yield (
            "All images are of one data set, and there was no external test: nothing is known of "
            "other hospitals, devices and patients than those in it."
        )
    if data and not data.get("patients_known"):
        yield (
            "Patients are not known: images of one patient may lie in several splits, and "
            "intervals may be too narrow."
        )
    if content.facts.get("n_patients_across"):
        n_across = format_count(content.facts["n_patients_across"])
        yield f"Patients with images in several splits, which makes scores flatter: {n_across}."
    if content.n_skipped:
        yield f"Unreadable images that were left out: {format_count(content.n_skipped)}."
    n_val = read_mapping(data, "n_images").get("val")
    if isinstance(n_val, int) and n_val < 200 and content.split == "test":
        yield (
            f"Epoch and thresholds rest on {format_count(n_val)} validation images; others "
            "might have led to another choice."
        )


def _limit_method(content: ReportContent) -> Iterator[str]:
    training = read_mapping(content.card, "training")
    if training and not content.folds:
        yield (
            f"One run with seed {training.get('seed')}: how far another seed would move the "
            "scores is not known."
        )
    if content.card and not content.card.get("calibration"):
        yield "Probabilities were not calibrated; take them as scores, not as risks."
    if content.card and not str(content.card.get("note") or "").strip():
        yield "No intended use was stated when the task was trained."
