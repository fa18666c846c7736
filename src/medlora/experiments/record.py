"""A measurement with all that is needed to judge it."""

from datetime import UTC, datetime
from typing import Any

from medlora.runs.machine import describe_machine
from medlora.runs.versions import list_versions

FORMAT = 1


def describe_experiment(
    kind: str, result: dict[str, Any], *, seed: int | None, command: str
) -> dict[str, Any]:
    """A result with date, machine and versions, as plain JSON values.

    Args:
        kind: What was measured: `deployment`, `sizes`.
        result: The figures.
        seed: The seed that it started from; None where nothing was random.
        command: The command as it was typed.
    """
    return {
        "format": FORMAT,
        "kind": kind,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seed": seed,
        "machine": describe_machine(),
        "versions": list_versions(),
        "result": result,
    }
