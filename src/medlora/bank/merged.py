"""Weights with one task's update in them, for batches that ask that task alone."""

from collections.abc import Mapping, Sequence
from threading import Lock
from types import MappingProxyType
from typing import Final
from weakref import WeakKeyDictionary

from torch import Tensor

from medlora.bank.held import HeldTask
from medlora.lora.routed import RoutedNetwork

# Making the weights anew takes about as long as a network's updates of one image where they have
# this size. For batches of fewer images they are not made, so that it never costs more time, even
# where every batch asks another task.
BYTES_PER_ROW: Final = 16 * 2**20
_NO_WEIGHTS: Mapping[str, Tensor] = MappingProxyType({})


class MergedTasks:
    """The weights of tasks that were lately asked alone, for several threads at once.

    A product with an update in its weights is one product: nothing is added for each image, which
    counts most for single images in narrow networks. What a batch is answered by depends on the
    batch and not on what was asked before, so that the same batch has the same answers.

    Linear layers alone are merged. Convolutional networks in bf16 round so differently with other
    kernels that an answer would depend on the rest of its batch by more than it may.

    Args:
        network: The bank's network.
        byte_budget: Bound on the memory of all weights that are kept. Those not used for longest
            leave first, and a task that is let go takes its own along. A task whose weights are
            larger is never merged.
    """

    def __init__(self, network: RoutedNetwork, byte_budget: int) -> None:
        self._network = network
        self._byte_budget = byte_budget
        self._lock = Lock()
        # The one that was used last stands last.
        self._kept: WeakKeyDictionary[HeldTask, dict[str, Tensor]] = WeakKeyDictionary()

    @property
    def n_bytes(self) -> int:
        """Memory of the weights that are kept now."""
        with self._lock:
            return self._count_bytes()

    def find(self, tasks: Sequence[HeldTask | None]) -> Mapping[str, Tensor]:
        """The weights that answer a batch.

        Args:
            tasks: The task whose adapter each row has; None for the backbone alone.

        Returns:
            Layer name to the weight in place of its own; none where the rows' updates are to be
            added to the backbone's answer.
        """
        task = tasks[0]
        if task is None or task.layout is None or task.packed is None:
            return _NO_WEIGHTS
        if not task.layout.can_merge:
            return _NO_WEIGHTS
        if any(other is not task for other in tasks):
            return _NO_WEIGHTS
        if task.layout.weight_bytes > min(self._byte_budget, BYTES_PER_ROW * len(tasks)):
            return _NO_WEIGHTS
        with self._lock:
            weights = self._kept.get(task)
        if weights is None:
            weights = self._network.merge(task.layout, task.packed)
        with self._lock:
            self._kept.pop(task, None)
            self._kept[task] = weights
            self._push_out()
        return weights

    def _count_bytes(self) -> int:
        """Memory of the weights that are kept; the lock is held."""
        return sum(task.layout.weight_bytes for task in self._kept if task.layout)

    def _push_out(self) -> None:
        """Let go of what does not fit; the lock is held."""
        for task in list(self._kept):
            if self._count_bytes() <= self._byte_budget:
                return
            del self._kept[task]
