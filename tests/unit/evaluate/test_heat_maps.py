"""Heat maps: the formulas they stand for, and that they depend on what is explained."""

import sys

import numpy as np
import pytest
import torch

from heat_map_samples import METHOD_OF, draw_input, make_model
from medlora.errors import BackboneError, SettingsError
from medlora.evaluate import heat_maps
from medlora.evaluate.heat_maps import (
    choose_map_method,
    compute_heat_map,
    list_members,
    measure_odds,
)
from medlora.task.ensemble import EnsembleModel


def correlate(one, other) -> float:
    return float(np.corrcoef(one.flatten(), other.flatten())[0, 1])


def test_log_odds_do_not_change_when_all_logits_do() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    chances = logits.softmax(1)
    for target in range(3):
        found = measure_odds(logits, target, multi_label=False)
        expected = torch.log(chances[:, target] / (1 - chances[:, target]))
        torch.testing.assert_close(found, expected)
        shifted = measure_odds(logits + 7, target, multi_label=False)
        torch.testing.assert_close(shifted, expected)
        assert measure_odds(logits, target, multi_label=True).equal(logits[:, target])


def test_grad_cam_is_what_maps_gain_times_the_gradient_on_the_way() -> None:
    model, inputs = make_model(n_classes=2), draw_input()
    empty = torch.full_like(inputs, -1.5)
    kept = []
    stage = model.network.get_submodule("blocks.3")
    handle = stage.register_forward_hook(lambda module, given, maps: kept.append(maps))
    gradients = []
    for step in range(4):
        logits = model(empty + (step + 0.5) / 4 * (inputs - empty))[0]
        gradients += torch.autograd.grad(logits[1] - logits[0], kept.pop())
    model(empty)
    model(inputs)
    handle.remove()
    places = (torch.cat(gradients).mean(dim=0) * (kept[1] - kept[0])[0]).sum(dim=0).detach()
    expected = (places - places.median()).clamp(min=0)
    found = compute_heat_map(model, inputs, 1, multi_label=False, method="grad-cam", empty=empty)
    assert found.shape == (4, 4)
    np.testing.assert_allclose(found, (expected / expected.max()).numpy(), atol=1e-4)
    other = compute_heat_map(model, inputs, 1, multi_label=False, method="grad-cam")
    assert np.abs(found - other).max() > 1e-3


def test_grad_cam_is_the_head_applied_to_each_place_where_features_are_means() -> None:
    model, inputs = make_model("test_resnet", n_classes=2), draw_input()
    with torch.no_grad():
        ends = torch.cat([inputs, torch.zeros_like(inputs)])
        shown, blank = model.network.forward_features(ends)
        weight = (model.head.weight[1] - model.head.weight[0])[:, None, None]
        places = (weight * (shown - blank)).sum(0)
        expected = (places - places.median()).clamp(min=0)
    found = compute_heat_map(model, inputs, 1, multi_label=False, method="grad-cam")
    np.testing.assert_allclose(found, (expected / expected.max()).numpy(), atol=1e-4)


def test_integrated_gradients_of_pixels_add_up_to_the_change_of_the_answer(monkeypatch) -> None:
    from captum import attr

    sums = []
    plain = attr.IntegratedGradients.attribute

    def attribute(self, *arguments, **named):
        values = plain(self, *arguments, **named)
        sums.append(float(values.detach().sum()))
        return values

    monkeypatch.setattr(attr.IntegratedGradients, "attribute", attribute)
    model, inputs = make_model(), draw_input()
    found = compute_heat_map(model, inputs, 2, multi_label=False, method="integrated-gradients")
    assert found.shape == inputs.shape[2:]
    with torch.no_grad():
        ends = [model(each) for each in (inputs, torch.zeros_like(inputs))]
    rise = [float(measure_odds(end, 2, multi_label=False)) for end in ends]
    assert sums[0] == pytest.approx(rise[0] - rise[1], rel=0.05)


def test_an_offset_of_the_head_empties_no_map() -> None:
    model, inputs = make_model("test_resnet", n_classes=2), draw_input()
    first = compute_heat_map(model, inputs, 1, multi_label=False, method="grad-cam")
    with torch.no_grad():
        maps = model.network.forward_features(inputs)
        # All features are positive or nearly so: the rows of the head sink, and the answer stays.
        sunk = 3.0 * torch.ones_like(model.head.weight[1])
        before = model(inputs)
        model.head.weight[1] -= sunk
        model.head.bias[1] += (sunk * maps.mean(dim=(2, 3))).sum()
        torch.testing.assert_close(model(inputs), before, atol=1e-3, rtol=1e-3)
    found = compute_heat_map(model, inputs, 1, multi_label=False, method="grad-cam")
    assert first.max() == found.max() == 1


@pytest.mark.parametrize("name", METHOD_OF)
@pytest.mark.parametrize("method", ["auto", "integrated-gradients"])
def test_another_head_gives_another_map(name, method, monkeypatch) -> None:
    monkeypatch.setattr(heat_maps, "_N_STEPS", 3)
    inputs = draw_input(name)
    model = make_model(name)
    first = compute_heat_map(model, inputs, 0, multi_label=False, method=method)
    again = compute_heat_map(model, inputs, 0, multi_label=False, method=method)
    np.testing.assert_array_equal(first, again)
    others = []
    for seed in range(3):
        torch.nn.init.normal_(
            model.head.weight, generator=torch.Generator().manual_seed(100 + seed)
        )
        others.append(compute_heat_map(model, inputs, 0, multi_label=False, method=method))
    assert np.mean([correlate(first, other) for other in others if other.any()]) < 0.8


@pytest.mark.parametrize("name", METHOD_OF)
def test_another_adapter_gives_another_map(name) -> None:
    inputs, model = draw_input(name), make_model(name)
    first = compute_heat_map(model, inputs, 0, multi_label=False)
    for key, value in model.named_trainable().items():
        if key.endswith(".B"):
            torch.nn.init.normal_(value, generator=torch.Generator().manual_seed(1))
    assert correlate(first, compute_heat_map(model, inputs, 0, multi_label=False)) < 0.95


@pytest.mark.parametrize("name", METHOD_OF)
@pytest.mark.parametrize("multi_label", [False, True])
def test_an_ensemble_has_the_mean_of_its_members_maps(name, multi_label) -> None:
    inputs = draw_input(name)
    models = [make_model(name, seed=seed) for seed in (0, 1)]
    ensemble = EnsembleModel(models, multi_label=multi_label)
    assert list_members(ensemble) == models
    n_filled = 0
    for target in range(3):
        maps = [
            compute_heat_map(model, inputs, target, multi_label=multi_label) for model in models
        ]
        found = compute_heat_map(ensemble, inputs, target, multi_label=multi_label)
        expected = np.mean(maps, axis=0)
        np.testing.assert_allclose(found, expected / max(expected.max(), 1e-9), rtol=1e-5)
        n_filled += all(each.any() for each in maps)
    assert n_filled


# All of a network that is trained is held in float32 and computed in bf16: two types in one pass.
@pytest.mark.parametrize("kind", ["lora", "linear", "full"])
@pytest.mark.parametrize("name", METHOD_OF)
def test_half_precision_gives_nearly_the_same_map(name, kind) -> None:
    exact, coarse = (
        compute_heat_map(
            make_model(name, method=kind, dtype=dtype), draw_input(name), 0, multi_label=False
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert correlate(exact, coarse) > 0.98


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients"])
def test_the_model_is_left_as_it_was(method) -> None:
    model, inputs = make_model(), draw_input()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    needs = {key: value.requires_grad for key, value in model.named_parameters()}
    compute_heat_map(model, inputs, 0, multi_label=False, method=method)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert {key: value.requires_grad for key, value in model.named_parameters()} == needs
    assert not any(module._forward_hooks for module in model.modules())
    assert all(value.grad is None for value in model.parameters())
    assert not inputs.requires_grad


def test_a_map_without_anything_for_the_class_is_empty() -> None:
    model = make_model()
    torch.nn.init.zeros_(model.head.weight)
    found = compute_heat_map(model, draw_input(), 0, multi_label=False)
    assert not found.any()


def test_methods_suit_networks() -> None:
    for name, method in METHOD_OF.items():
        assert choose_map_method(make_model(name)) == method
    with pytest.raises(BackboneError, match="EfficientNet does not tell how its tokens lie"):
        choose_map_method(make_model(), "attention")
    with pytest.raises(BackboneError, match=r"last feature maps are known of .*resnet"):
        choose_map_method(make_model("test_vit"), "grad-cam")
    with pytest.raises(SettingsError, match=r"--method must be one of auto, .*, not 'saliency'"):
        choose_map_method(make_model(), "saliency")
    with pytest.raises(SettingsError, match="A class's number is 0 to 2, not 3"):
        compute_heat_map(make_model(), draw_input(), 3, multi_label=False)


def test_captum_is_asked_for_only_where_it_is_used(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    assert choose_map_method(make_model("test_vit")) == "attention"
    with pytest.raises(SettingsError, match=r"pip install 'medlora\[explain\]'"):
        choose_map_method(make_model())
