import io
import json

import pytest

from medlora.errors import FormatVersionError, StorageError, TaskFileError, WrongBackboneError
from medlora.task import heading
from medlora.task.container import MAX_HEADER_BYTES, read_head
from medlora.task.file import pack_task, save_task
from medlora.task.heading import check_card_backbone, parse_heading, read_heading
from tests.unit.task.task_samples import (
    FINGERPRINT,
    edit_envelope,
    make_card,
    make_full_task,
    make_task,
    split_file,
)


@pytest.mark.parametrize("task", [make_task(), make_full_task()], ids=["lora", "full"])
def test_the_heading_says_what_the_file_holds(tmp_path, task) -> None:
    path = tmp_path / "a.safetensors"
    save_task(path, task)
    content = path.read_bytes()
    header, data = split_file(content)
    found = read_heading(path)
    assert found.card == task.card
    assert found.sha256 == json.loads(header["__metadata__"]["medlora"])["sha256"]
    assert {name: entry.shape for name, entry in found.entries.items()} == {
        name: tuple(tensor.shape) for name, tensor in task.tensors.items()
    }
    for name, begin in found.offsets.items():
        offsets = header[name]["data_offsets"]
        part = data[offsets[0] : offsets[1]]
        assert content[begin : begin + found.entries[name].n_bytes] == part
    assert (found.n_head_bytes, found.n_bytes) == (len(content) - len(data), len(content))


def test_no_tensor_is_read(tmp_path, monkeypatch) -> None:
    """Tensors of which nothing is left but their room make the same heading."""
    path, sparse = tmp_path / "a.safetensors", tmp_path / "sparse.safetensors"
    save_task(path, make_task())
    expected = read_heading(path)
    with sparse.open("wb") as stream:
        stream.write(path.read_bytes()[: expected.n_head_bytes])
        stream.truncate(expected.n_bytes)
    seen = []

    def spy(stream):
        seen.append(read_head(stream))
        return seen[-1]

    monkeypatch.setattr(heading, "read_head", spy)
    assert read_heading(sparse) == expected
    assert [len(head) for head in seen] == [expected.n_head_bytes]


@pytest.mark.parametrize("n_kept", [0, 5, 9, 100])
def test_a_file_cut_in_its_header_is_refused(tmp_path, n_kept) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(pack_task(make_task())[:n_kept])
    with pytest.raises(TaskFileError, match=r"^cut\.safetensors .*truncated"):
        read_heading(path)


def test_a_file_cut_in_its_tensors_is_refused(tmp_path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(pack_task(make_task())[:-1])
    with pytest.raises(TaskFileError, match=r"^seed-0/cut\.safetensors is truncated: its tensors"):
        read_heading(path, "seed-0/cut.safetensors")


def test_a_file_of_another_format_is_refused(tmp_path) -> None:
    path = tmp_path / "new.safetensors"

    def edit(envelope) -> None:
        envelope["card"]["format_version"] = 99

    path.write_bytes(edit_envelope(pack_task(make_task()), edit))
    with pytest.raises(FormatVersionError, match="format version 99"):
        read_heading(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(StorageError, match=r"gone\.safetensors cannot be read \(No such file"):
        read_heading(tmp_path / "gone.safetensors")


def test_a_huge_header_is_refused_unread() -> None:
    stream = io.BytesIO((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * 100)
    content = read_head(stream)
    assert len(content) == 10
    with pytest.raises(TaskFileError, match=f"header of {MAX_HEADER_BYTES + 1} bytes; at most"):
        parse_heading(content, 108, "x")


@pytest.mark.parametrize(
    ("name", "fingerprint", "shown"),
    [
        ("vit_base_patch16_224", "c210aa" + "0" * 58, "this is @c210aa"),
        ("resnet18", FINGERPRINT, "this is resnet18@3f9a12"),
    ],
)
def test_another_backbone_is_refused_with_both_fingerprints(name, fingerprint, shown) -> None:
    card = make_card()
    check_card_backbone(card, card.backbone.name, card.backbone.fingerprint, "a")
    with pytest.raises(WrongBackboneError, match=f"vit_base_patch16_224@3f9a12; {shown}") as raised:
        check_card_backbone(card, name, fingerprint, "a.safetensors")
    assert "(a.safetensors)" in str(raised.value)
