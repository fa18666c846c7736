import pytest
import torch

from medlora.backbones.classifier import create_with_classifier, find_classifiers, place_head
from medlora.errors import BackboneError

NAMES = {
    "vit_tiny_patch16_224": ["head"],
    "vgg16": ["head.fc"],
    "resnet18": ["fc"],
    "densenet121": ["classifier"],
    "tf_efficientnet_lite0": ["classifier"],
    "swin_tiny_patch4_window7_224": ["head.fc"],
    "resnetv2_50": ["head.fc"],
    "deit_tiny_distilled_patch16_224": ["head", "head_dist"],
}


@pytest.mark.parametrize("name", NAMES)
def test_the_classifier_is_found_and_is_the_models_own(name: str) -> None:
    with torch.device("meta"):
        model = create_with_classifier(name, 5)
    found = find_classifiers(model)
    assert list(found) == NAMES[name]
    for path, layer in found.items():
        assert model.get_submodule(path) is layer
        assert layer.weight.shape[0] == 5


def test_creating_a_model_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    create_with_classifier("test_vit", 2)
    assert torch.get_rng_state().equal(before)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(BackboneError, match="timm has no usable model 'resnet19'"):
        create_with_classifier("resnet19", 2)


def test_a_classifier_of_another_kind_is_refused() -> None:
    with torch.device("meta"):
        model = create_with_classifier("test_vit", 2)
    model.head = torch.nn.Bilinear(2, 2, 2)
    with pytest.raises(BackboneError, match="VisionTransformer has no plain linear classifier"):
        find_classifiers(model)


def test_a_model_that_names_no_classifier_is_refused() -> None:
    with pytest.raises(BackboneError, match="Linear has no plain linear classifier"):
        find_classifiers(torch.nn.Linear(2, 2))


def test_a_head_takes_the_shape_of_a_convolution() -> None:
    weight, bias = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    placed, same = place_head(torch.nn.Conv2d(3, 2, 1), weight, bias)
    assert placed.shape == (2, 3, 1, 1)
    assert placed.flatten().equal(weight.flatten())
    assert same.equal(bias)


def test_a_head_of_another_width_is_refused() -> None:
    rule = "maps 3 features to 2 classes; the model's own classifier maps 4 to 2"
    with pytest.raises(BackboneError, match=rule):
        place_head(torch.nn.Linear(4, 2), torch.ones(2, 3), torch.ones(2))
