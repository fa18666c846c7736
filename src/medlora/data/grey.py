"""Stored grey values of a DICOM frame as brightness: modality LUT, VOI LUT or window, polarity."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from medlora.data.stretch import stretch_to_uint8

_GROUPS: Final = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


def show_grey(stored: npt.NDArray[Any], dataset: Dataset, frame: int) -> npt.NDArray[np.uint8]:
    """Brightness of every pixel as a viewer shows it, 0 black and 255 white.

    Args:
        stored: Stored values, shape (height, width).
        dataset: The file's elements, with the functional groups of an enhanced file.
        frame: Which frame this is, counted from 0; its own groups go before the shared ones.

    Returns:
        Grey levels, same shape.

    Raises:
        ValueError: A look-up table or window contradicts itself.
    """
    padding = _find_padding(stored, dataset)
    values = _apply_modality(stored, _find_holder(dataset, frame, "PixelValueTransformation"))
    shares = _apply_voi(values, _find_holder(dataset, frame, "FrameVOILUT"))
    if shares is None:
        grey = stretch_to_uint8(values, left_out=padding)
    else:
        grey = np.rint(shares * 255).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    if padding is not None:
        grey[padding] = 0
    return grey


def window_shares(
    values: npt.NDArray[Any], center: float, width: float, function: str = "LINEAR"
) -> npt.NDArray[np.float64]:
    """Map a window of values to [0, 1].

    Args:
        values: Modality values, any shape.
        center: Middle of the window, in the unit of the values.
        width: Its width, above 0.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`. A `LINEAR` window narrower than 1,
            which the standard does not allow, is taken as `LINEAR_EXACT`.

    Returns:
        0 at and below the window, 1 above it, same shape.

    Raises:
        ValueError: The function is none of the three.

    Reference:
        DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.

    Example:
        >>> window_shares(np.array([0, 50, 75, 200]), center=50.5, width=101.0)
        array([0.  , 0.5 , 0.75, 1.  ])
    """
    exact = values.astype(np.float64)
    if function == "SIGMOID":
        # Beyond an exponent of 50 the result no longer changes, and exp() would overflow.
        exponent = np.clip(-4 * (exact - center) / width, -50, 50)
        return np.asarray(1 / (1 + np.exp(exponent)))
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise ValueError(f"VOI LUT function {function!r} is not known")
    if function == "LINEAR" and width >= 1:
        center, width = center - 0.5, width - 1
    if width == 0:
        return (exact > center).astype(np.float64)
    return np.clip((exact - center) / width + 0.5, 0, 1)


def _find_holder(dataset: Dataset, frame: int, group: str) -> Dataset:
    """The part of the file that says how to transform this frame's values."""
    for keyword in _GROUPS:
        items = dataset.get(keyword) or []
        item = items[min(frame, len(items) - 1)] if items else {}
        sequence = item.get(f"{group}Sequence")
        if sequence:
            holder: Dataset = sequence[0]
            return holder
    return dataset


def _find_padding(stored: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_] | None:
    """True where a pixel is only there to make the frame a rectangle."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _apply_modality(stored: npt.NDArray[Any], holder: Dataset) -> npt.NDArray[Any]:
    if holder.get("ModalityLUTSequence"):
        return _look_up(stored, holder.ModalityLUTSequence[0])[0]
    slope, intercept = holder.get("RescaleSlope"), holder.get("RescaleIntercept")
    if slope is None and intercept is None:
        return stored
    scale = 1.0 if slope is None else float(slope)
    return stored.astype(np.float64) * scale + float(intercept or 0)


def _apply_voi(values: npt.NDArray[Any], holder: Dataset) -> npt.NDArray[np.float64] | None:
    """Brightness in [0, 1], or None where the file leaves it open."""
    if holder.get("VOILUTSequence"):
        looked_up, highest = _look_up(values, holder.VOILUTSequence[0])
        return np.asarray(looked_up / highest)
    center, width = _first(holder.get("WindowCenter")), _first(holder.get("WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    function = str(holder.get("VOILUTFunction") or "LINEAR").upper()
    return window_shares(values, center, width, function)


def _first(value: Any) -> float | None:
    """The first of one or several numbers, where there is one."""
    if value is None or value == "":
        return None
    if hasattr(value, "__len__") and not isinstance(value, str):
        return float(value[0]) if len(value) else None
    return float(value)


def _look_up(values: npt.NDArray[Any], table: Dataset) -> tuple[npt.NDArray[Any], int]:
    """Values through a look-up table, and the highest value that such a table can give."""
    n_entries, first_mapped, n_bits = (int(number) for number in table.LUTDescriptor)
    # The count has 16 bits and 0 stands for 65536, also where it was read as a signed number.
    n_entries = n_entries % 2**16 or 2**16
    entries = _read_entries(table.LUTData, n_entries)
    if len(entries) == 0:
        raise ValueError("a look-up table has no entries")
    places = np.clip(values.astype(np.float64) - first_mapped, 0, len(entries) - 1)
    # Tables are known that declare 16 bits and use 10 or 12: read to the letter, their images
    # would be nearly black.
    n_bits = min(n_bits, int(entries.max()).bit_length())
    return entries[places.astype(np.int64)], max(2**n_bits - 1, 1)


def _read_entries(entries: Any, n_entries: int) -> npt.NDArray[np.int64]:
    if isinstance(entries, bytes):
        wide = len(entries) >= 2 * n_entries
        return np.frombuffer(entries, "<u2" if wide else "u1")[:n_entries].astype(np.int64)
    return np.atleast_1d(np.asarray(entries, dtype=np.int64))[:n_entries]
