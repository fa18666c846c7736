import dataclasses

from medlora.data.cache import NoCache
from medlora.preprocessing import Preprocessing
from medlora.runs.preparing import prepare_data
from medlora.runs.short_audit import audit_shortly
from run_samples import write_images

SMALL = Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def prepare(tmp_path, n_test=4, **counts):
    folder = write_images(tmp_path / "data", 10)
    for name, n_images in counts.items():
        for number in range(n_images, 10):
            (folder / name / f"{number:03d}.png").unlink()
    data = prepare_data(folder, SMALL, NoCache())
    splits = ["train"] * data.table.n_images
    splits[-n_test:] = ["test"] * n_test
    splits[0] = "val"
    return data.with_table(data.table.with_splits(splits))


def test_a_small_test_split_is_said_to_be_small(tmp_path) -> None:
    found = audit_shortly(prepare(tmp_path))
    assert len(found) == 1
    assert "With 4 test images an accuracy of .90" in found[0]


def test_without_a_test_split_there_is_nothing_to_say(tmp_path) -> None:
    data = prepare(tmp_path)
    table = data.table.with_splits(["train"] * data.table.n_images)
    assert audit_shortly(data.with_table(table)) == []


def test_rare_classes_copies_and_contradictions_are_said(tmp_path) -> None:
    data = prepare(tmp_path, light=1, n_test=1)
    assert any("light has 1 image, dark has 10" in own for own in audit_shortly(data))
    sha256 = list(data.sha256)
    sha256[0] = sha256[1]
    sha256[2] = sha256[-1]
    found = audit_shortly(dataclasses.replace(data, sha256=tuple(sha256)))
    assert any("1 of the 1 validation images are byte for byte" in own for own in found)
    assert any("1 group of identical files has labels that differ" in own for own in found)


def test_images_of_one_patient_count_once(tmp_path) -> None:
    data = prepare(tmp_path, n_test=4)
    patients = ("p",) * data.table.n_images
    table = dataclasses.replace(data.table, patients=patients)
    found = audit_shortly(data.with_table(table))
    assert "4 test images of 1 patients or groups" in found[0]
