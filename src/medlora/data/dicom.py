"""DICOM files as the pictures that a viewer shows when it opens them."""

import io
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset, uid
from pydicom.datadict import tag_for_keyword
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from medlora.data.grey import show_grey
from medlora.data.stretch import stretch_to_uint8
from medlora.errors import UnreadableImageError

DICOM_SUFFIXES: Final = (".dcm", ".dicom")
MAX_PIXELS: Final = 178_956_970  # of one frame: the limit that Pillow sets for other formats

# One decoder for each syntax, so that a file gives the same pixels on every machine, whatever
# else is installed there. An empty name is for values that are not compressed.
_DECODERS: Final[dict[str, str]] = {
    uid.ImplicitVRLittleEndian: "",
    uid.ExplicitVRLittleEndian: "",
    uid.ExplicitVRBigEndian: "",
    uid.DeflatedExplicitVRLittleEndian: "",
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "gdcm",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "gdcm",
    uid.JPEGLSNearLossless: "gdcm",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
_COUNTS: Final = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")
_PIXEL_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# Nothing else is parsed: it is quicker, and no value of a patient can reach a message.
_KEYWORDS: Final = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(
        f"{segmented}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
    *_PIXEL_KEYWORDS,
)
_QUOTED: Final = re.compile(r"(['\"]).*\1", re.DOTALL)
_TAGS: Final = [tag for tag in map(tag_for_keyword, _KEYWORDS) if tag is not None]


# Its warnings quote the values that they are about, which may be a patient's. What is really
# wrong with a header is found when it is used.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def has_preamble(content: bytes) -> bool:
    """Whether the bytes begin as a DICOM file should: 128 bytes of anything, then `DICM`."""
    return content[128:132] == b"DICM"


def starts_with_element(content: bytes) -> bool:
    """Whether the bytes may be a DICOM data set without preamble.

    Its first tag is of group 2 or 8, with which every data set begins.
    """
    return content[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def count_frames(content: bytes, location: str = "DICOM content") -> int:
    """Number of frames in a DICOM file, at least 1; its pixels are not decoded.

    Args:
        content: The file.
        location: Its name in error messages.

    Raises:
        UnreadableImageError: It is not DICOM, or its header is damaged.
    """
    return _frames_in(_read_dataset(content, location))


def decode_dicom(content: bytes, location: str, frame: int = 0) -> npt.NDArray[np.uint8]:
    """Decode one frame as it is meant to be looked at.

    Grey frames pass through the modality LUT or rescaling, then the first VOI LUT or else the
    first window, and MONOCHROME1 is inverted, so that 255 is always the brightest. Without VOI
    LUT and window the smallest modality value becomes 0 and the largest 255. Padding does not
    count for this range, and is black. Palette and YBR colours become RGB. Overlays are not
    drawn.

    A file without file meta information is read where its encoding is plain from its first
    bytes; one whose pixels are compressed as well cannot be.

    Args:
        content: The file.
        location: Its name in error messages.
        frame: The frame to decode, counted from 0.

    Returns:
        RGB values, shape (height, width, 3).

    Raises:
        UnreadableImageError: The file is truncated or damaged, holds no image or no such frame,
            or its transfer syntax cannot be decoded.

    Reference:
        DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT and window).
    """
    dataset = _read_dataset(content, location)
    syntax = _check_image(dataset, location, frame)
    try:
        return _decode_frame(dataset, frame, _DECODERS[syntax])
    # Damaged pixel data make the decoders raise nearly anything. For the caller it is one thing.
    except Exception as error:
        raise UnreadableImageError(
            location, f"its pixel data ({syntax.name}) cannot be decoded ({_explain(error)})"
        ) from error


def _decode_frame(dataset: Dataset, frame: int, decoder: str) -> npt.NDArray[np.uint8]:
    n_unused = _count_low_bits(dataset, decoder)
    if n_unused:
        # Read with the bits below, which also finds the sign where it lies.
        dataset.BitsStored = dataset.HighBit + 1
    stored: npt.NDArray[Any] = pixel_array(dataset, index=frame, decoding_plugin=decoder)
    if n_unused:
        stored = np.right_shift(stored, n_unused)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, dataset)
        # The ends of the palette's own number range are black and full colour.
        return np.asarray(np.rint(colours / np.iinfo(colours.dtype).max * 255), dtype=np.uint8)
    if stored.ndim == 3:
        return stored if stored.dtype == np.uint8 else stretch_to_uint8(stored)
    return np.repeat(show_grey(stored, dataset, frame)[:, :, np.newaxis], 3, axis=2)


def _count_low_bits(dataset: Dataset, decoder: str) -> int:
    """How many bits below a stored value are none of it; older files have overlays there.

    Raises:
        ValueError: The header contradicts itself, or the pixels are compressed in a way that
            leaves open whether such bits are among them.

    Reference:
        DICOM PS3.5 of 2011, 8.1.1. Later editions allow no such bits.
    """
    high, n_bits = dataset.get("HighBit"), dataset.get("BitsStored")
    if high is None or n_bits is None or high == n_bits - 1:
        return 0
    if high < n_bits - 1 or decoder not in ("", "pydicom"):
        raise ValueError(
            f"its highest bit {high} contradicts its {n_bits} stored bits: export it again"
        )
    return int(high + 1 - n_bits)


def _read_dataset(content: bytes, location: str) -> Dataset:
    """The elements that pixels depend on, with a transfer syntax, stated or deduced."""
    if not has_preamble(content) and not starts_with_element(content):
        raise UnreadableImageError(
            location,
            "it is not DICOM: its file meta information is missing, and it does not begin with "
            "a DICOM data element either. Export it again from where it came",
        )
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=_TAGS)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _deduce_syntax(dataset)
        _check_header(dataset)
    # As for the pixels: a damaged header makes the parser raise nearly anything.
    except Exception as error:
        raise UnreadableImageError(
            location, f"its DICOM header cannot be read ({_explain(error)})"
        ) from error
    return dataset


def _check_header(dataset: Dataset) -> None:
    """Parse every element now, rather than when it is first used, and refuse odd numbers."""
    for element in dataset:
        if element.keyword in _COUNTS and not isinstance(element.value or 0, int):
            raise ValueError(f"{element.keyword} is not one whole number")


def _deduce_syntax(dataset: Dataset) -> uid.UID:
    """The transfer syntax of a file that does not state it, from how its elements are encoded."""
    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        raise ValueError(
            "its file meta information is missing and its pixels are compressed, "
            "so how to decode them is not known"
        )
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return uid.ImplicitVRLittleEndian
    return uid.ExplicitVRLittleEndian if is_little_endian else uid.ExplicitVRBigEndian


def _frames_in(dataset: Dataset) -> int:
    return max(int(dataset.get("NumberOfFrames") or 1), 1)


def _check_image(dataset: Dataset, location: str, frame: int) -> uid.UID:
    """Refuse what cannot be decoded before the work begins; gives the transfer syntax."""
    syntax = uid.UID(dataset.file_meta.TransferSyntaxUID)
    if syntax not in _DECODERS:
        name = syntax.name if syntax.is_valid else "(not a valid identifier)"
        raise UnreadableImageError(
            location,
            f"its transfer syntax {name} is not supported. Convert it to "
            "Explicit VR Little Endian, for example with dcmdjpeg or gdcmconv",
        )
    if not any(keyword in dataset for keyword in _PIXEL_KEYWORDS):
        raise UnreadableImageError(
            location,
            "it is DICOM without pixel data: the file is truncated, or never held an image",
        )
    missing = [
        keyword
        for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation")
        if not dataset.get(keyword)
    ]
    if missing:
        raise UnreadableImageError(location, f"its DICOM header lacks {', '.join(missing)}")
    if dataset.Rows * dataset.Columns > MAX_PIXELS:
        raise UnreadableImageError(
            location,
            f"its frames of {dataset.Rows} x {dataset.Columns} pixels are too large "
            f"to be decoded safely; the limit is {MAX_PIXELS} pixels",
        )
    n_frames = _frames_in(dataset)
    if not 0 <= frame < n_frames:
        raise UnreadableImageError(
            location, f"frame {frame} was asked for, and it has frames 0 to {n_frames - 1}"
        )
    return syntax


def _explain(error: Exception) -> str:
    """What went wrong, in one line; where pydicom lists decoders, what the decoder said.

    What stands in quotes is dropped: in a damaged file, an element may have swallowed others.
    """
    said = _QUOTED.sub("'...'", str(error).strip())
    lines = said.splitlines()
    return lines[-1].strip().partition(" - the dataset may")[0] if lines else type(error).__name__
