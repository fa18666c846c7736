"""A healthy head, slice by slice: skull, brain and deep structures painted in order of depth."""

import math

import numpy as np

from medlora.data.anatomy import (
    CEREBELLUM,
    Field,
    Head,
    Push,
    Signals,
    draw_folds,
    draw_texture,
    measure_ellipse,
    paint,
    push_brain,
)
from medlora.data.canvas import Canvas


def draw_slice(
    rng: np.random.Generator, head: Head, signals: Signals, push: Push | None = None
) -> Field:
    """A slice without a lesion.

    Args:
        rng: Source of randomness.
        head: The frame in which to draw.
        signals: Intensity of each tissue.
        push: A mass that displaces the brain, drawn by someone else.

    Returns:
        Signal of each pixel, about 0 to 1, without noise.
    """
    x, y = push_brain(head, push)
    wander = 0.016 * draw_texture(rng, head.x.shape[0], 14)
    canvas = Canvas(np.zeros_like(head.x), head, signals, x, y, wander, rng)
    draw_skull(canvas)
    draw_brain(canvas)
    {
        "axial": draw_axial,
        "skull base": draw_skull_base,
        "coronal": draw_coronal,
        "sagittal": draw_sagittal,
    }[head.plane](canvas)
    return canvas.image


def draw_skull(canvas: Canvas) -> None:
    """Scalp, the soft parts below the skull, bone with its marrow, and the fluid within."""
    head, signals, rng = canvas.head, canvas.signals, canvas.rng
    image, edge, outside = canvas.image, 1.5 * head.pixel, -head.depth
    thickness = 1 + 0.12 * canvas.texture(5)
    fluid = rng.uniform(0.01, 0.035) * thickness
    bone = fluid + rng.uniform(0.05, 0.09) * thickness
    scalp = bone + rng.uniform(0.035, 0.10) * thickness
    fat = signals.fat * (1 + 0.10 * canvas.texture(12))
    paint(image, outside - scalp, 0.5 * signals.muscle, edge)
    paint(image, outside - scalp + 0.012, fat, edge)
    if head.plane in ("coronal", "sagittal"):
        draw_soft_parts(canvas)
    paint(image, outside - bone, signals.bone, edge)
    middle = (fluid + bone) / 2
    width = (bone - fluid) * rng.uniform(0.1, 0.32)
    marrow = signals.marrow * (1 + 0.2 * canvas.texture(10))
    paint(image, np.abs(outside - middle) - width, marrow, edge)
    paint(image, outside - fluid, signals.csf, edge)


def draw_soft_parts(canvas: Canvas) -> None:
    """Face, skull base and neck: muscle, fat and air below a coronal or sagittal brain."""
    head, signals, rng = canvas.head, canvas.signals, canvas.rng
    image, edge = canvas.image, 2 * head.pixel
    if head.plane == "coronal":
        half = 0.80 - 0.16 * np.clip(head.y - 0.4, 0, 2) + 0.04 * canvas.texture(5)
        region = np.maximum(np.abs(head.x) - half, 0.15 - head.y)
    else:
        front = -0.98 - 0.08 * np.sin(9 * head.y) - 0.10 * canvas.texture(4)
        back = 0.72 - 0.30 * np.clip(head.y - 0.5, 0, 1) + 0.03 * canvas.texture(4)
        region = np.maximum(np.maximum(front - head.x, head.x - back), 0.22 - head.y)
    patches = canvas.texture(18) + 0.6 * canvas.texture(40)
    paint(image, region, signals.fat * 0.9, edge)
    muscle = np.asarray(signals.muscle * (1 + 0.12 * patches), np.float32)
    paint(image, region + 0.07, muscle, edge)
    inner = 20 * (region + 0.10)
    paint(image, np.maximum(inner, 1.3 - patches), 0.7 * signals.fat, 1.2)
    paint(image, np.maximum(inner, 1.3 + patches), signals.bone, 1.2)
    if head.plane == "coronal":
        for side in (-1, 1):
            axes = (rng.uniform(0.08, 0.16), rng.uniform(0.10, 0.2))
            canvas.ellipse((side * rng.uniform(0.18, 0.3), 0.85), axes, 0.02)
        canvas.ellipse((0, 0.66), (rng.uniform(0.1, 0.2), 0.07), 0.03)
    else:
        canvas.ellipse((-0.32, 0.66), (rng.uniform(0.1, 0.17), 0.09), 0.03)
        canvas.ellipse((-0.66, 0.72), (0.24, rng.uniform(0.05, 0.12)), 0.03, -0.1)
        canvas.stroke((-0.22, 0.85), (-0.08, 1.6), rng.uniform(0.06, 0.13), 0.02)
        canvas.stroke((0.12, 0.75), (0.18, 1.6), 0.16, signals.marrow)


def draw_brain(canvas: Canvas) -> None:
    """White matter below a folded grey ribbon, with fluid in the sulci and the fissure."""
    head, signals, rng = canvas.head, canvas.signals, canvas.rng
    depth = canvas.head.depth
    fluid_distance = draw_folds(rng, head, depth)
    if head.plane != "sagittal":
        reach = {"axial": 0.34 - 0.5 * head.level, "skull base": 0.6, "coronal": 0.28}[head.plane]
        halves = (1, -1) if head.plane == "axial" else (-1,)
        wander = np.abs(canvas.x + 0.012 * canvas.texture(9))
        for half in halves:
            ahead = np.maximum(reach - half * canvas.y, 0)
            fluid_distance = np.minimum(fluid_distance, wander + ahead)
    sulcus = rng.uniform(0.002, 0.014)
    ribbon = sulcus + rng.uniform(0.045, 0.065) * (1 + 0.15 * canvas.texture(14))
    edge = 1.8 * head.pixel
    white = signals.white * (1 + 0.03 * canvas.texture(14))
    grey = signals.grey * (1 + 0.04 * canvas.texture(18))
    paint(canvas.image, -depth, signals.csf, edge)
    paint(canvas.image, np.maximum(sulcus - fluid_distance, -depth), grey, edge)
    paint(canvas.image, np.maximum(ribbon - fluid_distance, -depth), white, 2 * edge)


def draw_axial(canvas: Canvas) -> None:
    """Ventricles, thalami and basal ganglia, which shrink and vanish towards the vertex."""
    rng, signals, level = canvas.rng, canvas.signals, canvas.head.level
    canvas.stroke((0, -1.05), (0, -0.45), 0.010, signals.marrow)
    canvas.ellipse((0, 1.02), (0.05, 0.04), signals.vessel)
    if level > 0.6:
        return
    wide = rng.uniform(0.7, 1.7)
    if level < 0.35:
        for side in (-1, 1):
            grey = signals.grey * rng.uniform(0.94, 1.04)
            canvas.ellipse((side * 0.32, -0.10), (0.10, 0.24), grey, side * 0.25)
            canvas.ellipse((side * 0.15, 0.10), (0.11, 0.17), grey, side * -0.35)
            canvas.ellipse((side * 0.17, -0.30), (0.06, 0.12), grey, side * -0.2)
            inner = side * rng.uniform(0.46, 0.54)
            canvas.stroke((inner, -0.16), (side * 0.72, -0.02), 0.025, signals.csf)
            canvas.stroke((inner, -0.18), (inner, 0.10), 0.018, signals.csf)
        canvas.ellipse((0, 0.08), (0.022 * wide, 0.14), signals.csf)
    length = 0.24 + 0.2 * level
    for side in (-1, 1):
        lean = side * rng.uniform(0.22, 0.38)
        size = wide * rng.uniform(0.85, 1.15)
        canvas.ellipse(
            (side * (0.05 + 0.06 * size), -0.30), (0.055 * size, length), signals.csf, -lean
        )
        canvas.ellipse((side * 0.22, 0.40), (0.055 * size, 0.16 + 0.2 * level), signals.csf, -lean)
        plexus = 0.5 * (signals.grey + signals.vessel)
        canvas.ellipse((side * 0.22, 0.36), (0.025, 0.06), plexus, -lean)


def draw_skull_base(canvas: Canvas) -> None:
    """Eyes and sinuses in front, the cisterns and brainstem, the petrous bones, the cerebellum."""
    rng, signals, head = canvas.rng, canvas.signals, canvas.head
    front = np.asarray(canvas.y + rng.uniform(0.42, 0.5) + 0.35 * np.abs(canvas.x), np.float32)
    front = np.maximum(front, -head.depth)
    orbit = signals.fat * (0.75 + 0.18 * canvas.texture(20))
    paint(canvas.image, front, orbit, 3 * head.pixel)
    open_sinus = rng.uniform(0.06, 0.17)
    canvas.ellipse((0, -0.68), (open_sinus, 0.26), 0.10 + 0.08 * canvas.texture(24))
    lens = 0.16 * rng.uniform(0.8, 1.15)
    for side in (-1, 1):
        eye = 0.9 * signals.csf + 0.05
        canvas.stroke((side * 0.40, -0.72), (side * 0.16, -0.38), 0.05, signals.muscle)
        canvas.ellipse((side * 0.40, -0.80), (lens + 0.015, lens + 0.015), signals.muscle)
        canvas.ellipse((side * 0.40, -0.80), (lens, lens), eye)
        canvas.stroke((side * 0.12, -0.36), (side * 0.72, -0.52), 0.055, signals.bone)
        canvas.stroke(
            (side * 0.15, 0.10), (side * 0.66, 0.30), rng.uniform(0.06, 0.12), signals.bone
        )
        canvas.ellipse((side * 0.13, -0.15), (0.035, 0.05), signals.vessel)
    draw_cerebellum(canvas, (0.0, 0.58), (0.58, 0.34))
    canvas.ellipse((0, -0.12), (0.15, 0.17), signals.csf)
    canvas.ellipse((0, 0.16), (0.21, 0.19), signals.csf)
    canvas.ellipse((0, 0.17), (0.18, 0.16), signals.white * 0.97)
    canvas.ellipse((0, 0.36), (0.08 * rng.uniform(0.6, 1.5), 0.04), signals.csf)
    canvas.ellipse((0, 0.01), (0.02, 0.02), signals.vessel)
    draw_gland(canvas)


def draw_cerebellum(
    canvas: Canvas, middle: tuple[float, float], axes: tuple[float, float], angle: float = 0.0
) -> None:
    """The cerebellum with its fine leaves."""
    signals = canvas.signals
    wander = 2.5 * canvas.texture(9)
    bend = canvas.rng.uniform(0.4, 1.0)
    turned = (canvas.y - middle[1]) * math.cos(angle) - (canvas.x - middle[0]) * math.sin(angle)
    along = turned + bend * np.square(canvas.x - middle[0])
    leaves = np.sin(canvas.rng.uniform(50, 75) * along + wander)
    leaf = signals.grey + (0.18 * (signals.csf - signals.grey)) * leaves
    canvas.ellipse(middle, (axes[0] + 0.03, axes[1] + 0.03), signals.csf, angle)
    canvas.ellipse(middle, axes, np.asarray(leaf, np.float32), angle)
    canvas.ellipse(middle, (axes[0] * 0.45, axes[1] * 0.3), 0.5 * (leaf + signals.white), angle)


def draw_gland(canvas: Canvas) -> None:
    """A healthy pituitary gland in its saddle, which takes up contrast as the vessels do."""
    if canvas.head.sella is None:
        return
    rng, signals = canvas.rng, canvas.signals
    x, y = canvas.head.sella
    bright = max(signals.grey, signals.tumour) * rng.uniform(0.6, 0.9)
    canvas.ellipse((x, y), (rng.uniform(0.05, 0.085), rng.uniform(0.03, 0.05)), bright)
    if canvas.head.plane != "skull base":
        canvas.stroke((x, y), (x + 0.01, y - 0.14), 0.018, bright)


def draw_coronal(canvas: Canvas) -> None:
    """Lateral and third ventricles, basal ganglia, temporal lobes beside the cavernous sinuses."""
    rng, signals = canvas.rng, canvas.signals
    wide = rng.uniform(0.7, 1.7)
    canvas.stroke((0, -0.95), (0, -0.30), 0.012, signals.marrow)
    canvas.ellipse((0, -0.91), (0.05, 0.035), signals.vessel)
    canvas.ellipse((0, -0.20), (0.24, 0.035), signals.white)
    for side in (-1, 1):
        canvas.ellipse((side * 0.30, 0.02), (0.09, 0.15), signals.grey, side * -0.3)
        canvas.ellipse((side * 0.12, 0.08), (0.08, 0.10), signals.grey)
        canvas.ellipse((side * 0.13, -0.12), (0.13, 0.045 * wide), signals.csf, side * 0.45)
        rise = rng.uniform(-0.06, 0.06)
        canvas.stroke((side * 0.74, 0.15), (side * 0.5, 0.04 + rise), 0.03, signals.csf)
        canvas.stroke((side * 0.5, 0.04 + rise), (side * 0.47, -0.08), 0.02, signals.csf)
        canvas.ellipse((side * 0.42, 0.33), (0.05, 0.025 * wide), signals.csf, side * 0.4)
        canvas.ellipse((side * 0.15, 0.47), (0.07, 0.09), 0.8 * signals.muscle)
        canvas.ellipse((side * 0.15, 0.46), (0.035, 0.035), signals.vessel)
    canvas.ellipse((0, 0.06), (0.018 * wide, 0.13), signals.csf)
    canvas.ellipse((0, 0.34), (0.20, 0.075), signals.csf)
    canvas.stroke((-0.08, 0.31), (0.08, 0.31), 0.03, signals.white)
    canvas.ellipse((0, 0.62), (0.22, rng.uniform(0.06, 0.12)), rng.choice([0.03, signals.marrow]))
    draw_gland(canvas)


def draw_sagittal(canvas: Canvas) -> None:
    """Corpus callosum over the ventricle, thalamus, brainstem, cerebellum and the sella."""
    rng, signals, head = canvas.rng, canvas.signals, canvas.head
    off_midline = rng.random() < 0.35
    tall = rng.uniform(0.6, 1.5)
    arch = measure_ellipse(canvas.x, canvas.y, (0.02, 0.10), (0.44, 0.32))
    upper = canvas.y - 0.10 - 0.25 * np.abs(canvas.x)
    edge = 1.8 * head.pixel
    paint(canvas.image, np.maximum(arch, upper - 0.02), signals.csf, edge)
    if not off_midline:
        paint(canvas.image, np.maximum(np.abs(arch) - 0.045, upper), signals.white * 1.05, edge)
    inner = (0.36, 0.26 - 0.07 * tall)
    canvas.ellipse((0.04, 0.12), inner, signals.white)
    canvas.ellipse((0.06, 0.10), (0.17, 0.11), signals.grey)
    draw_cerebellum(canvas, *CEREBELLUM, 0.35)
    canvas.stroke((0.10, 0.24), (0.14, 0.52), 0.24, signals.csf)
    canvas.stroke((0.14, 0.50), (0.26, 1.7), 0.15, 0.6 * signals.csf)
    canvas.stroke((0.10, 0.18), (0.13, 0.50), 0.19, signals.white)
    canvas.stroke((0.14, 0.52), (0.26, 1.7), 0.09, signals.white * 0.9)
    canvas.ellipse((0.25, 0.42), (0.035, 0.08), signals.csf)
    canvas.ellipse((-0.10, 0.36), (0.14, 0.06), signals.csf, 0.3)
    canvas.ellipse((-0.19, 0.62), (0.15, 0.10), rng.choice([0.03, signals.marrow]))
    canvas.stroke((0.98, 0.18), (0.64, 0.20), 0.02, 0.5 * (signals.vessel + signals.csf))
    draw_gland(canvas)
