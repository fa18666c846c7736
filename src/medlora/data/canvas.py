"""An image in the making, and the shapes that are painted on it."""

from dataclasses import dataclass

import numpy as np

from medlora.data.anatomy import (
    Field,
    Head,
    Signals,
    draw_texture,
    measure_ellipse,
    measure_segment,
    paint,
)


@dataclass(frozen=True)
class Canvas:
    """An image in the making.

    Attributes:
        image: Signal of each pixel, changed as tissues are painted.
        head: The frame.
        signals: The tissues' intensities.
        x, y: Head coordinates of the brain's tissue, displaced where a mass pushes it.
        wander: Unevenness of the structures' borders, in head coordinates.
        rng: Source of randomness.
    """

    image: Field
    head: Head
    signals: Signals
    x: Field
    y: Field
    wander: Field
    rng: np.random.Generator

    def ellipse(
        self,
        middle: tuple[float, float],
        axes: tuple[float, float],
        value: float | Field,
        angle: float = 0.0,
    ) -> None:
        """Paint an ellipse of brain tissue."""
        box = self.find_box(middle, middle, max(axes))
        distance = measure_ellipse(self.x[box], self.y[box], middle, axes, angle)
        distance += min(min(axes) / 0.1, 1.0) * self.wander[box]
        inside = value[box] if isinstance(value, np.ndarray) else value
        paint(self.image[box], distance, inside, 1.6 * self.head.pixel)

    def stroke(
        self, start: tuple[float, float], end: tuple[float, float], width: float, value: float
    ) -> None:
        """Paint a thick line of the given full width."""
        box = self.find_box(start, end, width / 2)
        x = self.x[box] + 2 * self.wander[box]
        distance = measure_segment(x, self.y[box], start, end) - width / 2
        paint(self.image[box], distance, value, 1.6 * self.head.pixel)

    def find_box(
        self, start: tuple[float, float], end: tuple[float, float], reach: float
    ) -> tuple[slice, slice]:
        """Rows and columns within `reach` of a line, so that small structures cost little."""
        step, reach = 4, reach + 0.20
        x, y = self.x[::step, ::step], self.y[::step, ::step]
        near = (x > min(start[0], end[0]) - reach) & (x < max(start[0], end[0]) + reach)
        near &= (y > min(start[1], end[1]) - reach) & (y < max(start[1], end[1]) + reach)
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        if rows.size == 0:
            return slice(0, 0), slice(0, 0)
        return (
            slice(int(rows[0]) * step, (int(rows[-1]) + 1) * step),
            slice(int(columns[0]) * step, (int(columns[-1]) + 1) * step),
        )

    def texture(self, n_waves: int) -> Field:
        """A smooth random field of the image's size."""
        return draw_texture(self.rng, self.image.shape[0], n_waves)
