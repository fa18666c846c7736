"""What training minimises."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


def compute_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    multi_label: bool,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy, or binary cross-entropy of each label, averaged over the images.

    Args:
        logits: Float32 (image, class).
        targets: Float32 (image, class), 1 where the image belongs to the class.
        multi_label: Whether the classes are independent.
        label_smoothing: Share of the target spread evenly over the classes, [0, 1); over
            "yes" and "no" of each label in a multi-label task.
        class_weights: Float32 (class,); weight of each class's images, or of each label's
            positive images in a multi-label task.

    Returns:
        Float32 scalar.
    """
    if multi_label:
        smooth = targets * (1 - label_smoothing) + label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=class_weights)
    return functional.cross_entropy(
        logits, targets.argmax(dim=1), weight=class_weights, label_smoothing=label_smoothing
    )


def weigh_classes(targets: npt.NDArray[np.bool_], *, multi_label: bool) -> Tensor:
    """Weights that make every class count the same, from the training images' labels.

    Args:
        targets: (image, class) labels of the training images; a class without images is
            weighted as if it had one.
        multi_label: Whether the classes are independent.

    Returns:
        Float32 (class,): the inverse of each class's share with mean weight 1 over the
        images; negatives over positives of each label in a multi-label task.

    Example:
        >>> weigh_classes(np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool), multi_label=False)
        tensor([0.6667, 2.0000])
    """
    # A class can be missing where labels are shuffled, or rare in a multi-label task.
    counts = np.maximum(targets.sum(axis=0), 1)
    n_images, n_classes = targets.shape
    weights = (n_images - counts) / counts if multi_label else n_images / (n_classes * counts)
    return torch.tensor(weights, dtype=torch.float32)


def weigh_images(targets: npt.NDArray[np.bool_], *, multi_label: bool) -> npt.NDArray[np.float64]:
    """Chances of drawing each training image so that every class comes equally often.

    In a multi-label task an image counts for its rarest label, and one without labels like
    one of the most frequent label.

    Args:
        targets: (image, class) labels of the training images.
        multi_label: Whether the classes are independent.

    Returns:
        (image,) weights, above 0.
    """
    counts = np.maximum(targets.sum(axis=0), 1)
    rarity = 1.0 / counts
    if not multi_label:
        return np.asarray(rarity[targets.argmax(axis=1)], dtype=np.float64)
    return np.asarray(np.where(targets, rarity, rarity.min()).max(axis=1), dtype=np.float64)
