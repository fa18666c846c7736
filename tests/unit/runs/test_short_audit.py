import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from medlora.data.cache import NoCache
from medlora.data.source import split_frame
from medlora.errors import UnreadableImageError
from medlora.preprocessing import Preprocessing
from medlora.runs.preparing import prepare_data
from medlora.runs.short_audit import MIN_FACT_IMAGES, audit_shortly, keep_audit
from run_samples import write_images

SMALL = Preprocessing((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def prepare(tmp_path, n_test=4, n_per_class=10, **counts):
    folder = write_images(tmp_path / "data", n_per_class)
    for name, n_images in counts.items():
        for number in range(n_images, 10):
            (folder / name / f"{number:03d}.png").unlink()
    return divide(prepare_data(folder, SMALL, NoCache()), n_test)


def divide(data, n_test):
    splits = ["train"] * data.table.n_images
    splits[-n_test:] = ["test"] * n_test
    splits[0] = "val"
    return data.with_table(data.table.with_splits(splits))


def test_a_small_test_split_is_said_to_be_small(tmp_path) -> None:
    found = audit_shortly(prepare(tmp_path))
    assert len(found.sentences) == 1
    assert "With 4 test images an accuracy of .90" in found.sentences[0]
    assert found.power is not None
    assert (found.power.n_images, found.n_seen) == (4, {"test": 0, "val": 0})
    assert (found.n_groups, found.n_copies, found.n_patients_across) == (0, 0, None)


def test_without_a_test_split_there_is_nothing_to_say(tmp_path) -> None:
    data = prepare(tmp_path)
    table = data.table.with_splits(["train"] * data.table.n_images)
    found = audit_shortly(data.with_table(table))
    assert found.sentences == ()
    assert (found.power, found.n_seen) == (None, {})


def test_rare_classes_copies_and_contradictions_are_said(tmp_path) -> None:
    data = prepare(tmp_path, light=1, n_test=1)
    assert any("light has 1 image, dark has 10" in own for own in audit_shortly(data).sentences)
    sha256 = list(data.sha256)
    sha256[0] = sha256[1]
    sha256[2] = sha256[-1]
    found = audit_shortly(dataclasses.replace(data, sha256=tuple(sha256)))
    sentences = " ".join(found.sentences)
    assert "1 of the 1 validation images are byte for byte" in sentences
    assert "1 group of identical files has labels that differ" in sentences
    assert (found.n_groups, found.n_copies, found.n_groups_across) == (2, 4, 2)
    assert (found.n_groups_conflicting, found.n_seen) == (1, {"test": 1, "val": 1})


def test_images_of_one_patient_count_once(tmp_path) -> None:
    data = prepare(tmp_path, n_test=4)
    patients = ("p",) * data.table.n_images
    table = dataclasses.replace(data.table, patients=patients)
    found = audit_shortly(data.with_table(table))
    assert "4 test images of 1 patients or groups" in found.sentences[0]
    assert found.n_patients_across == 1


def test_too_few_files_tell_nothing_of_shortcuts(tmp_path) -> None:
    found = audit_shortly(prepare(tmp_path))
    assert (found.n_fact_images, found.shortcuts) == (0, ())


def test_files_that_give_the_label_away_are_told(tmp_path) -> None:
    n_per_class = MIN_FACT_IMAGES // 2
    folder = write_images(tmp_path / "data", n_per_class)
    for number in range(n_per_class):
        path = folder / "light" / f"{number:03d}.png"
        with Image.open(path) as picture:
            larger = picture.resize((40, 24))
        larger.save(path)
    data = divide(prepare_data(folder, SMALL, NoCache()), n_test=10)
    found = audit_shortly(data)
    assert found.n_fact_images == 2 * n_per_class
    assert found.shortcuts[0].fact == "all together"
    told = [own for own in found.sentences if "can be told from" in own]
    assert len(told) == 2
    # All 25 of a class lie on their side with a chance of .025 where the AUROC is .863.
    assert "from the facts of the files alone: AUROC 1.00 (95 % CI 0.86 to 1.00)" in told[0]
    singles = {own.fact for own in found.shortcuts if own.auroc == 1}
    assert {"width", "aspect"} <= singles
    record = found.to_dict()
    assert json.loads(json.dumps(record))["power"]["rows"][1]["accuracy"] == 0.9
    assert record["shortcuts"][0]["best_class"] in data.table.classes


def test_every_location_is_read_a_few_times_whatever_their_number(tmp_path, monkeypatch) -> None:
    folder = write_images(tmp_path / "data", MIN_FACT_IMAGES // 2)
    data = divide(prepare_data(folder, SMALL, NoCache()), n_test=10)
    asked = []

    def count(location):
        asked.append(location)
        return split_frame(location)

    monkeypatch.setattr("medlora.runs.preparing.split_frame", count)
    audit_shortly(data)
    assert 0 < len(asked) <= 3 * data.table.n_images


def test_files_that_are_alike_give_nothing_away(tmp_path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2 * MIN_FACT_IMAGES, 12, 12, 3), dtype=np.uint8)
    labels = np.arange(2 * MIN_FACT_IMAGES) % 2
    path = tmp_path / "data.npz"
    np.savez(path, train_images=pixels, train_labels=labels[:, None])
    found = audit_shortly(divide(prepare_data(path, SMALL, NoCache()), n_test=10))
    assert (found.n_fact_images, found.shortcuts) == (2 * MIN_FACT_IMAGES, ())


def test_an_audit_is_kept_and_not_made_again(tmp_path) -> None:
    data, path = prepare(tmp_path), tmp_path / "audit.json"
    keep_audit(path, data)
    first = path.read_bytes()
    assert json.loads(first)["n_seen"] == {"test": 0, "val": 0}
    keep_audit(path, data.with_table(data.table.with_splits(["train"] * data.table.n_images)))
    assert path.read_bytes() == first


def test_a_file_that_is_gone_is_named(tmp_path) -> None:
    data = prepare(tmp_path, n_per_class=MIN_FACT_IMAGES // 2)
    (tmp_path / "data" / "dark" / "003.png").unlink()
    with pytest.raises(UnreadableImageError, match=r"003\.png: cannot be opened"):
        audit_shortly(data)
