import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from audit_samples import write_data
from medlora.backbones.weights import load_backbone
from medlora.data.cache import ImageCache, NoCache
from medlora.data.table import read_table
from medlora.errors import DataError, SettingsError
from medlora.report.audit_page import render_audit
from medlora.runs.audit_display import arrange_audit
from medlora.runs.audit_fix import find_leaking, write_fixed
from medlora.runs.audit_output import describe_audit, format_duplicates, format_label_errors
from medlora.runs.auditing import audit_data
from run_samples import write_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("audit") / "data")


@pytest.fixture(scope="module")
def audit(folder, tmp_path_factory):
    cache = ImageCache(tmp_path_factory.mktemp("cache"), 10**8)
    return audit_data(folder, cache=cache, backbone=load_backbone("test_vit", "random"))


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def sentences(audit, level) -> str:
    return "\n".join(own.sentence for own in audit.findings if own.level == level)


def test_copies_are_found_and_nothing_else(audit) -> None:
    rows = read_csv(format_duplicates(audit))
    copies = {row["path"]: row for row in rows if row["copy_of"]}
    assert {path: (row["copy_of"], row["likeness"]) for path, row in copies.items()} == {
        "test/dark/same.png": ("train/dark/train00.png", "bytes"),
        "test/light/near.jpg": ("train/light/train03.png", "near"),
        "train/light/odd.png": ("train/dark/train05.png", "pixels"),
    }
    assert len(rows) == 6
    assert copies["test/light/near.jpg"]["lies"] == "mirrored left to right"
    assert copies["train/light/odd.png"]["labels_differ"] == "yes"
    assert [row["across_splits"] for row in rows] == ["yes"] * 4 + ["no"] * 2


def test_leaks_and_contradictions_block(audit) -> None:
    assert audit.is_blocked
    blocking = sentences(audit, "blocks")
    assert "1 of the 26 test images are also in training or validation, pixel for pixel" in blocking
    assert "1 more of the 26 test images are near copies" in blocking
    assert "labels that differ" in blocking
    assert "1 of the groups of files with identical pixels has labels that differ" in blocking
    assert "1 group of identical files (2 images), 1 of them across" in sentences(audit, "notes")
    assert "No patients are named" in sentences(audit, "notes")


def test_the_label_can_be_told_from_the_intensity(audit) -> None:
    assert "told from mean intensity alone" in sentences(audit, "warns")
    best = {own.fact: own.auroc for own in audit.shortcuts}
    assert best["mean intensity"] > 0.9
    assert "width" not in best or best["width"] < 0.6


def test_what_the_test_split_can_show_counts_copies_once(audit) -> None:
    assert (audit.power.n_images, audit.power.n_units, audit.power.n_clean) == (26, 26, 24)


def test_the_record_is_json_and_the_page_shows_the_pictures(audit) -> None:
    record = json.loads(json.dumps(describe_audit(audit, "medlora audit x"), allow_nan=False))
    assert record["counts"]["test"] == {"dark": 13, "light": 13}
    assert [own["likeness"] for own in record["duplicates"]] == ["bytes", "near", "pixels"]
    page = render_audit(arrange_audit(audit, "medlora audit x"))
    assert page.count("data:image/png") == 6 + len(arrange_audit(audit).issues)
    assert "test/light/near.jpg" in page
    assert "<script" not in page


def test_label_errors_are_ranked(audit) -> None:
    rows = read_csv(format_label_errors(audit))
    assert [row["rank"] for row in rows] == [str(place + 1) for place in range(len(rows))]
    assert all(row["label"] != row["suggested"] for row in rows)


def test_a_second_audit_finds_the_same_without_decoding(folder, tmp_path, monkeypatch) -> None:
    cache = ImageCache(tmp_path / "cache", 10**8)
    first = describe_audit(audit_data(folder, cache=cache))
    monkeypatch.setattr("medlora.runs.audit_reading.decode_image", None)
    assert describe_audit(audit_data(folder, cache=cache)) == first


def test_unreadable_images_are_left_out_and_block(folder, tmp_path) -> None:
    data = write_data(tmp_path / "data")
    (data / "train" / "dark" / "broken.png").write_bytes(b"\x89PNG nothing")
    found = audit_data(data, cache=NoCache())
    assert found.table.n_images == audit_data(folder, cache=NoCache()).table.n_images
    assert "1 image cannot be read" in sentences(found, "blocks")
    assert describe_audit(found)["unreadable"][0]["path"] == "train/dark/broken.png"
    for path in data.rglob("*.*"):
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="None of the 52 images"):
        audit_data(data, cache=NoCache())


def test_the_fixed_manifest_has_no_leak_and_nothing_else_is_lost(audit, folder, tmp_path) -> None:
    leaking = [audit.table.locations[row] for row in np.flatnonzero(find_leaking(audit))]
    assert leaking == ["test/dark/same.png", "test/light/near.jpg"]
    fixed = write_fixed(audit, folder, tmp_path / "fixed.csv")
    assert (fixed.n_images, fixed.n_left_out) == (49, {"test": 2})
    table = read_table(tmp_path / "fixed.csv", group_by="group")
    assert table.n_images == 49
    groups = dict(zip(table.locations, table.patients, strict=True))
    of_odd = [group for place, group in groups.items() if place.endswith("light/odd.png")]
    of_dark = [group for place, group in groups.items() if place.endswith("dark/train05.png")]
    assert of_odd == of_dark
    again = audit_data(tmp_path / "fixed.csv", cache=NoCache(), group_by="group")
    assert "also in training" not in sentences(again, "blocks")


def test_a_manifest_keeps_its_columns_and_is_not_written_over(folder, tmp_path) -> None:
    rows = [
        {
            "path": str(path),
            "label": path.parent.name,
            "split": path.parent.parent.name,
            "patient": f"p{number // 2}",
            "scanner": f"x{number % 3}",
        }
        for number, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    manifest = write_manifest(tmp_path / "data.csv", rows)
    found = audit_data(manifest, cache=NoCache())
    with pytest.raises(SettingsError, match="would write over"):
        write_fixed(found, manifest, manifest)
    with pytest.raises(SettingsError, match=r"must end in \.csv"):
        write_fixed(found, manifest, tmp_path / "fixed.txt")
    write_fixed(found, manifest, tmp_path / "fixed.csv")
    header = (tmp_path / "fixed.csv").read_text().splitlines()[0]
    assert header == "path,label,split,sha256,patient,scanner,group"


def test_patients_in_several_splits_block_and_are_not_named(folder, tmp_path) -> None:
    rows = [
        {
            "path": str(path),
            "label": path.parent.name,
            "split": path.parent.parent.name,
            "patient": f"Doe {number % 12}",
        }
        for number, path in enumerate(sorted(folder.rglob("*[0-9].png")))
    ]
    found = audit_data(write_manifest(tmp_path / "data.csv", rows), cache=NoCache())
    assert "12 patients have images in several splits" in sentences(found, "blocks")
    assert "Doe" not in json.dumps(describe_audit(found))
    assert not find_leaking(found)[found.table.rows_in("train")].any()
    with pytest.raises(SettingsError, match="would write over"):
        write_fixed(found, tmp_path / "data.csv", tmp_path / "data.csv")


def test_images_of_one_photograph_are_found_alike_and_kept_together(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(72):
        photo = number // 3
        colour = np.random.default_rng(photo).uniform(0.3, 1, 3)
        pixels = (0.5 + rng.random((32, 32, 1)) / 2) * colour * 255
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number:02d}.png")
        label, split = ("ab"[photo % 2], "test" if photo > 19 else "train")
        row = {"path": f"{number:02d}.png", "label": label, "split": split}
        rows.append(row | {"photo": f"f{photo}"})
    manifest = write_manifest(tmp_path / "data.csv", rows)
    network = load_backbone("test_vit", "random")
    found = audit_data(manifest, cache=NoCache(), backbone=network)
    assert found.pairs.rows.tolist() == []
    assert "Images of one photo are alike" in sentences(found, "warns")
    assert "use --group-by photo" in sentences(found, "warns")
    assert len(set(found.group_numbers.tolist())) == 24
    assert (found.power.n_images, found.power.n_units) == (12, 4)
    named = audit_data(manifest, cache=NoCache(), backbone=network, group_by="photo")
    assert "They are kept together" in sentences(named, "notes")
    assert "use --group-by" not in sentences(named, "warns")
