"""`medlora check`: what can be trained on, and what train would refuse."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dicom_samples import write_frames
from medlora.data.cache import NoCache
from medlora.errors import PatientLeakError
from medlora.runs import preparing
from medlora.runs.training import start_run
from run_samples import make_plan, run_command, write_images, write_manifest


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = run_command(monkeypatch, "check", *arguments)
        shown = capsys.readouterr()
        return code, " ".join(shown.out.split()), " ".join(shown.err.split())

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", n_per_class=6)


def list_rows(images: Path) -> list[dict[str, str]]:
    """Of each class four images for training, one for validation and one for testing."""
    splits = ("train", "train", "train", "train", "val", "test")
    return [
        {
            "path": path.relative_to(images.parent).as_posix(),
            "label": path.parent.name,
            "split": splits[number % 6],
            "patient": path.stem + path.parent.name,
        }
        for number, path in enumerate(sorted(images.rglob("*.png")))
    ]


def test_counts_and_copies(check: Any, images: Path) -> None:
    shutil.copy(images / "dark" / "001.png", images / "light" / "copy.png")
    code, out, _ = check(images)
    assert code == 0
    assert "1 groups of identical files, 0 of them across splits, 1 with labels that differ" in out
    assert "Every image can be read." in out


def test_frames_of_one_file_are_no_copies(check: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_frames(tmp_path / "loops" / name / "loop.dcm", 8, value=ord(name))
    write_frames(tmp_path / "loops" / "a" / "other.dcm", 8, value=1)
    write_frames(tmp_path / "loops" / "b" / "other.dcm", 8, value=2)
    for name in "cde":
        write_frames(tmp_path / "loops" / "a" / f"{name}.dcm", 1, value=ord(name))
        write_frames(tmp_path / "loops" / "b" / f"{name}.dcm", 1, value=9 + ord(name))
    code, out, _ = check(tmp_path / "loops")
    assert "No two files are identical." in out
    assert code == 0


def test_splits_that_train_refuses_are_refused(check: Any, images: Path) -> None:
    manifest = images.parent / "manifest.csv"
    rows = list_rows(images)
    assert check(write_manifest(manifest, rows))[0] == 0
    shared = [row | {"patient": "p"} if row["split"] != "test" else row for row in rows]
    code, _, error = check(write_manifest(manifest, shared))
    assert code == 2
    assert "1 patient(s) of manifest have images in more than one split (train and val: 1)" in error
    assert check(manifest, "--allow-patient-overlap")[0] == 0
    partial = [row | {"split": row["split"].replace("test", "")} for row in rows]
    code, _, error = check(write_manifest(manifest, partial))
    assert code == 2
    assert "2 of the 12 images of manifest have no split" in error
    lacking = [row for row in rows if (row["label"], row["split"]) != ("dark", "val")]
    code, _, error = check(write_manifest(manifest, lacking))
    assert code == 2
    assert "manifest has no image of dark in the split 'val'" in error


def test_images_that_cannot_be_divided_are_refused(check: Any, images: Path) -> None:
    rows = [row | {"split": "", "patient": "p"} for row in list_rows(images)]
    code, _, error = check(write_manifest(images.parent / "manifest.csv", rows))
    assert code == 2
    assert "12 images are too few, or of too few patients, to be divided" in error


def test_train_refuses_stated_splits_before_it_decodes(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "scan_images", None)
    rows = [row | {"patient": "p"} for row in list_rows(images)]
    plan = make_plan(write_manifest(images.parent / "manifest.csv", rows))
    with pytest.raises(PatientLeakError, match="more than one split"):
        start_run(plan, tmp_path / "run", cache=NoCache())
