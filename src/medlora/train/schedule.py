"""Rate and seed of every step, as pure functions, so that a run can go on anywhere."""

import math

import numpy as np

from medlora.train.settings import Schedule


def compute_rate(
    step: int, n_steps: int, *, peak: float, warmup_fraction: float, schedule: Schedule
) -> float:
    """Learning rate of a step.

    It rises linearly to `peak` during the warm-up; then it stays, or falls along half a
    cosine to zero.

    Args:
        step: Number of the step, 0 to n_steps - 1.
        n_steps: Steps of the whole run.
        peak: Highest rate.
        warmup_fraction: Share of the steps in which the rate rises, [0, 1).
        schedule: `cosine` or `constant`.

    Example:
        >>> [round(compute_rate(s, 5, peak=1.0, warmup_fraction=0.4, schedule="cosine"), 3)
        ...  for s in range(5)]
        [0.5, 1.0, 1.0, 0.75, 0.25]
    """
    n_warmup = round(warmup_fraction * n_steps)
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    if schedule == "constant":
        return peak
    share = (step - n_warmup) / max(1, n_steps - n_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def derive_seed(seed: int, epoch: int, step: int, process: int) -> int:
    """Seed of a step's dropout and augmentation; another one for each step and process.

    Args:
        seed: Seed of the run.
        epoch: Epochs finished before the step's.
        step: Number of the step in its epoch, from 0.
        process: Number of the process, from 0.

    Returns:
        At least 0, below 2**32.
    """
    return int(np.random.SeedSequence((seed, epoch, step, process)).generate_state(1)[0])
