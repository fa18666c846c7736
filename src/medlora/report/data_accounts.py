"""What a run knows of its images, in sentences; "" where it does not know."""

from collections.abc import Mapping
from typing import Any

from medlora.report.cards import format_value, read_mapping
from medlora.report.content import ReportContent
from medlora.report.tables import SPLIT_WORDS
from medlora.report.wording import clean_text, format_count

_CROPS = {
    "center": "the shorter side is resized and the middle cut out",
    "squash": "the image is squashed to size",
    "border": "the longer side is resized and the rest filled with black",
}


def tell_source(content: ReportContent) -> str:
    """Which data they are, and by which digest they are known again."""
    data = read_mapping(content.card, "data")
    if not data:
        return ""
    name = clean_text(str(data.get("name", ""))) or "without a name"
    digest = clean_text(str(data.get("sha256", "")))
    known = f"SHA-256 over all files {digest}" if digest else ""
    parts = [part for part in (tell_numbers(content), known) if part]
    return f"One data set, {name}{': ' if parts else ''}{'; '.join(parts)}."


def list_splits(content: ReportContent) -> list[str]:
    """The splits that have images, in the order in which they are used."""
    order = ["train", "val", "test"]
    found = read_mapping(read_mapping(content.card, "data"), "n_images")
    return sorted(found, key=lambda split: order.index(split) if split in order else len(order))


def tell_numbers(content: ReportContent) -> str:
    """How many images each split has, and of how many patients."""
    data = read_mapping(content.card, "data")
    found = read_mapping(content.facts, "splits")
    parts = []
    totals = read_mapping(data, "n_images")
    for split in list_splits(content):
        n_images = totals[split]
        if not isinstance(n_images, int):
            continue
        own = read_mapping(found, split)
        patients = own.get("n_patients")
        of = f" of {format_count(patients)} patients" if patients else ""
        parts.append(f"{format_count(n_images)} {SPLIT_WORDS.get(split, split)} images{of}")
    return ", ".join(parts)


def tell_left_out(content: ReportContent) -> str:
    """What was left out before splitting."""
    if not content.card:
        return ""
    if content.n_skipped:
        return (
            f"{format_count(content.n_skipped)} files that could not be decoded were left out, "
            "and no other."
        )
    return "Every file of the data could be decoded and was used; none was left out."


def tell_preprocessing(content: ReportContent) -> str:
    """From file to network input."""
    record = read_mapping(content.card, "preprocessing")
    if "size" not in record:
        return ""
    steps = [clean_text(str(step)) for step in record.get("steps", ())]
    before = f"First {', '.join(steps)}. " if steps else ""
    contrast = str(record.get("contrast", "none"))
    raised = "" if contrast == "none" else f"Contrast is raised by {clean_text(contrast)}. "
    crop = _CROPS.get(str(record.get("crop_mode")), clean_text(str(record.get("crop_mode"))))
    size = " × ".join(str(side) for side in record["size"])
    return (
        f"{before}{raised}Images are brought to {size} pixels ({crop}; interpolation "
        f"{clean_text(str(record.get('interpolation')))}) and normalised with mean "
        f"{format_value(record.get('mean'))} and standard deviation "
        f"{format_value(record.get('std'))}. The task file holds these steps; prediction "
        "repeats them."
    )


def tell_partition(content: ReportContent) -> str:
    """How images came into their splits."""
    training = read_mapping(content.card, "training")
    if content.folds:
        return (
            f"Cross-validation in {len(content.folds)} folds, seed {training.get('seed')}: every "
            "image is answered by a model that did not learn from it."
        )
    if "seed" not in training:
        return ""
    return (
        "Splits that the data state are kept. Where they state none, "
        f"images are shared out class by class by a draw with seed {training['seed']} "
        f"({_percent(training.get('val_fraction'))} for validation, "
        f"{_percent(training.get('test_fraction'))} for testing); images of one patient and "
        "identical files stay together."
    )


def _percent(share: Any) -> str:
    return f"{100 * float(share):g} %" if isinstance(share, int | float) else "a share"


def tell_disjointness(content: ReportContent) -> str:
    """What no two splits share."""
    data = read_mapping(content.card, "data")
    if not data:
        return ""
    facts = content.facts
    across = facts.get("n_patients_across")
    if not data.get("patients_known"):
        level = "Patients are not known, so that splits are disjoint by image at most."
    elif across:
        level = f"{format_count(across)} patients are in several splits."
    elif across == 0:
        level = "By patient: no patient is in two splits."
    else:
        level = "By patient, where the data name one."
    copies = read_mapping(facts, "duplicates").get("n_across")
    if copies is None:
        return level
    if copies:
        return f"{level} Groups of identical files that lie across splits: {format_count(copies)}."
    return f"{level} No two splits share a file with the same bytes."


def tell_duplicates(content: ReportContent) -> str:
    """Identical files, and whether their labels agree."""
    found = read_mapping(content.facts, "duplicates")
    if not found:
        return ""
    if not found.get("n_groups"):
        return "No two files have the same bytes."
    return (
        f"Groups of identical files: {format_count(found['n_groups'])}, with "
        f"{format_count(found['n_images'])} images. Groups across splits: "
        f"{format_count(found['n_across'])}. Groups whose labels differ: "
        f"{format_count(found['n_conflicting'])}."
    )


def tell_counts(content: ReportContent) -> str:
    """How many images of each class each split has, in one sentence."""
    counts = read_mapping(read_mapping(content.card, "data"), "counts")
    sentence = "; ".join(
        f"{SPLIT_WORDS.get(split, split)}: "
        + ", ".join(
            f"{clean_text(name)} {format_count(n)}" for name, n in own.items() if isinstance(n, int)
        )
        for split in list_splits(content)
        if isinstance(own := counts.get(split), Mapping)
    )
    return f"{sentence}." if sentence else ""


def tell_sizes(content: ReportContent) -> str:
    """The size of the evaluation, and that it was not planned."""
    evaluation = content.evaluation
    n_images, n_groups = int(evaluation["n_images"]), int(evaluation["n_groups"])
    patients = f" of {format_count(n_groups)} patients" if n_groups < n_images else ""
    return (
        f"{format_count(n_images)} images{patients} were scored: all that the data hold. The run "
        "made no calculation of the size that would be needed."
    )
