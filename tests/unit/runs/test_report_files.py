"""A run's report is made again from what its folder holds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medlora.errors import DataError, SettingsError
from medlora.runs.report_files import read_report, write_formats

LIGHT = """
import sys
from pathlib import Path
from medlora.runs.report_files import read_report, write_formats
write_formats(Path(sys.argv[2]), read_report(Path(sys.argv[1])), ("html", "md"))
print(*sorted({"torch", "timm", "lightning_fabric"} & set(sys.modules)))
"""


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A finished run's folder that may be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_the_page_is_made_again_as_it_was_written(trained: Path, tmp_path: Path) -> None:
    paths = write_formats(tmp_path, read_report(trained), ("html", "card", "md", "checklists"))
    assert [path.name for path in paths] == [
        "report.html",
        "model-card.md",
        "report.md",
        "checklists.md",
    ]
    assert (tmp_path / "model-card.md").read_bytes() == (trained / "model-card.md").read_bytes()
    first, again = ((folder / "report.html").read_text() for folder in (trained, tmp_path))

    def strip(page: str) -> str:
        """Without the curves, which are drawn from probabilities of six digits."""
        return page.partition('<section id="figures">')[0] + page.partition('id="mistakes"')[2]

    assert strip(again) == strip(first)
    figures = {path.name for path in (tmp_path / "report-figures").iterdir()}
    text = (tmp_path / "report.md").read_text()
    assert figures and all(f"(report-figures/{name})" in text for name in figures)
    assert "CLAIM 2024" in (tmp_path / "checklists.md").read_text()


def test_no_images_and_no_tensor_library_are_needed(trained: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LIGHT, str(trained), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
    assert (tmp_path / "report.html").is_file()


def test_a_run_of_an_earlier_version_has_a_report_without_pictures(
    copy: Path, trained: Path, tmp_path: Path
) -> None:
    (copy / "report.json").unlink()
    content = read_report(copy)
    kept = read_report(trained)
    assert content.mistakes == () and content.sections == ()
    # The self-check is made when the task file is written, behind which the report stands.
    assert {**content.card, "self_check": None} == {**kept.card, "self_check": None}
    for name in ("title", "command", "evaluation", "warnings", "n_skipped", "facts"):
        assert getattr(content, name) == getattr(kept, name), name
    assert (content.probabilities == kept.probabilities).all()
    assert (content.targets == kept.targets).all() and content.targets.sum(axis=1).min() == 1
    write_formats(tmp_path, content, ("html",))
    assert '<ol class="mistakes' not in (tmp_path / "report.html").read_text()


def test_a_run_from_before_the_short_audit_has_a_report_without_it(
    copy: Path, trained: Path, tmp_path: Path
) -> None:
    assert read_report(trained).facts["audit"]["n_seen"] == {"test": 0, "val": 0}
    (copy / "report.json").unlink()
    (copy / "audit.json").unlink()
    content = read_report(copy)
    assert "audit" not in content.facts
    write_formats(tmp_path, content, ("html",))
    page = (tmp_path / "report.html").read_text()
    assert 'id="audit"' not in page and 'id="verdict"' in page


def test_a_folder_without_answers_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no finished run"):
        read_report(tmp_path)


def test_a_cross_validation_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out-of-fold.csv").write_text("path,fold,label,decision,p_a\n")
    with pytest.raises(SettingsError, match="Name the folder of one of its folds"):
        read_report(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("report.json", "{", "is not JSON"),
        ("report.json", "[]", "is not what a report has written"),
        ("predictions.csv", "path,label\nx,dark\n", "is not a run's table of answers"),
        ("predictions.csv", "\udcff", "is not encoded as UTF-8"),
    ],
)
def test_damaged_files_are_named(copy: Path, name: str, content: str, rule: str) -> None:
    (copy / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=rule):
        read_report(copy)


@pytest.mark.parametrize("name", ["evaluation.json", "run.json"])
def test_records_of_an_earlier_version_are_checked(copy: Path, name: str) -> None:
    (copy / "report.json").unlink()
    (copy / name).write_text(json.dumps({}))
    with pytest.raises(DataError, match="is not what a run has written"):
        read_report(copy)
