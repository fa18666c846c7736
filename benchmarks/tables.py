"""Write the tables of the documents from the JSON files in docs/results.

A document holds a pair of comments, each alone on its line; what stands between them is
written by this script from docs/results/NAME.json and never by hand:

    <!-- generated: NAME -->
    <!-- end generated -->

`<!-- generated: NAME, scores -->` leaves out what is said of every two methods.

`python -m benchmarks.tables` writes, and with `--check` only says what would change. The
layout of the JSON files is described in benchmarks/README.md.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.audit_memory_table import render_audit_memory
from benchmarks.audit_table import render_audit_result
from benchmarks.calibration_table import render_calibration
from benchmarks.deployment_table import render_deployment
from benchmarks.explaining_table import render_explaining
from benchmarks.feature_cache_table import render_feature_cache
from benchmarks.melo_table import render_melo
from benchmarks.mixed_tasks_table import render_mixed_tasks
from benchmarks.model_zoo_table import render_model_zoo
from benchmarks.novelty_candidates_table import render_novelty_candidates
from benchmarks.real_tasks_table import render_real_scores, render_real_tasks
from benchmarks.record import FORMAT, ROOT, describe_origin
from benchmarks.result_fields import ResultError, field
from benchmarks.sizes_table import render_sizes
from benchmarks.training_speed_table import render_training_speed
from benchmarks.trust_table import render_trust
from benchmarks.vgg16_lora_table import render_vgg16_lora

Renderer = Callable[[dict[str, Any]], str]

RENDERERS: dict[str, Renderer] = {
    "audit": render_audit_result,
    "audit-memory": render_audit_memory,
    "calibration": render_calibration,
    "deployment": render_deployment,
    "explaining": render_explaining,
    "feature-cache": render_feature_cache,
    "melo": render_melo,
    "mixed-tasks": render_mixed_tasks,
    "model-zoo": render_model_zoo,
    "novelty-candidates": render_novelty_candidates,
    "real-tasks": render_real_tasks,
    "sizes": render_sizes,
    "training-speed": render_training_speed,
    "trust": render_trust,
    "vgg16-lora": render_vgg16_lora,
}

# The kinds that can be shown without what is said of every two methods.
SCORES: dict[str, Renderer] = {"real-tasks": render_real_scores}

START = re.compile(r"^<!-- generated: (?P<name>[A-Za-z0-9_-]+)(?P<scores>, scores)? -->$")
END = "<!-- end generated -->"


def find_documents(root: Path) -> list[Path]:
    """README.md and every Markdown file under docs, sorted."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def render_result(path: Path, renderers: Mapping[str, Renderer] = RENDERERS) -> str:
    """The Markdown table of one result file, with the line that says where it was measured.

    A result that has not been recorded yet gives a sentence that says so.

    Args:
        path: The file.
        renderers: How each kind is rendered.

    Raises:
        ResultError: The file is no JSON, of another format or an unknown kind, or lacks a field.
    """
    if not path.is_file():
        return f"No result has been recorded in `docs/results/{path.name}` yet."
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{path} is no JSON ({error}). Measure again.") from error
    try:
        if field(record, "format") != FORMAT:
            raise ResultError(f"format is {record['format']!r}, and this script reads {FORMAT}")
        kind = field(record, "kind")
        if kind not in renderers:
            raise ResultError(f"kind is {kind!r}, and must be one of {', '.join(renderers)}")
        return f"{renderers[kind](field(record, 'result'))}\n\n{describe_origin(record)}"
    except ResultError as error:
        raise ResultError(f"{path}: {error}. See benchmarks/README.md.") from error


def rewrite_document(text: str, results: Path) -> str:
    """The document with everything between its markers generated anew.

    Raises:
        ResultError: A marker is not closed or opened twice, or a result is not valid.
    """
    return "".join(_rewrite_lines(text.splitlines(keepends=True), results))


def _rewrite_lines(lines: Sequence[str], results: Path) -> Iterator[str]:
    name: str | None = None
    for number, line in enumerate(lines, start=1):
        opening = START.match(line.strip())
        if opening and name is not None:
            raise ResultError(f"line {number}: table {name!r} is not closed with {END!r}")
        if opening:
            name = opening["name"]
            yield line
            renderers = SCORES if opening["scores"] else RENDERERS
            yield f"\n{render_result(results / f'{name}.json', renderers)}\n\n"
        elif line.strip() == END:
            if name is None:
                raise ResultError(f"line {number}: {END!r} closes no table")
            name = None
            yield line
        elif name is None:
            yield line
    if name is not None:
        raise ResultError(f"table {name!r} is not closed with {END!r}")


def find_stale(root: Path) -> dict[Path, str]:
    """What each document that is not up to date should hold.

    Raises:
        ResultError: A document's markers or a result file are not valid.
    """
    stale = {}
    for path in find_documents(root):
        text = path.read_text(encoding="utf-8")
        try:
            fresh = rewrite_document(text, root / "docs" / "results")
        except ResultError as error:
            raise ResultError(f"{path.relative_to(root)}: {error}") from error
        if fresh != text:
            stale[path] = fresh
    return stale


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write or check the tables; 1 where a check found something stale, 2 where all stopped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    options = parser.parse_args(arguments)
    try:
        stale = find_stale(root)
    except ResultError as error:
        print(error, file=sys.stderr)
        return 2
    for path, fresh in stale.items():
        if options.check:
            print(f"{path.relative_to(root)} is stale: run `make docs`.")
        else:
            path.write_text(fresh, encoding="utf-8")
            print(f"{path.relative_to(root)} written.")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
