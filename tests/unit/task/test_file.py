import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from medlora.errors import (
    FormatVersionError,
    SettingsError,
    StorageError,
    TaskFileError,
    WrongBackboneError,
)
from medlora.task.card import SelfCheck
from medlora.task.file import (
    Task,
    check_backbone,
    convert_task,
    load_task,
    pack_task,
    save_task,
    unpack_task,
)
from tests.unit.task.task_samples import (
    FINGERPRINT,
    draw_tensor,
    edit_envelope,
    edit_header,
    forge_file,
    join_file,
    make_adapter,
    make_card,
    make_full_task,
    make_task,
    make_tensors,
    same_task,
    split_file,
)

ROOT = Path(__file__).resolve().parents[3]
PLACE = "tb.safetensors"


def make_linear_task() -> Task:
    card = make_card(method="linear", adapter=None)
    return Task(card, {"head.weight": draw_tensor(2, 5), "head.bias": draw_tensor(2)})


SAMPLES = [make_task, make_full_task, make_linear_task]


@pytest.mark.parametrize("make", SAMPLES)
def test_task_comes_back_to_the_bit(make: Callable[[], Task]) -> None:
    task = make()
    content = pack_task(task)
    loaded = unpack_task(content, PLACE)
    assert same_task(loaded, task)
    assert pack_task(loaded) == content


@pytest.mark.parametrize("make", SAMPLES)
def test_the_format_has_a_second_spelling(make: Callable[[], Task]) -> None:
    """The safetensors library and a digest computed elsewhere give the same file."""
    task = make()
    content = pack_task(task)
    assert forge_file(task.card.to_dict(), task.tensors) == content
    read = safetensors.torch.load(content)
    assert same_task(Task(task.card, read), task)


def test_file_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib\n"
        "from tests.unit.task.task_samples import make_full_task, make_task\n"
        "from medlora.task.file import pack_task, unpack_task\n"
        "for task in (make_task(), make_full_task()):\n"
        "    content = pack_task(task)\n"
        "    assert pack_task(unpack_task(content, 'x')) == content\n"
        "    print(hashlib.sha256(content).hexdigest())\n"
    )
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "4242")
    ]
    outputs = [run.communicate()[0].split() for run in runs]
    assert len(outputs[0]) == 2
    assert outputs[0] == outputs[1]


def test_insertion_order_does_not_matter() -> None:
    task = make_task()
    backwards = Task(
        make_card(
            adapter=make_adapter(layers=dict(reversed(make_adapter().layers.items()))),
            software=dict(reversed(task.card.software.items())),
        ),
        dict(reversed(task.tensors.items())),
    )
    assert pack_task(backwards) == pack_task(task)


def test_memory_layout_and_gradients_do_not_matter() -> None:
    task = make_full_task()
    changed = dict(task.tensors)
    weight = task.tensors["trained.conv.weight"]
    changed["trained.conv.weight"] = weight.to(memory_format=torch.channels_last)
    changed["head.weight"] = torch.nn.Parameter(task.tensors["head.weight"].t().contiguous().t())
    changed["head.bias"] = torch.cat([task.tensors["head.bias"], torch.ones(2)])[:2]
    assert not changed["trained.conv.weight"].is_contiguous()
    assert not changed["head.weight"].is_contiguous()
    assert pack_task(Task(task.card, changed)) == pack_task(task)


@pytest.mark.parametrize("make", SAMPLES)
def test_loaded_tensors_own_their_memory(make: Callable[[], Task]) -> None:
    content = pack_task(make())
    loaded = unpack_task(content, PLACE)
    for tensor in loaded.tensors.values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        assert tensor.is_contiguous()
        tensor.zero_()
    assert same_task(unpack_task(content, PLACE), make())


def edit_card(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda content: edit_envelope(content, lambda values: values["card"].update(changes))


def flip_last_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def rewrite_with_library(**changes: Any) -> Callable[[bytes], bytes]:
    """What somebody gets who opens the file with the safetensors library and saves it again."""

    def rewrite(content: bytes) -> bytes:
        metadata = split_file(content)[0]["__metadata__"]
        tensors = {**safetensors.torch.load(content), **changes}
        kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        return safetensors.torch.save(kept, metadata)

    return rewrite


def replace_metadata(text: str) -> Callable[[bytes], bytes]:
    return lambda content: edit_header(
        content, lambda header: header["__metadata__"].update(medlora=text)
    )


def rewrite_header(content: bytes, old: bytes, new: bytes) -> bytes:
    begin = 8 + int.from_bytes(content[:8], "little")
    text = content[8:begin].replace(old, new, 1)
    return len(text).to_bytes(8, "little") + text + content[begin:]


FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "has 0 bytes, too few for a task file"),
    "truncated header": (lambda content: content[:500], "is truncated: its header takes"),
    "truncated tensors": (lambda content: content[:-5], "is truncated: its tensors take"),
    "appended": (lambda content: content + b"\0", "1 bytes follow its last tensor"),
    "damaged number": (flip_last_bit, "does not match the digest in its metadata"),
    "damaged header": (lambda content: content[:9] + b"\xff" + content[10:], "not UTF-8 text"),
    "tampered name": (edit_card(name="other"), "does not match the digest"),
    "tampered thresholds": (edit_card(thresholds=[0.9, 0.9]), "does not match the digest"),
    "swapped classes": (edit_card(classes=["tuberculosis é", "normal"]), "not match the digest"),
    "tampered type": (edit_card(name=1), "'name' must be text, not 1. The file is damaged or was"),
    "missing key": (
        lambda content: edit_envelope(content, lambda values: values["card"].pop("note")),
        "the key 'note' is missing",
    ),
    "unknown key": (edit_card(extra=1), "the key 'extra' is unknown"),
    "no digest": (
        lambda content: edit_envelope(content, lambda values: values.pop("sha256")),
        "the key 'sha256' is missing",
    ),
    "odd digest": (
        lambda content: edit_envelope(content, lambda values: values.update(sha256=1)),
        "its digest is 1, which is no text",
    ),
    "digest in capitals": (
        lambda content: edit_envelope(
            content, lambda values: values.update(sha256=values["sha256"].upper())
        ),
        "does not match the digest",
    ),
    "missing tensor": (
        rewrite_with_library(**{"head.bias": None}),
        "the tensor 'head.bias' is missing",
    ),
    "extra tensor": (
        rewrite_with_library(**{"head.scale": torch.ones(1)}),
        r"the tensor 'head\.scale' is unexpected",
    ),
    "wrong shape": (
        rewrite_with_library(**{"head.bias": torch.ones(3)}),
        r"'head\.bias' has the wrong shape: it must be \(2,\) for the card's 2 classes, not \(3,\)",
    ),
    "wrong type": (
        rewrite_with_library(**{"head.bias": torch.ones(2).double()}),
        r"'head\.bias' must be of type F32, F16 or BF16, not F64",
    ),
    "other values": (
        rewrite_with_library(**{"head.bias": torch.ones(2)}),
        "does not match the digest",
    ),
    "reshaped": (
        rewrite_with_library(**{"adapter.fc.A": torch.ones(2, 4)}),
        "does not match the digest",
    ),
    "no metadata": (
        lambda content: edit_header(content, lambda header: header.pop("__metadata__")),
        "is not a task file: its metadata have no key 'medlora'",
    ),
    "other metadata": (
        lambda content: edit_header(
            content, lambda header: header.update(__metadata__={"format": "pt"})
        ),
        "is not a task file: its metadata have no key 'medlora'",
    ),
    "more metadata": (
        lambda content: edit_header(
            content, lambda header: header["__metadata__"].update(format="pt")
        ),
        "Another program rewrote the file",
    ),
    "metadata no text": (
        lambda content: edit_header(
            content, lambda header: header["__metadata__"].update(medlora={})
        ),
        "its metadata are not text",
    ),
    "half a character": (replace_metadata('{"card":"\ufffd'), "card is not valid JSON"),
    "card no object": (replace_metadata("[]"), "'card' must be an object"),
    "deep bomb": (replace_metadata("[" * 100_000), "card is nested 100000 deep; at most 32"),
    "wide bomb": (
        replace_metadata('{"card":"' + "x" * 2**22 + '"}'),
        "card takes 4194315 bytes; at most 4194304 are read",
    ),
    "header bomb": (
        lambda _: join_file({"a": json.loads("[" * 60 + "]" * 60)}, b""),
        "header is nested 61 deep; at most 32",
    ),
    "huge header": (
        lambda content: (2**62).to_bytes(8, "little") + content[8:],
        "states a header of 4611686018427387904 bytes; at most 8388608",
    ),
    "spaces in the header": (
        lambda content: rewrite_header(content, b'"dtype":', b'"dtype": '),
        "Another program rewrote the file",
    ),
    "reordered header": (
        lambda content: edit_header(
            content, lambda header: header.update(__metadata__=header.pop("__metadata__"))
        ),
        "Another program rewrote the file",
    ),
    "respelt card": (
        lambda content: edit_header(
            content,
            lambda header: header["__metadata__"].update(
                medlora=header["__metadata__"]["medlora"].replace('"card":', '"card": ')
            ),
        ),
        "Another program rewrote the file",
    ),
    "picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(99), "is not a task file"),
    "pickle": (lambda _: b"\x80\x04\x95" + bytes(99), "not valid JSON|is not a task file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_own_error(fault: str) -> None:
    spoil, message = FAULTS[fault]
    content = spoil(pack_task(make_task()))
    with pytest.raises(TaskFileError, match=f"^{PLACE}.*({message})") as caught:
        unpack_task(content, PLACE)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_unknown_version_is_told_before_anything_else() -> None:
    content = edit_envelope(
        pack_task(make_task()),
        lambda values: values.update(card={"format_version": 2, "new": 1}, more=2),
    )
    header, _ = split_file(content)
    header["x"] = {"dtype": "F4", "shape": [1], "codec": "new"}
    with pytest.raises(
        FormatVersionError, match=f"^{PLACE} has format version 2; this MedLoRA reads version 1"
    ):
        unpack_task(join_file(header, b"other"), PLACE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["head.bias", "adapter.fc.B", "trained.norm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_must_be_finite(value: float, name: str, dtype: torch.dtype) -> None:
    tensors = {**make_tensors(), "trained.norm": torch.ones(3)}
    tensors[name] = tensors[name].to(dtype).clone()
    tensors[name].reshape(-1)[1] = value
    message = f"the tensor '{name}' holds NaN or infinity"
    with pytest.raises(TaskFileError, match=f"^Task 'tb-cxr': {message}"):
        pack_task(Task(make_card(), tensors))
    with pytest.raises(TaskFileError, match=f"^{PLACE}: {message}"):
        unpack_task(forge_file(make_card().to_dict(), tensors), PLACE)


def test_truth_values_are_zero_or_one() -> None:
    mask = torch.tensor([2, 0, 1], dtype=torch.uint8).view(torch.bool)
    task = make_full_task()
    content = forge_file(task.card.to_dict(), {**task.tensors, "trained.mask": mask})
    with pytest.raises(TaskFileError, match=r"'trained\.mask' holds neither true nor false"):
        unpack_task(content, PLACE)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("head.bias", None, "'head.bias' is not a plain tensor with values"),
        ("head.bias", [0.0, 1.0], "'head.bias' is not a plain tensor with values"),
        ("head.bias", torch.empty(2, device="meta"), "is not a plain tensor with values"),
        ("head.bias", torch.ones(2).to_sparse(), "is not a plain tensor with values"),
        ("head.bias", torch.ones(2, dtype=torch.complex64), "has the type torch.complex64; a "),
        ("head.bias", torch.ones(3), "'head.bias' has the wrong shape"),
        ("trained.x", torch.ones(0), "'trained.x' is empty; leave it out"),
        ("other", torch.ones(1), "'other' is unexpected"),
        (7, torch.ones(1), "a tensor's name must be text, not 7"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(name: Any, tensor: Any, message: str) -> None:
    with pytest.raises(TaskFileError, match=f"^Task 'tb-cxr'.*{re.escape(message)}"):
        pack_task(Task(make_card(), {**make_tensors(), name: tensor}))


def test_card_too_large_to_be_read_is_not_saved() -> None:
    card = make_card(data={f"part_{i}": "ab" * 400_000 for i in range(6)})
    with pytest.raises(TaskFileError, match=r"card takes \d{7} bytes; at most 4194304 can be kept"):
        pack_task(Task(card, make_tensors()))


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tb-cxr.safetensors"
    save_task(path, make_task())
    assert path.read_bytes() == pack_task(make_task())
    assert same_task(load_task(path), make_task())
    save_task(path, load_task(path))
    assert path.read_bytes() == pack_task(make_task())
    assert [file.name for file in path.parent.iterdir()] == ["tb-cxr.safetensors"]


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    with pytest.raises(StorageError, match=r"The task file .*odd\.safetensors cannot be read"):
        load_task(path)
    path.write_bytes(b"nothing")
    with pytest.raises(TaskFileError, match=r"^odd\.safetensors has 7 bytes"):
        load_task(path)


class FullDisk(io.BytesIO):
    """A stream that takes half of what it is given."""

    def write(self, content: Any) -> int:
        super().write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name", "replacement"),
    [
        (os, "replace", refuse),
        (os, "fsync", refuse),
        (Path, "open", lambda *_: FullDisk()),
        (Path, "open", refuse),
    ],
)
def test_failed_save_leaves_the_old_file(
    owner: Any, name: str, replacement: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tb-cxr.safetensors"
    save_task(path, make_task())
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, replacement)
        with pytest.raises(StorageError, match=r"could not be written \(No space left on device\)"):
            save_task(path, make_task(name="newer"))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before
    save_task(path, make_task(name="newer"))
    assert load_task(path).card.name == "newer"


def test_refused_task_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "tb-cxr.safetensors"
    save_task(path, make_task())
    with pytest.raises(TaskFileError, match="is missing"):
        save_task(path, Task(make_card(), {}))
    assert same_task(load_task(path), make_task())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def make_vit_b16_task() -> Task:
    """Rank 4 on q and v of ViT-B/16 with two classes, and a card as long as a real one."""
    layers = {f"blocks.{index}.attn.qkv": ("q", "v") for index in range(12)}
    metric = {"value": 0.8943217654321, "low": 0.8312345678912, "high": 0.9412345678901}
    card = make_card(
        adapter=make_adapter(rank=4, layers=layers),
        training={f"setting_{index}": 0.123456789 for index in range(40)},
        data={split: {"n_images": 530, "sha256": "ab" * 32} for split in ("train", "val", "test")},
        metrics={
            split: {
                f"{kind}_{index}": metric for kind in ("overall", "class") for index in range(9)
            }
            for split in ("val", "test", "unseen")
        },
        note="For research only. " * 50,
        self_check=SelfCheck(0, 4, ((0.123456789, 0.876543211),) * 4, 1e-4),
    )
    tensors = {"head.weight": draw_tensor(2, 768), "head.bias": draw_tensor(2)}
    for path in layers:
        for part in "qv":
            tensors[f"adapter.{path}.{part}.A"] = draw_tensor(4, 768)
            tensors[f"adapter.{path}.{part}.B"] = draw_tensor(768, 4)
    return Task(card, tensors)


@pytest.mark.parametrize(
    ("dtype", "max_bytes"), [("float32", 650_000), ("float16", 350_000), ("bfloat16", 350_000)]
)
def test_vit_b16_of_rank_4_takes_little_room(dtype: Any, max_bytes: int) -> None:
    task = make_vit_b16_task()
    assert sum(tensor.numel() for tensor in task.tensors.values()) == 148_994
    assert len(pack_task(convert_task(task, dtype))) <= max_bytes


@pytest.mark.parametrize(
    ("dtype", "torch_type"),
    [
        ("float32", torch.float32),
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
    ],
)
def test_convert_changes_floats_only(dtype: Any, torch_type: torch.dtype) -> None:
    task = make_full_task()
    converted = convert_task(task, dtype)
    assert converted.card == task.card
    for name, tensor in task.tensors.items():
        expected = tensor.to(torch_type) if tensor.is_floating_point() else tensor
        assert converted.tensors[name].dtype == expected.dtype
        assert torch.equal(converted.tensors[name], expected)
    assert same_task(task, make_full_task())
    assert same_task(unpack_task(pack_task(converted), PLACE), converted)


def test_convert_refuses_what_does_not_fit() -> None:
    task = make_task()
    task.tensors["head.bias"] = torch.tensor([0.0, -70_000.0])
    message = r"'head\.bias' holds 7e\+04, which float16 cannot. Save it in float32 or bfloat16"
    with pytest.raises(TaskFileError, match=message):
        convert_task(task, "float16")
    with pytest.raises(
        SettingsError, match="must be one of float32, float16, bfloat16, not 'int8'"
    ):
        convert_task(task, "int8")  # type: ignore[arg-type]


def test_its_own_backbone_is_taken() -> None:
    check_backbone(make_task(), "vit_base_patch16_224", FINGERPRINT, PLACE)


@pytest.mark.parametrize(
    ("name", "fingerprint", "shown"),
    [
        ("vit_base_patch16_224", "c210aa" + "0" * 58, "@c210aa"),
        ("vit_base_patch16_clip_224", FINGERPRINT, "vit_base_patch16_clip_224@3f9a12"),
        ("resnet50", "c210aa" + "0" * 58, "resnet50@c210aa"),
    ],
)
def test_another_backbone_is_refused(name: str, fingerprint: str, shown: str) -> None:
    message = (
        "Task 'tb-cxr' was trained on backbone vit_base_patch16_224@3f9a12; "
        f"this is {shown} (tb.safetensors). "
        "Load that backbone's weights, or train the task again."
    )
    with pytest.raises(WrongBackboneError, match=f"^{re.escape(message)}$"):
        check_backbone(make_task(), name, fingerprint, PLACE)
