"""A folder of task files as a source of tasks, which may change while it is used."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Protocol

from medlora.errors import SettingsError, StorageError, TaskFileError
from medlora.storage import read_file
from medlora.task.card import TaskCard
from medlora.task.catalogue import find_task_files, spell_path
from medlora.task.file import Task, unpack_task
from medlora.task.heading import check_card_backbone, read_heading
from medlora.task.records import BackboneReference

_SHOWN_NAMES = 5


class TaskSource(Protocol):
    """Where tasks come from by their names: a folder, an archive, a service."""

    def names(self) -> tuple[str, ...]:
        """The names of all tasks, in order."""

    def load(self, name: str) -> Task:
        """The task of that name, checked to the last byte."""

    def place(self, name: str) -> str:
        """Where the task of that name comes from, in words, for errors."""


@dataclass(frozen=True)
class FolderChanges:
    """What reading a folder again has brought, by the tasks' names.

    Attributes:
        added: Tasks that were not there before.
        removed: Tasks that are no longer there.
        replaced: Tasks whose content is another now.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    replaced: tuple[str, ...]


@dataclass(frozen=True)
class _Finding:
    """What was found in one file: a task, or why there is none."""

    signature: tuple[int, ...]
    path: Path
    name: str = ""
    sha256: str = ""
    fault: str = ""


@dataclass(frozen=True)
class _Index:
    tasks: dict[str, _Finding]
    refused: dict[str, str]


class TaskFolder:
    """The task files of a folder, and of the folders below it, by the names in their cards.

    Only the files' headings are read, and only once as long as a file does not change: the
    digest of a task is checked when it is loaded. `find_task_files` says which files count. The
    object may be used by several threads, and files may come and go: an answer belongs to the
    state at the last `refresh`.

    Args:
        folder: The folder; it may be empty.
        backbone: The backbone that the tasks are to be used on. Tasks of another are refused;
            None takes those of any.

    Raises:
        StorageError: It is no folder, or cannot be listed.
        TaskFileError: Two files hold tasks of one name.

    Attributes:
        folder: The folder.
        backbone: The backbone.
    """

    def __init__(self, folder: Path | str, backbone: BackboneReference | None = None) -> None:
        self.folder = Path(folder)
        self.backbone = backbone
        self._refreshing = Lock()
        self._findings: dict[str, _Finding] = {}
        # Readers take it once and see one state; it is replaced as a whole, never changed.
        self._index = _Index({}, {})
        self.refresh()

    def names(self) -> tuple[str, ...]:
        """The names of the tasks that can be loaded, in alphabetical order."""
        return tuple(self._index.tasks)

    @property
    def refused(self) -> Mapping[str, str]:
        """Files that are not served, by their name below the folder, and why, in one line."""
        return MappingProxyType(self._index.refused)

    def place(self, name: str) -> str:
        """The path of the file that holds a task.

        Raises:
            SettingsError: There is no task of that name.
        """
        return spell_path(str(self._find(name).path))

    def load(self, name: str) -> Task:
        """Load a task from its file as it is now, and check it to the last byte.

        Raises:
            SettingsError: There is no task of that name.
            StorageError: Its file is gone or cannot be read.
            TaskFileError: The file is damaged, or holds a task of another name by now.
            WrongBackboneError: It holds a task of another backbone by now.
        """
        path = self._find(name).path
        place = spell_path(str(path))
        task = unpack_task(read_file(path, "task file"), place)
        if task.card.name != name:
            raise TaskFileError(
                f"{place} holds the task {task.card.name!r} now, no longer {name!r}. "
                "Read the folder again."
            )
        self._check_backbone(task.card, place)
        return task

    def refresh(self) -> FolderChanges:
        """Look which files were added, removed or replaced; the state before stays on an error.

        Returns:
            How the tasks differ from those before.

        Raises:
            StorageError: The folder is gone or cannot be listed.
            TaskFileError: Two files hold tasks of one name; both are named.
        """
        with self._refreshing:
            self._findings = dict(self._read_files())
            before, self._index = self._index.tasks, self._build_index()
            after = self._index.tasks
        shared = before.keys() & after.keys()
        return FolderChanges(
            added=tuple(name for name in after if name not in before),
            removed=tuple(name for name in before if name not in after),
            replaced=tuple(
                name
                for name in after
                if name in shared and after[name].sha256 != before[name].sha256
            ),
        )

    def _find(self, name: str) -> _Finding:
        tasks = self._index.tasks
        if name not in tasks:
            shown = ", ".join(list(tasks)[:_SHOWN_NAMES]) or "none"
            more = f" and {len(tasks) - _SHOWN_NAMES} more" if len(tasks) > _SHOWN_NAMES else ""
            raise SettingsError(
                f"There is no task {name!r} in {self.folder}; its tasks: {shown}{more}. Check "
                "the name, or read the folder again if a file was added."
            )
        return tasks[name]

    def _read_files(self) -> list[tuple[str, _Finding]]:
        findings = []
        for file, path in find_task_files(self.folder).items():
            try:
                signature = _sign(path.stat())
            except FileNotFoundError:
                continue  # It went while the folder was listed.
            finding = self._findings.get(file)
            if finding is None or finding.signature != signature:
                finding = self._read_file(file, path, signature)
            findings.append((file, finding))
        return findings

    def _read_file(self, file: str, path: Path, signature: tuple[int, ...]) -> _Finding:
        try:
            heading = read_heading(path, file)
            self._check_backbone(heading.card, file)
        except StorageError as error:
            # It may be readable next time without having changed.
            return _Finding((), path, fault=str(error))
        except TaskFileError as error:
            return _Finding(signature, path, fault=str(error))
        return _Finding(signature, path, name=heading.card.name, sha256=heading.sha256)

    def _check_backbone(self, card: TaskCard, place: str) -> None:
        if self.backbone is not None:
            check_card_backbone(card, self.backbone.name, self.backbone.fingerprint, place)

    def _build_index(self) -> _Index:
        tasks: dict[str, _Finding] = {}
        refused: dict[str, str] = {}
        for file, finding in self._findings.items():
            if finding.fault:
                refused[file] = finding.fault
            elif finding.name in tasks:
                raise TaskFileError(
                    f"{tasks[finding.name].path} and {finding.path} are both called "
                    f"{finding.name!r}; the tasks of a folder need different names. Rename one: "
                    "medlora tasks rename FILE NEW_NAME"
                )
            else:
                tasks[finding.name] = finding
        return _Index(dict(sorted(tasks.items())), refused)


def _sign(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
