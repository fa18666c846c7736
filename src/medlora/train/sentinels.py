"""Watches over a training run: each notices a fault that would otherwise pass as a result."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medlora.errors import DivergenceError, TrainingError

EXPLOSION_FACTOR = 10.0
# Answers on the same images may differ by rounding; an adapter that does less does nothing.
SMALLEST_EFFECT = 1e-6
_CURE = (
    "The last good checkpoint is kept. Choose a lower learning rate, or train in fp32 "
    "(--precision fp32), and start again."
)


def check_loss(loss: float, smoothed: float, first: float, *, epoch: int, step: int) -> None:
    """Stop a run whose loss is no number, or has exploded.

    Args:
        loss: Loss of the step.
        smoothed: Running mean of the loss, this step included.
        first: Loss of the run's first step.
        epoch: The epoch, from 1.
        step: The step in it, from 1.

    Raises:
        DivergenceError: The loss is not finite, or its running mean is more than ten times
            the first loss (and than 1).
    """
    if not math.isfinite(loss):
        raise DivergenceError(f"The loss is {loss} in epoch {epoch}, step {step}. {_CURE}")
    limit = EXPLOSION_FACTOR * max(first, 1.0)
    if smoothed > limit:
        raise DivergenceError(
            f"The loss explodes: its running mean is {smoothed:.3g} in epoch {epoch}, step "
            f"{step}, and was {first:.3g} at the start (limit {limit:.3g}). {_CURE}"
        )


def check_weights(parameters: Mapping[str, Tensor], *, epoch: int) -> None:
    """Stop a run before weights that are no numbers replace good ones.

    Args:
        parameters: Everything that is trained, by name.
        epoch: The epoch, from 1.

    Raises:
        DivergenceError: A value is not finite; its tensor is named.
    """
    for name, parameter in parameters.items():
        if not bool(torch.isfinite(parameter).all()):
            raise DivergenceError(
                f"The trained tensor {name!r} is no longer finite in epoch {epoch}. {_CURE}"
            )


def check_gradients(parameters: Mapping[str, nn.Parameter]) -> None:
    """Stop a run in which an adapter or the head gets no gradient.

    A parameter of the backbone may be without one: some networks hold layers that their
    features do not pass through.

    Args:
        parameters: Everything to be trained by name, after the first backward pass.

    Raises:
        TrainingError: A tensor has no gradient; it is named.
    """
    idle = [
        name
        for name, parameter in parameters.items()
        if parameter.grad is None and not name.startswith("trained.")
    ]
    if idle:
        raise TrainingError(
            f"{len(idle)} trained tensor(s) get no gradient, {idle[0]!r} among them: the layer is "
            "not part of the computation. Choose other --targets."
        )


def check_adapter_moved(parameters: Mapping[str, nn.Parameter]) -> None:
    """Stop a run in which an adapted layer has learnt nothing in a whole epoch.

    Args:
        parameters: Everything that is trained, by name, after the first epoch.

    Raises:
        TrainingError: A layer's B is still exactly zero, its start; it is named.
    """
    idle = [
        name
        for name, parameter in parameters.items()
        if name.startswith("adapter.") and name.endswith(".B") and not bool(parameter.any())
    ]
    if idle:
        raise TrainingError(
            f"After an epoch {len(idle)} adapter(s) are still exactly zero, {idle[0]!r} among "
            "them: no gradient reaches the layer. Choose other --targets."
        )


def find_constant_answer(
    decisions: npt.NDArray[np.bool_], targets: npt.NDArray[np.bool_], classes: Sequence[str]
) -> str | None:
    """A warning where every image gets the same answer; None where they differ.

    Args:
        decisions: (image, class) decisions.
        targets: (image, class) reference labels.
        classes: Names of the classes.

    Example:
        >>> yes, no = [True, False], [False, True]
        >>> print(find_constant_answer(np.array([yes, yes]), np.array([yes, no]), ["a", "b"]))
        Every image is called 'a': the accuracy of 50.00 % is that answer's share of the
        images (1 of 2), not a skill.
    """
    n_images = len(decisions)
    if n_images < 2 or bool((decisions != decisions[0]).any()):
        return None
    named = [name for name, chosen in zip(classes, decisions[0], strict=True) if chosen]
    answer = " and ".join(repr(name) for name in named) or "nothing"
    n_right = int((targets == decisions).all(axis=1).sum())
    return (
        f"Every image is called {answer}: the accuracy of {100 * n_right / n_images:.2f} % is "
        f"that answer's share of the images ({n_right} of {n_images}), not a skill."
    )


def find_idle_adapter(
    with_adapter: npt.NDArray[np.float64], without_adapter: npt.NDArray[np.float64]
) -> str | None:
    """A warning where the adapter changes no probability; None where it does.

    Args:
        with_adapter: (image, class) probabilities of the trained model.
        without_adapter: The same with every B at zero and the same head.
    """
    effect = float(np.abs(with_adapter - without_adapter).max(initial=0.0))
    if effect > SMALLEST_EFFECT:
        return None
    return (
        f"The adapter changes nothing: no probability moves by more than {effect:.1g} when it is "
        "taken away. Raise the learning rate or the number of epochs, or train the head alone "
        "(--method linear)."
    )


def find_shuffled_skill(low: float | None, value: float | None, *, n_epochs: int = 1) -> str | None:
    """A warning where validation beats chance although the labels were shuffled.

    The best of many epochs beats chance more often than one does, so the interval is widened
    for their number, as Bonferroni does.

    Args:
        low: Lower end of the 95 % interval of macro AUROC on validation; None where undefined.
        value: Macro AUROC on validation; None where undefined.
        n_epochs: Epochs from which the best was chosen by validation.
    """
    if low is None or value is None:
        return None
    normal = NormalDist()
    widening = normal.inv_cdf(1 - 0.025 / n_epochs) / normal.inv_cdf(1 - 0.025)
    low = value - widening * (value - low)
    if low <= 0.5:
        return None
    return (
        f"With shuffled labels validation still reaches AUROC {value:.3f} (lower limit "
        f"{low:.3f}), more than chance: images of training and validation are not independent. "
        "Look for copies or shared patients across the splits, and group by them."
    )


def check_same_answers(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], *, tolerance: float, place: str
) -> None:
    """Refuse a saved file that does not answer like the model that was saved.

    Args:
        before: (image, class) probabilities of the model in memory.
        after: The same images through the file, read again.
        tolerance: Largest difference allowed.
        place: The file.

    Raises:
        TrainingError: A probability differs by more.
    """
    difference = float(np.abs(before - after).max(initial=0.0))
    if not difference <= tolerance:
        raise TrainingError(
            f"{place} does not answer like the trained model: a probability differs by "
            f"{difference:.4f}, allowed is {tolerance:g}. Do not use the file; save it with "
            "--save-dtype float32."
        )
