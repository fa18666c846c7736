import json
from dataclasses import replace

import pytest

from medlora.errors import FormatVersionError, TaskFileError
from medlora.exchange.companion import (
    Companion,
    compute_seal,
    pack_companion,
    unpack_companion,
)
from medlora.exchange.peft_config import PeftConfig
from tests.unit.task.task_samples import draw_tensor, make_card, make_novel_task, same_bits

COMPANION = Companion(make_card(), ("norm.weight",), "ab" * 32)
CONFIG = PeftConfig(2, 4.0)
PAIRS = {"fc": (draw_tensor(2, 3), draw_tensor(4, 2))}
SAVED = {"head.weight": draw_tensor(2, 5)}


def test_what_is_packed_is_unpacked() -> None:
    content = pack_companion(COMPANION)
    assert unpack_companion(content, "here") == COMPANION
    assert json.loads(content)["card"]["name"] == "tb-cxr"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"card": None}, "'card' must be an object"),
        ({"card": {"format_version": 1}}, "the key 'adapter' is missing"),
        ({"sha256": 7}, "'sha256' must be text"),
        ({"trained": "norm.weight"}, "'trained' must be a list"),
        ({"more": 1}, "the key 'more' is unknown"),
    ],
)
def test_a_faulty_card_is_refused_with_a_way_on(changes, fault) -> None:
    values = json.loads(pack_companion(COMPANION)) | changes
    with pytest.raises(TaskFileError, match=rf"^here: .*{fault}.* or remove the file"):
        unpack_companion(json.dumps(values).encode(), "here")


def test_a_later_format_is_told_apart() -> None:
    values = json.loads(pack_companion(COMPANION))
    values["card"]["format_version"] = 2
    with pytest.raises(FormatVersionError, match="has format version 2"):
        unpack_companion(json.dumps(values).encode(), "here")


def test_the_seal_breaks_with_every_change_of_an_answer_and_with_no_other() -> None:
    card, trained = COMPANION.card, COMPANION.trained
    seal = compute_seal(card, trained, CONFIG, PAIRS, SAVED)
    down, up = PAIRS["fc"]
    others = [
        compute_seal(replace(card, name="other"), trained, CONFIG, PAIRS, SAVED),
        compute_seal(card, (), CONFIG, PAIRS, SAVED),
        compute_seal(card, trained, PeftConfig(2, 4.5), PAIRS, SAVED),
        compute_seal(card, trained, PeftConfig(2, 4.0, True), PAIRS, SAVED),
        compute_seal(card, trained, CONFIG, {"fd": PAIRS["fc"]}, SAVED),
        compute_seal(card, trained, CONFIG, {"fc": (down + 1e-6, up)}, SAVED),
        compute_seal(card, trained, CONFIG, PAIRS, {"head.weight": -SAVED["head.weight"]}),
    ]
    assert len({seal, *others}) == len(others) + 1
    same = {"fc": (down.double(), up.clone())}
    spelt = PeftConfig(2, 4.0, ranks={"other": 3}, dropout=0.5, version="9")
    assert compute_seal(card, trained, spelt, same, SAVED) == seal


def test_what_is_kept_of_the_training_images_is_unpacked() -> None:
    task = make_novel_task()
    kept = {name: value for name, value in task.tensors.items() if name.startswith("novelty.")}
    content = pack_companion(Companion(task.card, (), "ab" * 32, kept))
    found = unpack_companion(content, "here")
    assert found.novelty.keys() == kept.keys()
    assert all(same_bits(found.novelty[name], value) for name, value in kept.items())
    assert "novelty" not in json.loads(pack_companion(COMPANION))


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("novelty.mean", "AAAA", "must be 24 bytes in base64, not '3 bytes'"),
        ("novelty.mean", "no base64", "must be 24 bytes in base64"),
        ("novelty.mean", 7, "must be text"),
        ("novelty.more", "AAAA", "'novelty.novelty.more' is unknown"),
    ],
)
def test_faulty_numbers_are_refused_with_a_way_on(name, text, fault) -> None:
    task = make_novel_task()
    kept = {name: value for name, value in task.tensors.items() if name.startswith("novelty.")}
    values = json.loads(pack_companion(Companion(task.card, (), "ab" * 32, kept)))
    values["novelty"][name] = text
    with pytest.raises(TaskFileError, match=rf"^here: .*{fault}.* or remove the file"):
        unpack_companion(json.dumps(values).encode(), "here")
