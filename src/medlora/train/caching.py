"""Whether the frozen part of a model is computed once for each image, or at every step."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from medlora.errors import SettingsError

CacheFeatures = Literal["auto", "on", "off"]
CACHE_CHOICES = get_args(CacheFeatures)
DEFAULT_CACHE_GB = 20.0
# A gain below this is not worth the space: reading back takes some time too.
LEAST_GAIN = 0.1


@dataclass(frozen=True)
class CachingCase:
    """What the decision depends on.

    Attributes:
        place: Where the network is cut; None where nothing below the first trained layer is
            frozen.
        share: Share of a forward pass that lies before the cut, [0, 1].
        image_bytes: Bytes of one image's features.
        n_train: Training images.
        n_others: Validation and test images.
        epochs: Passes over the training images, and over those of validation.
        n_val: Validation images among `n_others`.
        n_views: Views of each training image, 1 where it is not changed; None where it is
            changed anew at every step.
    """

    place: str | None
    share: float
    image_bytes: int
    n_train: int
    n_val: int
    n_others: int
    epochs: int
    n_views: int | None

    @property
    def n_kept(self) -> int:
        """Images and views whose features are kept."""
        return self.n_train * min(self.epochs, self.n_views or self.epochs) + self.n_others

    @property
    def gain(self) -> float:
        """Share of the whole run's computation that is saved, [0, 1).

        A training step is a forward pass, and a backward pass of the same size through what
        lies behind the cut.
        """
        n_passes = self.n_train * self.epochs + self.n_val * (self.epochs - 1) + self.n_others
        backward = self.n_train * self.epochs * (1 - self.share)
        return self.share * (n_passes - self.n_kept) / max(n_passes + backward, 1)


@dataclass(frozen=True)
class CachingDecision:
    """Whether features are kept, and why, in words."""

    is_cached: bool
    reason: str


def decide_caching(wish: CacheFeatures, case: CachingCase, *, max_bytes: int) -> CachingDecision:
    """Decide from the numbers alone, so that a run that is taken up again decides alike.

    Args:
        wish: `on` and `off` as asked; `auto` where it saves a tenth of the run's computation.
        case: What the decision depends on.
        max_bytes: Bound on the features on disk; 0 where there is no folder for them.

    Raises:
        SettingsError: `on` is asked for where it is not possible.
    """
    if wish == "off":
        return CachingDecision(False, "not cached, as asked")
    hindrance = _find_hindrance(case, max_bytes)
    if hindrance and wish == "on":
        raise SettingsError(
            f"--cache-features on is not possible: {hindrance}. Change that, or choose auto."
        )
    if hindrance:
        return CachingDecision(False, f"not cached: {hindrance}")
    amount = f"{case.n_kept * case.image_bytes / 1e9:.2g} GB for {case.n_kept} images and views"
    if wish == "auto" and case.gain < LEAST_GAIN:
        gain = math.floor(100 * case.gain)
        return CachingDecision(
            False, f"not cached: it would save {gain} % of the computation, for {amount}"
        )
    return CachingDecision(
        True,
        f"cached at {case.place}: {100 * case.share:.0f} % of a forward pass is computed once, "
        f"{amount}",
    )


def _find_hindrance(case: CachingCase, max_bytes: int) -> str:
    """Why features cannot be kept; "" where they can."""
    if case.place is None:
        return "no part of the network stays as it is below the first trained layer"
    if case.n_views is None:
        return "augmentation is drawn anew at every step (--views K draws K views once)"
    needed = case.n_kept * case.image_bytes
    if max_bytes == 0:
        return "there is no folder for it"
    if needed > max_bytes:
        return (
            f"it would take {needed / 1e9:.1f} GB, allowed are {max_bytes / 1e9:.1f} GB "
            "(--feature-cache-size)"
        )
    return ""
