"""Write a measurement as JSON, with all that is needed to judge and to repeat it.

The layout of the file is described in benchmarks/README.md.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.result_fields import field
from medlora.runs.machine import describe_machine
from medlora.storage import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
FORMAT = 1
# Load above which a contest gets a note that the machine had other work.
BUSY_LOAD = 1.0
PACKAGES = (
    "medlora",
    "torch",
    "torchvision",
    "timm",
    "peft",
    "lightning-fabric",
    "safetensors",
    "numpy",
    "scikit-learn",
)


def write_result(
    name: str,
    kind: str,
    result: dict[str, Any],
    *,
    seed: int | None,
    folder: Path = RESULTS,
) -> Path:
    """Write `folder/name.json`; a reader meets the old content or the new, never half of one.

    Args:
        name: File name without its ending; the tables in the documents refer to it.
        kind: Which renderer of benchmarks/tables.py the result is for.
        result: The measurements, as plain JSON values laid out as that kind asks.
        seed: The seed that the run started from; None where nothing was random.
        folder: Where results are kept.

    Returns:
        The file that was written.

    Raises:
        ValueError: A value is NaN, infinite or no JSON value, which a reader could not trust.
        StorageError: The file cannot be written.
    """
    record = {
        "format": FORMAT,
        "name": name,
        "kind": kind,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": describe_command(),
        "commit": describe_commit(),
        "seed": seed,
        "machine": describe_machine(),
        "versions": describe_versions(),
        "result": result,
    }
    try:
        content = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False)
    except TypeError as error:
        raise ValueError(f"Result {name!r} holds a value that JSON does not know: {error}.") from (
            error
        )
    path = folder / f"{name}.json"
    write_atomically(path, content.encode() + b"\n")
    return path


def read_record(path: Path) -> dict[str, Any] | None:
    """What `write_result` wrote there; None where nothing has been recorded."""
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def describe_versions() -> dict[str, str]:
    """Python's version, and those of the packages in `PACKAGES` that are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def describe_commit() -> str | None:
    """The commit that ran, with `+changes` where the sources differ from it; None without git."""
    try:
        commit = _run_git("rev-parse", "HEAD")
        sources = ("src", "benchmarks", "pyproject.toml")
        changes = _run_git("status", "--porcelain", "--untracked-files=no", "--", *sources)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit


def describe_command() -> str:
    """The command line that started this process, as one would type it in the repository."""
    spec = sys.modules["__main__"].__spec__
    program = ["python", "-m", spec.name] if spec is not None else ["python", sys.argv[0]]
    # Paths are told from the repository, so that a record says nothing about who measured.
    line = shlex.join([*program, *sys.argv[1:]])
    return line.replace(f"{ROOT}{os.sep}", "").replace(f"{ROOT.parent}{os.sep}", "../")


def describe_origin(record: dict[str, Any]) -> str:
    """One sentence: machine, versions, date, commit, and the command that measured."""
    machine = field(record, "machine")
    memory = machine.get("memory_bytes")
    size = f", {memory / 2**30:.0f} GiB" if memory else ""
    gpus = "".join(f", {gpu}" for gpu in machine.get("gpus", []))
    versions = field(record, "versions")
    named = ("python", "torch", "timm", "peft")
    packages = ", ".join(f"{name} {versions[name]}" for name in named if name in versions)
    commit = record.get("commit")
    place = f" at commit {shorten_commit(commit)}" if commit else ""
    return (
        f"Measured on {field(machine, 'cpu')} ({field(machine, 'cores')} cores{size}){gpus}; "
        f"{packages}; {field(record, 'date')[:10]}{place}: `{field(record, 'command')}`"
    )


def shorten_commit(commit: str) -> str:
    """Ten digits of the commit, and whether its sources had been changed.

    Example:
        >>> shorten_commit("0123456789abcdef+changes")
        '0123456789 with changes'
    """
    digits, _, changes = commit.partition("+")
    return digits[:10] + (" with changes" if changes else "")


def _run_git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def show_line(stage: str, done: int, total: int, **figures: float) -> None:
    """Progress as one line on standard error when a stage of a run is finished."""
    if done == total and not stage.startswith(("validation", "predicting")):
        print(f"    {stage} {figures or ''}", file=sys.stderr, flush=True)


def describe_load(before: float, after: float) -> list[str]:
    """A note for a contest on a busy machine; none where it was quiet.

    Args:
        before: Processes that ran or waited, on average, before the contest.
        after: The same at its end, with the contest's own.
    """
    if before <= BUSY_LOAD:
        return []
    return [
        f"The machine was busy with other work: its load was {before:.1f} before the contest "
        f"and {after:.1f} at its end, on {os.cpu_count()} cores."
    ]
