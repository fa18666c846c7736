import pytest
import torch
from torch import nn

from medlora.backbones.cutting import BEHIND
from medlora.backbones.observing import choose_place, has_channels_at_end, summarise_hidden
from medlora.backbones.spec import create_architecture


@pytest.mark.parametrize(("name", "place"), [("test_vit", "blocks.2"), ("test_resnet", "layer2.0")])
def test_the_place_is_a_third_down_the_chain(name: str, place: str) -> None:
    assert choose_place(create_architecture(name)) == place


def test_an_unknown_family_is_described_by_its_features() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    assert choose_place(model) == BEHIND
    assert not has_channels_at_end(model)


def test_tokens_are_summed_up_channel_by_channel() -> None:
    tokens = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    found = summarise_hidden(tokens, channels_at_end=False)
    assert found.shape == (2, 6)
    for image in range(2):
        for channel in range(3):
            values = tokens[image, :, channel].numpy()
            assert found[image, channel].item() == pytest.approx(values.mean(), abs=1e-6)
            assert found[image, 3 + channel].item() == pytest.approx(values.std(), abs=1e-6)


def test_pictures_are_summed_up_alike_wherever_their_channels_are() -> None:
    picture = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    first = summarise_hidden(picture, channels_at_end=False)
    last = summarise_hidden(picture.movedim(1, -1), channels_at_end=True)
    assert torch.allclose(first, last, atol=1e-6)
    assert torch.allclose(first[:, :3], picture.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(first[:, 3:], picture.flatten(2).std(dim=2, correction=0), atol=1e-6)


def test_features_stay_as_they_are() -> None:
    features = torch.ones(2, 4, dtype=torch.bfloat16)
    found = summarise_hidden(features, channels_at_end=False)
    assert found.dtype == torch.float32
    assert found.equal(features.float())
