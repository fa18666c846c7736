"""Drawn lesions: diffuse ones within the brain, sharp ones on its coverings, ones of the sella."""

import math
from dataclasses import dataclass

import numpy as np

from medlora.data.anatomy import (
    Field,
    Head,
    Push,
    Signals,
    draw_texture,
    measure_length,
    measure_segment,
    paint,
)


@dataclass(frozen=True)
class Lesion:
    """Where a lesion lies and how far it stands out.

    Attributes:
        kind: A class of phantoms, other than the one without a lesion.
        x, y: Its middle, in head coordinates.
        radius: Its mean radius, in head coordinates.
        contrast: Share of its full signal that it shows, 0 to 1.
        normal: Direction from its middle to the covering it grows from, in radians.
    """

    kind: str
    x: float
    y: float
    radius: float
    contrast: float
    normal: float

    def push(self, rng: np.random.Generator) -> Push:
        """How it displaces the brain around it."""
        return Push(self.x, self.y, self.radius, rng.uniform(0.0, 0.45))


def place_lesion(kind: str, rng: np.random.Generator, head: Head) -> Lesion:
    """Choose a place and a size.

    Args:
        kind: "glioma-like", "meningioma-like" or "pituitary-like".
        rng: Source of randomness.
        head: The frame in which it will be drawn.
    """
    contrast = rng.uniform(0.82, 1.0)
    if kind == "pituitary-like" and head.sella is not None:
        radius = float(np.exp(rng.uniform(np.log(0.13), np.log(0.26))))
        lift = rng.uniform(0, 0.8) * (radius - 0.05)
        x, y = head.sella[0] + rng.uniform(-0.02, 0.02), head.sella[1] - lift
        return Lesion(kind, x, y, radius, contrast, np.pi / 2)
    if kind == "meningioma-like":
        radius = float(np.exp(rng.uniform(np.log(0.19), np.log(0.36))))
        return place_on_covering(rng, head, radius, contrast)
    radius = float(np.exp(rng.uniform(np.log(0.24), np.log(0.42))))
    angle, share = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.03, 0.72))
    reach = radius_towards(head, angle) * share
    return Lesion(kind, reach * math.cos(angle), reach * math.sin(angle), radius, contrast, angle)


def place_on_covering(
    rng: np.random.Generator, head: Head, radius: float, contrast: float
) -> Lesion:
    """A place against the skull, the falx or the skull base, all of which dura covers."""
    where = rng.random()
    kind = "meningioma-like"
    if where < 0.2 and head.plane in ("axial", "coronal"):
        side = rng.choice((-1.0, 1.0))
        y = rng.uniform(-0.75, -0.35)
        return Lesion(kind, side * radius * 0.85, y, radius, contrast, np.pi * (side > 0))
    if where < 0.26 and head.sella is not None:
        x = head.sella[0] + rng.choice((-1.0, 1.0)) * (0.12 + 0.8 * radius)
        return Lesion(kind, x, head.sella[1] - 0.6 * radius, radius, contrast, np.pi / 2)
    angle = rng.uniform(0, 2 * np.pi)
    if head.plane in ("coronal", "sagittal"):
        angle = rng.uniform(-1.1 * np.pi, 0.1 * np.pi)
    reach = radius_towards(head, angle) - radius * rng.uniform(0.45, 0.85)
    return Lesion(kind, reach * math.cos(angle), reach * math.sin(angle), radius, contrast, angle)


def radius_towards(head: Head, angle: float) -> float:
    """Radius of the brain in one direction."""
    away = math.cos(angle) * head.x + math.sin(angle) * head.y
    aside = np.abs(math.sin(angle) * head.x - math.cos(angle) * head.y)
    ray = np.where(away > 0.3, aside, np.inf)
    return float(head.outline.flat[int(np.argmin(ray))])


def measure_blob(
    rng: np.random.Generator, head: Head, lesion: Lesion, roughness: float, n_waves: int
) -> Field:
    """Signed distance from a rounded, uneven border, negative inside."""
    stretch, angle = rng.uniform(0.78, 1.28), rng.uniform(0, np.pi)
    off_x, off_y = head.x - lesion.x, head.y - lesion.y
    along = (off_x * math.cos(angle) + off_y * math.sin(angle)) * stretch
    across = (off_y * math.cos(angle) - off_x * math.sin(angle)) / stretch
    uneven = 1 + roughness * draw_texture(rng, head.x.shape[0], n_waves)
    return measure_length(along, across) - lesion.radius * uneven


def draw_lesion(
    image: Field, lesion: Lesion, rng: np.random.Generator, head: Head, signals: Signals
) -> None:
    """Paint a lesion over a finished slice, in place."""
    if lesion.kind == "glioma-like":
        draw_glioma(image, lesion, rng, head, signals)
    elif lesion.kind == "meningioma-like":
        draw_meningioma(image, lesion, rng, head, signals)
    else:
        draw_adenoma(image, lesion, rng, head, signals)


def blend(image: Field, target: float | Field, contrast: float) -> Field:
    """The signal that lies `contrast` of the way from the tissue's own to the target's."""
    return np.asarray(image + contrast * (target - image), np.float32)


def draw_glioma(
    image: Field, lesion: Lesion, rng: np.random.Generator, head: Head, signals: Signals
) -> None:
    """Oedema with fingers, an uneven core, and often a dead centre within a bright rim."""
    size = head.x.shape[0]
    inside = -head.depth - 0.01
    blob = measure_blob(rng, head, lesion, 0.16, 14)
    spread = lesion.radius * rng.uniform(0.3, 0.9)
    fingers = blob - spread * (1 + 0.5 * draw_texture(rng, size, 18))
    oedema = blend(image, signals.oedema, rng.uniform(0.5, 1.0))
    paint(image, np.maximum(fingers, inside), oedema, 0.05 + spread)
    uneven = 1 + rng.uniform(0.15, 0.35) * draw_texture(rng, size, 26)
    solid = blend(image, signals.tumour * uneven, lesion.contrast)
    edge = rng.uniform(0.02, 0.10)
    if rng.random() < 0.65:
        core = blob + lesion.radius * rng.uniform(0.2, 0.5)
        core = core + 0.05 * draw_texture(rng, size, 18)
        paint(image, np.maximum(blob, inside), solid, edge)
        dead = blend(image, signals.necrosis, rng.uniform(0.5, 1))
        paint(image, np.maximum(core, inside), dead, 0.04)
    elif rng.random() < 0.9:
        paint(image, np.maximum(blob, inside), solid, edge)


def draw_meningioma(
    image: Field, lesion: Lesion, rng: np.random.Generator, head: Head, signals: Signals
) -> None:
    """An even, sharply bordered mass with a cleft of fluid and, often, a tail along the dura."""
    inside = -head.depth - 0.015
    blob = measure_blob(rng, head, lesion, 0.07, 10)
    if rng.random() < 0.25:
        spread = lesion.radius * rng.uniform(0.2, 0.7)
        oedema = blend(image, signals.oedema, rng.uniform(0.2, 0.8))
        paint(image, np.maximum(blob - spread, inside), oedema, 0.04 + spread)
    if rng.random() < 0.6:
        cleft = blend(image, signals.csf, rng.uniform(0.3, 1))
        paint(image, np.maximum(blob - rng.uniform(0.01, 0.025), inside), cleft, 0.02)
    even = 1 + rng.uniform(0.02, 0.08) * draw_texture(rng, head.x.shape[0], 22)
    solid = blend(image, signals.tumour * even, lesion.contrast)
    if rng.random() < 0.5 and abs(lesion.x) > 1.2 * lesion.radius:
        near = measure_length(head.x - lesion.x, head.y - lesion.y) - lesion.radius * rng.uniform(
            1.3, 1.9
        )
        tail = np.abs(head.depth - 0.01) - 0.018
        paint(image, np.maximum(tail, near), solid, 1.6 * head.pixel)
    paint(image, np.maximum(blob, inside), solid, rng.uniform(0.015, 0.05))
    if rng.random() < 0.06:
        calcium = blend(image, signals.bone, rng.uniform(0.4, 0.9))
        paint(image, np.maximum(blob + 0.7 * lesion.radius, inside), calcium, 0.06)


def draw_adenoma(
    image: Field, lesion: Lesion, rng: np.random.Generator, head: Head, signals: Signals
) -> None:
    """A mass that widens the sella and may bulge through its roof like a snowman."""
    blob = measure_blob(rng, head, lesion, 0.07, 10)
    x, y = head.sella if head.sella is not None else (lesion.x, lesion.y)
    root = measure_segment(head.x, head.y, (lesion.x, lesion.y), (x, y + 0.02))
    shape = np.minimum(blob, root - lesion.radius * rng.uniform(0.4, 0.8))
    uneven = 1 + rng.uniform(0.02, 0.2) * draw_texture(rng, head.x.shape[0], 22)
    solid = blend(image, signals.tumour * uneven, lesion.contrast)
    paint(image, shape, solid, rng.uniform(0.015, 0.06))
    if rng.random() < 0.2:
        cyst = blend(image, signals.necrosis, rng.uniform(0.4, 0.9))
        paint(image, blob + lesion.radius * rng.uniform(0.3, 0.6), cyst, 0.04)
