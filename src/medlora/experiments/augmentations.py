"""How training images are varied in the published experiments."""

from medlora.data.augment import Augmentation

# MRI intensities have no unit: brightness and contrast differ from scanner to scanner, and the
# classes of the brain-tumour images come from different scanners. Plane and position vary as well.
BRAIN_MRI = Augmentation(
    rotation_degrees=15.0,
    flip_horizontal=True,
    shift_fraction=0.05,
    scale_fraction=0.15,
    contrast=0.3,
    brightness=0.2,
    noise=0.02,
)


def vary_mildly(*, flips: bool) -> Augmentation:
    """What suits images of any kind.

    Args:
        flips: Whether images may be mirrored without becoming others.
    """
    return Augmentation(
        rotation_degrees=10.0,
        flip_horizontal=flips,
        shift_fraction=0.05,
        scale_fraction=0.1,
        contrast=0.2,
        brightness=0.1,
    )
