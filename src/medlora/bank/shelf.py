"""The tasks that a bank holds: those added to stay, and those of a source while there is room."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

from medlora.bank.held import HeldTask
from medlora.errors import TaskBankError
from medlora.task.file import Task
from medlora.task.folder import TaskSource

_N_SHOWN = 5


class TaskShelf:
    """Tasks by name, for several threads at once.

    Args:
        hold: Makes a task ready; it is given the task and where it came from.
        source: Where tasks that were not added are found; each is loaded when first taken.
        byte_budget: Bound on the memory of loaded tasks; those not used for longest leave
            first. Tasks that were added stay.
    """

    def __init__(
        self,
        hold: Callable[[Task, str], HeldTask],
        source: TaskSource | None,
        byte_budget: int | None,
    ) -> None:
        self._hold = hold
        self._source = source
        self._byte_budget = byte_budget
        self._lock = Lock()
        self._added: dict[str, HeldTask] = {}
        self._loaded: OrderedDict[str, HeldTask] = OrderedDict()
        self._loaded_bytes = 0
        self._retired: set[str] = set()
        # How often each name was let go, so that a load that began before is known for old.
        self._versions: Counter[str] = Counter()

    def names(self) -> tuple[str, ...]:
        """The tasks that can be taken: those added, then those of the source."""
        found = self._source.names() if self._source else ()
        with self._lock:
            left = [name for name in found if name not in self._retired]
            return tuple(dict.fromkeys([*self._added, *left]))

    def count_bytes(self) -> int:
        """Memory of the tasks that are held now."""
        with self._lock:
            held = [*self._added.values(), *self._loaded.values()]
        return sum(task.n_bytes for task in held)

    def add(self, task: Task, place: str) -> None:
        """Make a task ready and keep it.

        Raises:
            TaskBankError: One of that name was added before.
        """
        held = self._hold(task, place)
        name = held.card.name
        with self._lock:
            if name in self._added:
                raise TaskBankError(
                    f"The bank holds a task {name!r} already, from {self._added[name].place}. "
                    "Remove it first, or rename one."
                )
            self._added[name] = held
            self._retired.discard(name)

    def remove(self, name: str) -> None:
        """Let go of a task for good; who has taken it can still use it.

        Raises:
            TaskBankError: There is none of that name.
        """
        if name not in self.names():
            raise self._describe_missing(name)
        with self._lock:
            self._added.pop(name, None)
            self._drop(name)
            self._retired.add(name)
            self._versions[name] += 1

    def forget(self, name: str) -> None:
        """Let go of a loaded task until it is taken again."""
        with self._lock:
            self._drop(name)
            self._versions[name] += 1

    def take(self, names: Sequence[str]) -> dict[str, HeldTask]:
        """Tasks by name, loaded where they are not held.

        Raises:
            TaskBankError: There is none of that name.
            TaskFileError: It cannot be loaded.
        """
        taken: dict[str, HeldTask] = {}
        for name in dict.fromkeys(names):
            with self._lock:
                held = self._added.get(name) or self._loaded.get(name)
                if name in self._loaded:
                    self._loaded.move_to_end(name)
            taken[name] = held or self._load(name)
        self._push_out()
        return taken

    def _load(self, name: str) -> HeldTask:
        source = self._source
        while True:
            with self._lock:
                version, is_retired = self._versions[name], name in self._retired
            if source is None or is_retired or name not in source.names():
                raise self._describe_missing(name)
            held = self._hold(source.load(name), source.place(name))
            with self._lock:
                # Let go of while it was read, it may be retired by now, or another.
                if self._versions[name] != version:
                    continue
                # Another thread may have loaded it meanwhile; then all use that one.
                if name not in self._loaded:
                    self._loaded[name] = held
                    self._loaded_bytes += held.n_bytes
                return self._loaded[name]

    def _push_out(self) -> None:
        if self._byte_budget is None:
            return
        with self._lock:
            while self._loaded_bytes > self._byte_budget and self._loaded:
                self._drop(next(iter(self._loaded)))

    def _drop(self, name: str) -> None:
        """Let go of a loaded task; the lock is held."""
        held = self._loaded.pop(name, None)
        if held is not None:
            self._loaded_bytes -= held.n_bytes

    def _describe_missing(self, name: str) -> TaskBankError:
        known = self.names()
        more = f" and {len(known) - _N_SHOWN} more" if len(known) > _N_SHOWN else ""
        return TaskBankError(
            f"There is no task {name!r} in the bank. It has: "
            f"{', '.join(known[:_N_SHOWN]) or 'none'}{more}. Add it, or name one of these."
        )
