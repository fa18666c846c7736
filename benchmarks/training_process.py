"""A process that holds one contestant, stands still, and makes steps when it is told to."""

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.training_contest import Contest, Finished, read_memory
from benchmarks.training_contestants import CONTESTANTS
from medlora.allocator import keep_large_blocks

_SECONDS_TO_BUILD = 600.0


class PipedPace:
    """Lets a contestant go as many steps as its pipe asks for, and reports on the way.

    Args:
        connection: Gives the number of steps, 0 for the end; takes a report on each order.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.bytes_before = 0
        self.n_left = 1  # The first step warms up; nobody has asked for it.
        self.n_wanted = 1
        self.started = (0.0, 0.0)

    def begin(self) -> None:
        """Note what the process holds before there is a model."""
        self.bytes_before = read_memory()[0]
        self.started = _read_clocks()

    def step(self) -> None:
        """Count a step; at the last one report, and wait for the next order.

        Raises:
            Finished: No more steps are wanted.
        """
        self.n_left -= 1
        if self.n_left:
            return
        wall, processor = _read_clocks()
        self.connection.send(
            {
                "seconds": (wall - self.started[0]) / self.n_wanted,
                "processor_seconds": (processor - self.started[1]) / self.n_wanted,
            }
        )
        self.n_wanted = self.n_left = int(self.connection.recv())
        if not self.n_wanted:
            self.connection.send(self._weigh())
            raise Finished
        self.started = _read_clocks()

    def _weigh(self) -> dict[str, int]:
        import torch

        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated()
            return {"peak_memory_bytes": peak, "peak_memory_increase_bytes": peak}
        peak = read_memory()[1]
        return {
            "peak_memory_bytes": peak,
            "peak_memory_increase_bytes": peak - self.bytes_before,
        }


class ContestantProcess:
    """One contestant in a process of its own, built and warmed up.

    Args:
        name: The contestant's name.
        contest: The common setting.

    Raises:
        RuntimeError: It came to an error; its own message is on the standard error.
    """

    def __init__(self, name: str, contest: Contest) -> None:
        self.name = name
        # A new interpreter: a copy of this one would inherit its memory and threads.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=run_contestant, args=(theirs, name, contest))
        self.process.start()
        theirs.close()
        self._receive()

    def run(self, n_steps: int) -> dict[str, float]:
        """Make some steps; gives `seconds` and `processor_seconds` of one."""
        self.connection.send(n_steps)
        return self._receive()

    def finish(self) -> dict[str, int]:
        """End the process; gives the fields of its peak memory."""
        self.connection.send(0)
        memory = self._receive()
        self.process.join()
        return memory

    def stop(self) -> None:
        """End the process at once, if it is still there."""
        self.process.kill()
        self.process.join()

    def _receive(self) -> Any:
        if not self.connection.poll(_SECONDS_TO_BUILD):
            raise RuntimeError(f"{self.name!r} has not answered for {_SECONDS_TO_BUILD:.0f} s.")
        try:
            return self.connection.recv()
        except EOFError as error:
            raise RuntimeError(f"{self.name!r} has ended; its error stands above.") from error


def run_contestant(connection: Connection, name: str, contest: Contest) -> None:
    """What the new process does."""
    import torch

    torch.set_num_threads(contest.n_threads or os.cpu_count() or 1)
    chosen = {contestant.name: contestant for contestant in CONTESTANTS}[name]
    if chosen.keeps_memory:
        keep_large_blocks()
    try:
        chosen.train(contest, PipedPace(connection))
    except Finished:
        connection.close()


def _read_clocks() -> tuple[float, float]:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()
