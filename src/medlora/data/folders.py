"""A folder of class folders, with or without a level of splits above them."""

from pathlib import Path
from typing import NamedTuple

from medlora.data.listing import (
    SPLIT_OF_WORD,
    Listing,
    describe_formats,
    expand_frames,
    find_images,
    is_image_file,
    list_visible,
)
from medlora.data.source import FolderSource
from medlora.errors import DataError


class _Entry(NamedTuple):
    location: str
    label: str
    split: str | None


def read_folder(folder: Path) -> Listing:
    """List DATA/class/*.png, or DATA/split/class/*.png.

    A split folder is named train, training or tr, val, valid or validation, test, testing or
    ts, in any case. Folders below a class folder belong to that class. Hidden files, and files
    that are no images by their extension, are left out.

    Raises:
        DataError: There are no images, or some outside of the class folders; a class folder is
            empty; split folders stand beside others, or two of them mean the same split.
    """
    splits = _find_split_folders(folder)
    if splits:
        entries = [
            entry
            for split, place in splits.items()
            for entry in _read_classes(folder, place, split)
        ]
    else:
        entries = _read_classes(folder, folder, None)
    if not entries:
        raise DataError(f"{folder} holds no images. {describe_formats()}")
    return Listing(
        locations=tuple(entry.location for entry in entries),
        labels=tuple((entry.label,) for entry in entries),
        splits=tuple(entry.split for entry in entries),
        patients=(None,) * len(entries),
        multi_label=False,
        source=FolderSource(folder),
    )


def _find_split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split, train first; nothing where the folder has no such level."""
    folders, files = list_visible(folder)
    named = {place: SPLIT_OF_WORD.get(place.name.lower()) for place in folders}
    if not any(named.values()):
        return {}
    _check_no_loose_images(folder, files)
    found: dict[str, Path] = {}
    for place, split in named.items():
        if split is None:
            if find_images(place):
                raise DataError(
                    f"{place} stands beside split folders, but '{place.name}' names no split "
                    f"({', '.join(SPLIT_OF_WORD)}). Move it away, or below a split folder."
                )
        elif split in found:
            raise DataError(
                f"{found[split]} and {place} both name the split '{split}'. Merge them."
            )
        else:
            found[split] = place
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _read_classes(root: Path, folder: Path, split: str | None) -> list[_Entry]:
    """The images of each class folder in a folder, with locations relative to the root."""
    folders, files = list_visible(folder)
    _check_no_loose_images(folder, files)
    source = FolderSource(root)
    entries: list[_Entry] = []
    empty: list[str] = []
    for place in folders:
        images = find_images(place)
        if not images:
            empty.append(place.name)
        for image in images:
            for location in expand_frames(image.relative_to(root).as_posix(), source):
                entries.append(_Entry(location, place.name.strip(), split))
    # Where all are empty, that there are no images at all says more.
    if entries and empty:
        raise DataError(
            f"{folder} has class folders without images: {', '.join(empty)}. "
            f"Fill or remove them. {describe_formats()}"
        )
    return entries


def _check_no_loose_images(folder: Path, files: list[Path]) -> None:
    loose = [file.name for file in files if is_image_file(file)]
    if loose:
        raise DataError(
            f"{folder} holds {len(loose)} image(s) outside of its folders, for example "
            f"{loose[0]}. Put each into a folder named by its class."
        )
