"""What can be counted in the list of a run's images: patients, identical files, overlaps."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class ListedImage(NamedTuple):
    """An image as a run's `split.csv` lists it.

    Attributes:
        split: `train`, `val` or `test`.
        label: Its class, or several joined by "|".
        sha256: Digest of its file; "" where unknown.
        patient: Patient; "" where unknown.
    """

    split: str
    label: str
    sha256: str
    patient: str


def count_files(images: Sequence[ListedImage]) -> dict[str, Any]:
    """Counts of a list of images; of no patient anything but how many there are.

    Args:
        images: All images of a run.

    Returns:
        `splits` (number of images and patients of each), `n_patients_across` (patients in several
        splits; None where no patient is known) and `duplicates` (groups of identical files, the
        images in them, groups across splits, and groups whose labels differ).

    Example:
        >>> twins = [ListedImage("train", "a", "0f", ""), ListedImage("test", "b", "0f", "")]
        >>> count_files(twins)["duplicates"]
        {'n_groups': 1, 'n_images': 2, 'n_across': 1, 'n_conflicting': 1}
    """
    splits: dict[str, list[ListedImage]] = {}
    patients: dict[str, set[str]] = {}
    copies: dict[str, list[ListedImage]] = {}
    for image in images:
        splits.setdefault(image.split, []).append(image)
        if image.patient:
            patients.setdefault(image.patient, set()).add(image.split)
        if image.sha256:
            copies.setdefault(image.sha256, []).append(image)
    groups = [group for group in copies.values() if len(group) > 1]
    return {
        "splits": {
            name: {
                "n_images": len(own),
                "n_patients": len({image.patient for image in own if image.patient}) or None,
            }
            for name, own in splits.items()
        },
        "n_patients_across": (sum(len(own) > 1 for own in patients.values()) if patients else None),
        "duplicates": {
            "n_groups": len(groups),
            "n_images": sum(map(len, groups)),
            "n_across": sum(len({image.split for image in group}) > 1 for group in groups),
            "n_conflicting": sum(len({image.label for image in group}) > 1 for group in groups),
        },
    }
