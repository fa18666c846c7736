import json
from dataclasses import replace

import pytest
import torch
from task_samples import make_card
from torch import Tensor, nn

from medlora.errors import StorageError, TaskFileError
from medlora.task.ensemble import (
    Ensemble,
    EnsembleModel,
    Member,
    find_members,
    join_cards,
    read_ensemble,
    write_ensemble,
)


class Fixed(nn.Module):
    """Always the same logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


@pytest.fixture
def folder(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_outputs_are_the_mean_of_the_probabilities(multi_label) -> None:
    logits = 4 * torch.randn((3, 6, 5), generator=torch.Generator().manual_seed(0))
    logits[0, 0, 0] = 80.0
    model = EnsembleModel([Fixed(each) for each in logits], multi_label=multi_label)
    found = model(torch.zeros(6)).double()
    exact = logits.double()
    if multi_label:
        assert torch.allclose(found.sigmoid(), exact.sigmoid().mean(dim=0), atol=1e-6)
    else:
        assert torch.allclose(found.softmax(-1), exact.softmax(-1).mean(dim=0), atol=1e-6)
        assert torch.allclose(found.exp().sum(-1), torch.full((6,), 3.0).double(), rtol=1e-5)


def test_an_ensemble_comes_back(folder) -> None:
    ensemble = Ensemble.of("both", folder, ("one", "two"), (0.2, 0.8))
    write_ensemble(folder / "ensemble.json", ensemble)
    again = read_ensemble(folder / "ensemble.json")
    assert again == ensemble
    assert find_members(folder / "ensemble.json", again) == (folder / "one", folder / "two")
    (folder / "two").write_bytes(b"three")
    with pytest.raises(TaskFileError, match=r"two is not the file that .* was made of"):
        find_members(folder / "ensemble.json", again)
    (folder / "two").unlink()
    with pytest.raises(StorageError, match="two"):
        find_members(folder / "ensemble.json", again)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"format": "other"}, "is not an ensemble of format medlora-ensemble version 1"),
        ({"format_version": 2}, "is not an ensemble of format medlora-ensemble version 1"),
        ({"members": [{"file": "one", "sha256": "0" * 64}]}, "two task files at least"),
        ({"members": [{"file": "../one", "sha256": "0" * 64}] * 2}, "paths below the card"),
        ({"members": [{"file": "/one", "sha256": "0" * 64}] * 2}, "paths below the card"),
        ({"members": [{"file": "one"}] * 2}, r"ensemble\.members\.sha256"),
        ({"thresholds": ["high"]}, r"ensemble\.thresholds"),
        ({"more": 1}, r"ensemble\.more"),
    ],
)
def test_a_card_that_is_none(folder, change, fault) -> None:
    content = Ensemble.of("both", folder, ("one", "two"), (0.5, 0.5)).to_dict() | change
    (folder / "ensemble.json").write_text(json.dumps(content))
    with pytest.raises(TaskFileError, match=fault):
        read_ensemble(folder / "ensemble.json")


def test_members_have_to_share_what_an_answer_rests_on() -> None:
    card = make_card()
    members = (Member("one", "0" * 64), Member("two", "1" * 64))
    thresholds = (0.1,) * len(card.classes)
    ensemble = Ensemble("both", members, thresholds)
    joint = join_cards(ensemble, [card, replace(card, name="other")], "ensemble.json")
    assert (joint.name, joint.thresholds) == ("both", thresholds)
    assert joint.metrics == {}
    other = replace(card, preprocessing=replace(card.preprocessing, contrast="clahe"))
    with pytest.raises(TaskFileError, match="'preprocessing' of two is not that of one"):
        join_cards(ensemble, [card, other], "ensemble.json")
