"""Thousands of spoilt task files: each is refused with a TaskFileError, or is the saved file."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

from medlora.errors import TaskFileError
from medlora.task.file import Task, pack_task, unpack_task
from tests.unit.task.task_samples import (
    draw_tensor,
    forge_file,
    format_plainly,
    join_file,
    make_adapter,
    make_card,
    make_factorised_task,
    make_full_task,
    make_novel_task,
    make_task,
    same_task,
    split_file,
)

N_FILES = 10_000
N_FORGED = 600

Generator = np.random.Generator
Mutation = Callable[[Generator, bytes], bytes]

ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    1,
    -1,
    2**31,
    2**63 - 1,
    0.5,
    1e308,
    -0.0,
    "",
    "a",
    "lora",
    "full",
    "é\u0000",
    "9" * 50,
    [],
    [1],
    ["a", "b"],
    [[0.5, 0.5]],
    {},
    {"a": []},
    {"a": {"a": {}}},
]


@pytest.fixture(autouse=True)
def stop_a_hang() -> Iterator[None]:
    """A file that hangs the reader fails the test instead of the whole run."""

    def stop(_: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"a file hangs the reader: {frame}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pick(rng: Generator, content: bytes) -> tuple[int, int]:
    """A stretch of the file, short as a rule."""
    begin = int(rng.integers(len(content)))
    return begin, min(len(content), begin + int(rng.choice([1, 2, 8, 64, 512])))


def flip_bits(rng: Generator, content: bytes) -> bytes:
    spoilt = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 8, 50]))):
        spoilt[int(rng.integers(len(spoilt)))] ^= 1 << int(rng.integers(8))
    return bytes(spoilt)


def flip_bits_of_numbers(rng: Generator, content: bytes) -> bytes:
    spoilt = bytearray(content)
    begin = 8 + int.from_bytes(content[:8], "little")
    spoilt[int(rng.integers(begin, len(spoilt)))] ^= 1 << int(rng.integers(8))
    return bytes(spoilt)


def truncate(rng: Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content)))]


def cut_out(rng: Generator, content: bytes) -> bytes:
    begin, end = pick(rng, content)
    return content[:begin] + content[end:]


def insert(rng: Generator, content: bytes) -> bytes:
    begin, end = pick(rng, content)
    return content[:begin] + rng.bytes(end - begin) + content[begin:]


def overwrite(rng: Generator, content: bytes) -> bytes:
    begin, end = pick(rng, content)
    return content[:begin] + rng.bytes(end - begin) + content[end:]


def overwrite_with_json(rng: Generator, content: bytes) -> bytes:
    begin, end = pick(rng, content)
    pieces = b'{ } [ ] , : " \\ " "" 0 -1 1e999 NaN null true {} [] \\" \\u0000 \\ud800'.split()
    return content[:begin] + pieces[int(rng.integers(len(pieces)))] + content[end:]


def swap(rng: Generator, content: bytes) -> bytes:
    first, second = sorted(rng.integers(len(content), size=2).tolist())
    n_bytes = int(min(rng.choice([1, 4, 64]), second - first, len(content) - second))
    return (
        content[:first]
        + content[second : second + n_bytes]
        + content[first + n_bytes : second]
        + content[first : first + n_bytes]
        + content[second + n_bytes :]
    )


def repeat(rng: Generator, content: bytes) -> bytes:
    begin, end = pick(rng, content)
    return content[:end] + content[begin:end] * int(rng.integers(1, 4)) + content[end:]


def append(rng: Generator, content: bytes) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 100)))


def edit_header_length(rng: Generator, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    choices = [0, 1, length - 8, length - 1, length + 1, length + 8, len(content), 2**23, 2**23 + 1]
    choices += [2**31, 2**32 + length, 2**63 - 8, 2**64 - 1, int(rng.integers(len(content)))]
    return choices[int(rng.integers(len(choices)))].to_bytes(8, "little") + content[8:]


def edit_entry(rng: Generator, content: bytes) -> bytes:
    """Offsets that overlap or overflow, other shapes and types, in well-formed JSON."""
    header, data = split_file(content)
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[int(rng.integers(len(names)))]]
    key = ["dtype", "shape", "data_offsets"][int(rng.integers(3))]
    if key == "dtype":
        entry["dtype"] = ["F64", "F16", "BF16", "I32", "U8", "BOOL", "F4", "", 1][rng.integers(9)]
    else:
        sides = entry[key]
        steps = [-8, -4, -1, 1, 4, 8, 2**31, 2**40, 2**62, -(2**40)]
        for _ in range(int(rng.integers(1, 3))):
            index = int(rng.integers(max(len(sides), 1)))
            sides[index:] = [
                sum(sides[index : index + 1]) + steps[int(rng.integers(len(steps)))],
                *sides[index + 1 :],
            ]
    return join_file(header, data)


def swap_entries(rng: Generator, content: bytes) -> bytes:
    """Two tensors under each other's names."""
    header, data = split_file(content)
    names = [name for name in header if name != "__metadata__"]
    first, second = rng.choice(len(names), size=2, replace=False)
    header[names[first]], header[names[second]] = header[names[second]], header[names[first]]
    return join_file(header, data)


def rename_entry(rng: Generator, content: bytes) -> bytes:
    header, data = split_file(content)
    name = list(header)[int(rng.integers(len(header)))]
    others = ["", "head.bias", "adapter.x.A", "trained.x", "x" * 3000, "\ud800", name + "é"]
    header[others[int(rng.integers(len(others)))]] = header.pop(name)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def repeat_key(rng: Generator, content: bytes) -> bytes:
    header, data = split_file(content)
    name = list(header)[int(rng.integers(len(header)))]
    text = format_plainly(header)[:-1] + f',"{name}":{format_plainly(header[name])}}}'
    return len(text.encode()).to_bytes(8, "little") + text.encode() + data


def nest_deeply(rng: Generator, content: bytes) -> bytes:
    header, data = split_file(content)
    opening = ["[", '{"a":', '[{"":'][int(rng.integers(3))]
    bomb = opening * int(rng.choice([10, 31, 32, 33, 1000, 20_000]))
    if rng.integers(2):
        header["__metadata__"]["medlora"] = bomb
        return join_file(header, data)
    text = ('{"a":' + bomb).encode()
    return len(text).to_bytes(8, "little") + text + data


def blow_up(rng: Generator, content: bytes) -> bytes:
    header, data = split_file(content)
    piece = ["[],", "0,", '"",', "1" * 5000 + ",", "1e" + "9" * 400 + ",", '\\"', '"\\'][
        rng.integers(7)
    ]
    header["__metadata__"]["medlora"] = '{"card":[' + piece * int(rng.choice([1, 100, 1000]))
    return join_file(header, data)


def edit_card(rng: Generator, content: bytes) -> bytes:
    """Another value in the card, in well-formed JSON, under the old digest."""
    header, data = split_file(content)
    envelope = json.loads(header["__metadata__"]["medlora"])
    replace_node(rng, envelope)
    header["__metadata__"]["medlora"] = format_plainly(envelope)
    return join_file(header, data)


def replace_node(rng: Generator, value: Any) -> None:
    """Put an odd value somewhere into a JSON value, take a node away, or add one."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = keys[int(rng.integers(len(keys)))]
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        kind = rng.random()
        odd = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
        if kind < 0.15:
            del value[key]
        elif kind < 0.3 and isinstance(value, dict):
            value[f"{key}{rng.integers(10)}"] = odd
        elif kind < 0.5 and type(value[key]) in (int, float):
            value[key] = value[key] * float(rng.choice([-1, 0.5, 2, 1e9]))
        else:
            value[key] = odd
        return


def make_small_task() -> Task:
    """All that a file can hold, and little of it: ten thousand have to be read in seconds."""
    adapter = make_adapter(rank=1, layers={"fc": (), "qkv": ("q",)})
    card = make_card(
        adapter=adapter, training={"seed": 1}, data={}, metrics={}, software={}, self_check=None
    )
    tensors = {
        "adapter.fc.A": draw_tensor(1, 3),
        "adapter.fc.B": draw_tensor(2, 1),
        "adapter.qkv.q.A": draw_tensor(1, 3),
        "adapter.qkv.q.B": draw_tensor(2, 1),
        "head.bias": draw_tensor(2),
        "head.weight": draw_tensor(2, 2),
    }
    return Task(card, tensors)


BLIND_MUTATIONS: list[Mutation] = [
    flip_bits,
    truncate,
    cut_out,
    insert,
    overwrite,
    overwrite_with_json,
    swap,
    repeat,
]
MUTATIONS: list[Mutation] = [
    *BLIND_MUTATIONS,
    append,
    flip_bits_of_numbers,
    edit_header_length,
    edit_entry,
    swap_entries,
    rename_entry,
    repeat_key,
    nest_deeply,
    blow_up,
    edit_card,
]


def test_mutated_files_are_refused() -> None:
    rng = np.random.default_rng(20250131)
    tasks = [make_small_task(), make_task(), make_full_task(), make_factorised_task()]
    tasks.append(make_novel_task())
    contents = [pack_task(task) for task in tasks]
    refused: Counter[str] = Counter()
    for index in range(N_FILES):
        mutation = MUTATIONS[index % len(MUTATIONS)]
        which = int(rng.choice(len(tasks), p=[0.6, 0.1, 0.1, 0.1, 0.1]))
        spoilt = mutation(rng, contents[which])
        if rng.random() < 0.1:
            spoilt = BLIND_MUTATIONS[int(rng.integers(8))](rng, spoilt or b"\0")
        try:
            loaded = unpack_task(spoilt, "x")
        except TaskFileError:
            refused[mutation.__name__] += 1
        else:
            # Every byte of the file counts, so the one file that loads is the file itself.
            assert spoilt == contents[which], mutation.__name__
            assert same_task(loaded, tasks[which])
    n_each = N_FILES // len(MUTATIONS)
    assert all(refused[mutation.__name__] > 0.85 * n_each for mutation in MUTATIONS), refused


@pytest.mark.parametrize("make", [make_task, make_factorised_task, make_novel_task])
def test_forged_cards_are_refused_or_read_as_they_stand(make: Callable[[], Task]) -> None:
    """With a valid digest the card's own rules are the only guard."""
    rng = np.random.default_rng(7)
    task = make()
    n_loaded = 0
    for _ in range(N_FORGED):
        card = task.card.to_dict()
        for _ in range(int(rng.integers(1, 3))):
            replace_node(rng, card)
        content = forge_file(card, task.tensors)
        try:
            loaded = unpack_task(content, "x")
        except TaskFileError:
            continue
        n_loaded += 1
        assert pack_task(loaded) == content
    assert 0.02 * N_FORGED < n_loaded < 0.6 * N_FORGED


@pytest.mark.parametrize("make", [make_task, make_factorised_task, make_novel_task])
def test_forged_tensors_are_refused_or_read_as_they_stand(make: Callable[[], Task]) -> None:
    rng = np.random.default_rng(8)
    task = make()
    n_loaded = 0
    for _ in range(N_FORGED // 3):
        tensors = dict(task.tensors)
        name = list(tensors)[int(rng.integers(len(tensors)))]
        shape = rng.integers(1, 4, size=int(rng.choice([0, 1, 2, 4]))).tolist()
        tensor = draw_tensor(*shape) if rng.random() < 0.7 else tensors[name]
        types = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64]
        tensors[name] = tensor.to(types[int(rng.choice(5, p=[0.6, 0.1, 0.1, 0.1, 0.1]))])
        content = forge_file(task.card.to_dict(), tensors)
        try:
            loaded = unpack_task(content, "x")
        except TaskFileError:
            continue
        n_loaded += 1
        assert same_task(loaded, Task(task.card, tensors))
    assert n_loaded > 20
