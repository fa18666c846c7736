"""What the documents show is true: commands run, examples answer, tables and links hold.

A shell block under the comment `<!-- tested -->` is run. Blocks of one document run in order in
one empty folder, where `medlora` is the command of this source.
"""

import doctest
import functools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.tables import find_stale
from warm_command import serve_command

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
)
BLOCK = re.compile(
    r"^(?P<tested><!-- tested -->\n+)?```(?P<language>\w*)\n(?P<content>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?medlora\b(?P<rest>.*)$")


def blocks(document: Path, language: str, *, tested: bool = False) -> list[str]:
    """Contents of the document's fenced blocks in one language, perhaps only the tested ones."""
    found = BLOCK.finditer(document.read_text(encoding="utf-8"))
    return [
        block["content"]
        for block in found
        if block["language"] == language and (block["tested"] or not tested)
    ]


def shown_commands(text: str) -> Iterator[list[str]]:
    """The words after `medlora` on each command line of a shell block."""
    for line in text.replace("\\\n", " ").splitlines():
        command = COMMAND.match(line.strip())
        if command:
            yield shlex.split(command["rest"], comments=True)


ALL_COMMANDS = sorted(
    {
        tuple(words)
        for document in DOCUMENTS
        for block in blocks(document, "bash")
        for words in shown_commands(block)
    }
)
GROUPS = ("bench", "reproduce", "tasks")
TESTED = [document for document in DOCUMENTS if blocks(document, "bash", tested=True)]


@contextmanager
def environment(home: Path) -> Iterator[dict[str, str]]:
    """Variables under which `medlora` is this source's command, and writes only below `home`."""
    programs = home / "bin"
    programs.mkdir()
    with serve_command(programs / "medlora"):
        yield os.environ | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "MEDLORA_CACHE": str(home / "cache"),
        }


@functools.cache
def help_of(*subcommand: str) -> str:
    """What the command line says of itself, or of one subcommand."""
    variables = os.environ | {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    result = subprocess.run(
        [sys.executable, "-m", "medlora.cli.main", *subcommand, "--help"],
        env=variables | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_documents_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "architecture.md"} <= {
        document.name for document in DOCUMENTS
    }
    assert ALL_COMMANDS
    assert ROOT / "README.md" in TESTED


@pytest.mark.parametrize("document", TESTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_tested_commands_run(document: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    with environment(tmp_path) as variables:
        for script in blocks(document, "bash", tested=True):
            result = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=folder,
                env=variables,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_commands_and_options_shown_exist(words: tuple[str, ...]) -> None:
    bare = [word for word in words if not word.startswith("-")]
    subcommand = bare[: 2 if bare[:1] and bare[0] in GROUPS else 1]
    known = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", help_of(*subcommand)))
    options = {word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)}
    assert options <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_examples_answer_as_shown(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What an example makes for itself is cleared away with the test's own files.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    names: dict[str, object] = {}
    for number, content in enumerate(blocks(document, "python"), start=1):
        assert ">>>" in content, f"example {number} shows no prompt, so nobody would run it"
        example = doctest.DocTestParser().get_doctest(
            content, names, f"{document.name} example {number}", str(document), 0
        )
        runner.run(example, clear_globs=False)
        names = example.globs
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    targets = [link["target"] for link in LINK.finditer(document.read_text(encoding="utf-8"))]
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    missing = [target for target in local if not (document.parent / target).exists()]
    assert missing == []


def test_generated_tables_are_up_to_date() -> None:
    stale = [str(path.relative_to(ROOT)) for path in find_stale(ROOT)]
    assert stale == [], "run `make docs`"


def test_continued_and_commented_command_lines_are_read() -> None:
    text = "cd data\n$ medlora train DATA \\\n  --rank 4  # small\n.venv/bin/medlora show TASK\n"
    assert list(shown_commands(text)) == [["train", "DATA", "--rank", "4"], ["show", "TASK"]]
