"""A process that holds one strategy, stands still, and answers some batches when it is told to.

Each strategy has a process of its own, so that its peak of memory is its own. The processes take
turns, so that whatever else the machine does falls on all alike.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from medlora.errors import ExperimentError
from medlora.experiments.deployment_layout import TITLES
from medlora.experiments.deployment_settings import DeploymentSettings
from medlora.experiments.strategies import BUILDERS, Setting
from medlora.experiments.turns import Turn, TurnFigures, TurnTaker
from medlora.runs.machine import read_memory

Preparation = Callable[[], object]
_SECONDS_TO_END = 60.0


@dataclass(frozen=True)
class StrategyFacts:
    """What is known of a strategy once it is loaded.

    Attributes:
        fixed_task: The one task that it answers; None where it answers all.
        n_parameters: Values that it holds.
        loading_seconds: From files to being ready, without the import of libraries.
        n_threads: Threads that it computes with.
    """

    fixed_task: int | None
    n_parameters: int
    loading_seconds: float
    n_threads: int


@dataclass(frozen=True)
class MemoryFigures:
    """The most memory that a strategy's process has held.

    Attributes:
        peak_memory_bytes: In all, libraries included; on a GPU what PyTorch allocated there.
        peak_memory_increase_bytes: Less what the process held before it loaded a model.
    """

    peak_memory_bytes: int
    peak_memory_increase_bytes: int


class StrategyProcess:
    """One strategy in a process of its own, loaded and warmed up.

    Args:
        name: The strategy.
        setting: What it is built from.
        settings: Images, batch sizes and threads.
        prepare: Called first in the new process, before it takes much memory; a function of
            a module.

    Raises:
        ExperimentError: The process has ended; its own message is on the standard error.
    """

    def __init__(
        self,
        name: str,
        setting: Setting,
        settings: DeploymentSettings,
        prepare: Preparation | None = None,
    ) -> None:
        self.name = name
        # A new interpreter: a copy of this one would inherit its memory and threads.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, name, setting, settings, prepare)
        self._process = context.Process(target=serve_strategy, args=arguments, daemon=True)
        with _without_interrupts():
            self._process.start()
        theirs.close()
        try:
            self.facts: StrategyFacts = self._receive()
        except BaseException:
            self.stop()
            raise

    def take(self, turn: Turn) -> TurnFigures:
        """Let it answer the batches of a turn."""
        figures: TurnFigures = self._ask(turn)
        return figures

    def finish(self) -> MemoryFigures:
        """End the process; gives its peak of memory."""
        figures: MemoryFigures = self._ask(None)
        self._process.join()
        return figures

    def stop(self) -> None:
        """End the process at once, if it is still there."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _ask(self, order: Turn | None) -> Any:
        try:
            self._connection.send(order)
        except OSError as error:
            raise self._describe_end() from error
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._describe_end() from error

    def _describe_end(self) -> ExperimentError:
        self._process.join(timeout=_SECONDS_TO_END)
        return ExperimentError(
            f"The strategy {self.name!r} ({TITLES[self.name]}) has ended with code "
            f"{self._process.exitcode} before it was done; what it said stands above, and code "
            "-9 means that memory ran out. Choose a smaller backbone, or leave the strategy out."
        )


def serve_strategy(
    connection: Connection,
    name: str,
    setting: Setting,
    settings: DeploymentSettings,
    prepare: Preparation | None,
) -> None:
    """What the new process does: load, warm up, and take turns until it is told to end."""
    if prepare is not None:
        prepare()
    if settings.n_threads is not None:
        torch.set_num_threads(settings.n_threads)
    bytes_before, _ = read_memory()
    started = time.perf_counter()
    strategy = BUILDERS[name](setting)
    seconds = time.perf_counter() - started
    pixels = settings.workload.draw_pixels(strategy.preprocessing.size)
    taker = TurnTaker(strategy, settings.workload, pixels, setting.device)
    taker.warm_up(settings.batch_sizes)
    facts = StrategyFacts(
        strategy.fixed_task, strategy.n_parameters, seconds, torch.get_num_threads()
    )
    try:
        connection.send(facts)
        while turn := connection.recv():
            connection.send(taker.take(turn))
        connection.send(_weigh(setting.device, bytes_before))
    except (EOFError, BrokenPipeError):
        # Nobody waits for an answer any more.
        return


def _weigh(device: torch.device, bytes_before: int) -> MemoryFigures:
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        return MemoryFigures(peak, peak)
    _, peak = read_memory()
    return MemoryFigures(peak, peak - bytes_before)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a process that is started meanwhile never hear of Ctrl-C: it is ended by this one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # What is blocked stays so in a new process, from its first moment.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
