"""What is kept of one image to find its copies: a digest, a small grey picture, a few facts."""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from medlora.audit.facts import FACT_NAMES, measure_facts
from medlora.data.luminance import measure_luminance

# Raised whenever the same file gives another fingerprint than before.
FINGERPRINT_VERSION: Final = 1
SIDE: Final = 64
DIGEST_BYTES: Final = 16
_N_FACT_BYTES: Final = 8 * len(FACT_NAMES)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of one image.

    Attributes:
        digest: Of the decoded pixels and their shape; 16 bytes.
        small: (64, 64), its brightness, whatever its aspect.
        facts: (fact,), as `medlora.audit.facts.FACT_NAMES` names them.
    """

    digest: bytes
    small: npt.NDArray[np.uint8]
    facts: npt.NDArray[np.float64]


def take_fingerprint(content: bytes, pixels: npt.NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of one image.

    Args:
        content: The encoded image.
        pixels: What it is decoded to: RGB values, (height, width, 3), or of the series of one
            case (series, height, width, 3), whose brightness is averaged.
    """
    shape = np.array(pixels.shape, dtype="<u4").tobytes()
    digest = hashlib.blake2b(shape + pixels.tobytes(), digest_size=DIGEST_BYTES).digest()
    pictures = pixels if pixels.ndim == 4 else pixels[np.newaxis]
    is_grey = all(bool((own == own[:, :, :1]).all()) for own in pictures)
    if is_grey and len(pictures) == 1:
        grey = np.ascontiguousarray(pictures[0, :, :, 0])
    else:
        grey = np.rint(np.mean([measure_luminance(own) for own in pictures], axis=0))
    grey = grey.astype(np.uint8)
    # Pillow's filter takes the whole of what a small pixel covers, so nothing is aliased.
    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    facts = measure_facts(content, grey, 1 if is_grey else 3)
    return Fingerprint(digest, np.asarray(small), facts)


def pack_fingerprint(fingerprint: Fingerprint) -> npt.NDArray[np.uint8]:
    """A fingerprint as bytes, (byte,)."""
    content = (
        fingerprint.digest
        + fingerprint.facts.astype("<f8").tobytes()
        + np.ascontiguousarray(fingerprint.small).tobytes()
    )
    return np.frombuffer(content, dtype=np.uint8)


def unpack_fingerprint(packed: npt.NDArray[np.uint8]) -> Fingerprint | None:
    """What `pack_fingerprint` packed; None where it has not the right length."""
    if packed.shape != (DIGEST_BYTES + _N_FACT_BYTES + SIDE * SIDE,):
        return None
    content = packed.tobytes()
    facts = np.frombuffer(content, "<f8", len(FACT_NAMES), DIGEST_BYTES).astype(np.float64)
    small = np.frombuffer(content, np.uint8, SIDE * SIDE, DIGEST_BYTES + _N_FACT_BYTES)
    return Fingerprint(content[:DIGEST_BYTES], small.reshape(SIDE, SIDE), facts)
