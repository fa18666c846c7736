"""Drawn head slices: outlines, folded cortex, ventricles and skull, with no patient behind them.

Everything lives in head coordinates: x to the right, y downwards, 1 is about half the brain's
length, the origin lies in its middle. Values are signal intensities, about 0 (air) to 1 (fat).
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Field = npt.NDArray[np.float32]
"""One number for each pixel: float32 (height, width)."""

CEREBELLUM: Final = ((0.50, 0.42), (0.33, 0.26))
"""Middle and half axes of the cerebellum in a sagittal slice."""

PLANES: Final = ("axial", "skull base", "coronal", "sagittal")


@dataclass(frozen=True)
class Signals:
    """Signal intensity of each tissue in one kind of image, 0 to 1."""

    csf: float
    grey: float
    white: float
    bone: float
    marrow: float
    fat: float
    muscle: float
    vessel: float
    tumour: float
    oedema: float
    necrosis: float


SEQUENCES: Final = {
    "T1": Signals(0.14, 0.42, 0.57, 0.05, 0.40, 0.85, 0.36, 0.12, 0.24, 0.30, 0.14),
    "T1 contrast": Signals(0.12, 0.38, 0.48, 0.05, 0.30, 0.66, 0.28, 0.70, 1.05, 0.27, 0.13),
    "T2": Signals(0.92, 0.60, 0.42, 0.05, 0.35, 0.62, 0.25, 0.08, 0.92, 0.74, 1.05),
    "FLAIR": Signals(0.10, 0.52, 0.42, 0.06, 0.30, 0.55, 0.28, 0.12, 0.95, 0.75, 0.28),
}


@dataclass(frozen=True)
class Push:
    """Displacement of the brain around a mass.

    Attributes:
        x, y: The middle of the mass.
        radius: Its reach.
        strength: Share of the radius by which tissue moves, 0 to about 0.5.
    """

    x: float
    y: float
    radius: float
    strength: float


@dataclass(frozen=True)
class Head:
    """The frame in which one slice is drawn.

    Attributes:
        plane: One of `PLANES`.
        x, y: Head coordinates of every pixel.
        pixel: Width of a pixel in head coordinates.
        outline: Brain radius at each pixel's direction from the origin.
        sella: Where the pituitary gland lies; None where the slice does not cross it.
        level: Height of an axial slice, 0 (basal ganglia) to 1 (vertex).
    """

    plane: str
    x: Field
    y: Field
    pixel: float
    outline: Field
    sella: tuple[float, float] | None
    level: float

    @property
    def depth(self) -> Field:
        """Distance below the surface of the brain and cerebellum, negative outside."""
        depth = self.outline - measure_length(self.x, self.y)
        if self.plane != "sagittal":
            return depth
        cerebellum = measure_ellipse(self.x, self.y, CEREBELLUM[0], CEREBELLUM[1], 0.35)
        return np.asarray(np.maximum(depth, -0.01 - cerebellum), np.float32)


def draw_signals(rng: np.random.Generator) -> Signals:
    """Tissue intensities of a randomly chosen sequence, each a little off its usual value."""
    names = list(SEQUENCES)
    base = SEQUENCES[names[rng.choice(len(names), p=[0.04, 0.70, 0.18, 0.08])]]
    return Signals(
        **{f.name: getattr(base, f.name) * rng.uniform(0.88, 1.12) for f in fields(Signals)}
    )


def draw_texture(rng: np.random.Generator, size: int, n_waves: int) -> Field:
    """A smooth random field with zero mean and unit variance, on average.

    Args:
        rng: Source of randomness.
        size: Height and width in pixels.
        n_waves: Half-waves across the image of the finest part.
    """
    steps = np.arange(size, dtype=np.float32)[:, None] * np.float32(np.pi / (size - 1))
    phases = rng.uniform(0, np.pi, n_waves).astype(np.float32)
    waves = np.cos(steps * np.arange(n_waves, dtype=np.float32) + phases)
    weights = rng.standard_normal((n_waves, n_waves), dtype=np.float32) * (2.0 / n_waves)
    weights[0, 0] = 0
    return np.asarray(waves @ weights @ waves.T, dtype=np.float32)


def paint(image: Field, distance: Field, value: float | Field, edge: float) -> None:
    """Lay a tissue over the image where `distance` is negative, with a soft edge.

    Args:
        image: Changed in place.
        distance: Signed distance from the tissue's border, negative inside.
        value: The tissue's signal.
        edge: Width of the border, in the same unit as `distance`.
    """
    cover = distance * (-1 / edge)
    cover += 0.5
    np.clip(cover, 0, 1, out=cover)
    cover *= value - image
    image += cover


def measure_length(x: npt.NDArray[np.floating[Any]], y: npt.NDArray[np.floating[Any]]) -> Field:
    """Length of a vector at every pixel; numpy's `hypot` takes ten times as long."""
    return np.asarray(np.sqrt(x * x + y * y), np.float32)


def measure_ellipse(
    x: Field, y: Field, middle: tuple[float, float], axes: tuple[float, float], angle: float = 0.0
) -> Field:
    """Roughly the signed distance from an ellipse, negative inside; `angle` in radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    off_x, off_y = x - float(middle[0]), y - float(middle[1])
    along = off_x * (cosine / axes[0]) + off_y * (sine / axes[0])
    across = off_y * (cosine / axes[1]) - off_x * (sine / axes[1])
    return (measure_length(along, across) - 1) * float(min(axes))


def measure_segment(
    x: Field, y: Field, start: tuple[float, float], end: tuple[float, float]
) -> Field:
    """Distance from the straight line between two points."""
    run, rise = end[0] - start[0], end[1] - start[1]
    share = ((x - start[0]) * run + (y - start[1]) * rise) / (run * run + rise * rise)
    share = np.clip(share, 0, 1)
    return measure_length(x - start[0] - share * run, y - start[1] - share * rise)


def draw_head(rng: np.random.Generator, size: int, plane: str) -> Head:
    """Place a head in the frame: position, scale, tilt, and a smooth change of its shape.

    Args:
        rng: Source of randomness.
        size: Height and width in pixels.
        plane: One of `PLANES`.
    """
    scale, drop, tilt = {
        "axial": (rng.uniform(0.72, 0.83), 0.0, 0.22),
        "skull base": (rng.uniform(0.72, 0.83), 0.0, 0.22),
        "coronal": (rng.uniform(0.74, 0.86), rng.uniform(0.08, 0.16), 0.12),
        "sagittal": (rng.uniform(0.68, 0.78), rng.uniform(0.10, 0.18), 0.18),
    }[plane]
    ticks = (np.arange(size, dtype=np.float32) + 0.5) / (size / 2) - 1
    across, down = (ticks - rng.uniform(-0.06, 0.06)) / scale, ticks / scale + drop
    angle = rng.uniform(-tilt, tilt)
    stretch = rng.uniform(0.93, 1.07)
    mirror = -1 if rng.random() < 0.3 else 1
    x = mirror * (across[None, :] * math.cos(angle) + down[:, None] * math.sin(angle)) * stretch
    y = (down[:, None] * math.cos(angle) - across[None, :] * math.sin(angle)) / stretch
    warped_x = np.asarray(x + 0.022 * draw_texture(rng, size, 4), np.float32)
    warped_y = np.asarray(y + 0.022 * draw_texture(rng, size, 4), np.float32)
    sella = {
        "axial": None,
        "skull base": (rng.uniform(-0.02, 0.02), rng.uniform(-0.20, -0.12)),
        "coronal": (rng.uniform(-0.02, 0.02), rng.uniform(0.42, 0.48)),
        "sagittal": (rng.uniform(-0.20, -0.14), rng.uniform(0.44, 0.50)),
    }[plane]
    level = rng.uniform(0, 1) if plane == "axial" else 0.0
    outline = measure_outline(np.arctan2(warped_y, warped_x), plane, rng)
    return Head(plane, warped_x, warped_y, 2 / (size * scale), outline, sella, level)


def measure_outline(angle: Field, plane: str, rng: np.random.Generator) -> Field:
    """Radius of the brain in each direction: half superellipses with a few random lobes."""
    side, top, bottom = {
        "axial": (0.80, 1.00, 1.00),
        "skull base": (0.80, 1.00, 0.96),
        "coronal": (0.86, 0.88, 0.50),
        "sagittal": (1.04, 0.84, 0.46),
    }[plane]
    power = rng.uniform(2.1, 2.5)
    vertical = np.where(angle < 0, np.float32(top), np.float32(bottom))
    radius = (
        np.abs(np.cos(angle) / side) ** power + np.abs(np.sin(angle) / vertical) ** power
    ) ** (-1 / power)
    for n_lobes in (2, 3, 4):
        phase = rng.uniform(0, 2 * np.pi)
        radius *= 1 + rng.uniform(0, 0.036 / n_lobes) * np.cos(n_lobes * angle + phase)
    return np.asarray(radius, np.float32)


def draw_folds(rng: np.random.Generator, head: Head, depth: Field) -> Field:
    """Distance from the nearest cerebrospinal fluid, at the surface or in a sulcus.

    Sulci are the zero lines of a noise drawn in polar coordinates, so that they run inwards.
    """
    n_around, n_inwards = int(rng.integers(150, 220)), 24
    noise = rng.standard_normal((n_around, n_inwards), dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (2.2, rng.uniform(2.5, 4.0)), mode="wrap")
    noise /= noise.std()
    size = head.x.shape[0]
    turn = np.arctan2(head.y, head.x) / (2 * np.pi) * n_around + 2.2 * draw_texture(rng, size, 9)
    inwards = depth * 14 + 1.2 * draw_texture(rng, size, 9)
    brain = depth > -2 * head.pixel
    places = (turn[brain], inwards[brain])
    fold = np.zeros_like(depth)
    fold[brain] = np.abs(ndimage.map_coordinates(noise, places, order=1, mode="grid-wrap"))
    reach = rng.uniform(0.18, 0.34) + 0.08 * draw_texture(rng, size, 8)
    sulcus = 0.085 * fold + 0.8 * np.maximum(depth - reach, 0)
    return np.asarray(np.minimum(depth, sulcus), np.float32)


def push_brain(head: Head, push: Push | None) -> tuple[Field, Field]:
    """Where the tissue now at each pixel lay before a mass displaced it."""
    if push is None:
        return head.x, head.y
    off_x, off_y = head.x - push.x, head.y - push.y
    reach = np.square(1.8 * push.radius)
    shrink = 1 - push.strength * np.exp(-(off_x**2 + off_y**2) / reach)
    return (
        np.asarray(push.x + off_x * shrink, np.float32),
        np.asarray(push.y + off_y * shrink, np.float32),
    )
