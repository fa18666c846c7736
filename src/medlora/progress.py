"""How long work tells its caller how far it is, without knowing what a terminal is."""

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; the command line draws a bar from it, a service may log it."""

    def __call__(self, stage: str, done: int, total: int, **figures: float) -> None:
        """Report that `done` of `total` steps of `stage` are finished.

        Args:
            stage: A short phrase, for example "decoding" or "epoch 3".
            done: Steps finished so far, 0 to total.
            total: Steps in all.
            **figures: Numbers worth showing beside the bar, for example loss=0.31.
        """


def silent(stage: str, done: int, total: int, **figures: float) -> None:
    """Report nothing: the default wherever a `Progress` is taken."""
