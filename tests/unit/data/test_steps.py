"""The steps of preparation together."""

import itertools

import numpy as np
import pytest

from medlora.data.bias_field import even_out_intensity
from medlora.data.body import crop_to_body
from medlora.data.contrast import enhance_contrast
from medlora.data.denoising import remove_noise
from medlora.data.image import prepare_image
from medlora.data.phantoms import draw_phantom
from medlora.data.steps import apply_steps, show_steps
from medlora.errors import SettingsError
from medlora.preprocessing import STEPS, Preprocessing


@pytest.fixture(scope="module")
def phantom() -> np.ndarray:
    grey = draw_phantom("no-lesion", np.random.default_rng(4))
    grey = np.rint(grey * 0.9 + np.random.default_rng(5).normal(8, 6, grey.shape)).clip(0, 255)
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(scope="module")
def stages(phantom) -> list[np.ndarray]:
    cropped = crop_to_body(phantom)
    quiet = remove_noise(cropped)
    return [phantom, cropped, quiet, even_out_intensity(quiet)]


def test_the_order_is_fixed_whatever_order_is_asked_for(phantom, stages) -> None:
    for steps in itertools.islice(itertools.permutations(STEPS), 0, 6, 5):
        np.testing.assert_array_equal(apply_steps(phantom, steps), stages[-1])
    assert apply_steps(phantom, ()) is phantom
    for before, after in itertools.pairwise(stages):
        assert before.shape != after.shape or not np.array_equal(before, after)


def test_steps_are_shown_one_after_another(phantom, stages) -> None:
    preprocessing = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, contrast="clahe", steps=STEPS)
    shown = list(show_steps(phantom, preprocessing))
    assert [name for name, _ in shown] == ["original", *STEPS, "clahe"]
    for (_, pixels), expected in zip(shown, stages, strict=False):
        np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(shown[-1][1], enhance_contrast(stages[-1], "clahe"))


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_the_backbone_gets_the_size_it_expects(phantom, stages, crop_mode) -> None:
    plain = Preprocessing((48, 40), (0.5,) * 3, (0.5,) * 3, crop_mode=crop_mode)
    stepped = Preprocessing(
        (48, 40), (0.5,) * 3, (0.5,) * 3, crop_mode=crop_mode, steps=("denoise", "crop")
    )
    assert stepped.steps == ("crop", "denoise")
    prepared = prepare_image(phantom, stepped)
    assert prepared.shape == (3, 48, 40)
    np.testing.assert_array_equal(prepared, prepare_image(stages[2], plain))


def test_a_record_without_steps_is_as_it_was_before_there_were_any() -> None:
    plain = Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3)
    assert "steps" not in plain.to_dict()
    assert Preprocessing.from_dict(plain.to_dict()) == plain
    stepped = Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3, steps=("denoise",))
    assert stepped.to_dict()["steps"] == ["denoise"]
    assert Preprocessing.from_dict(stepped.to_dict()) == stepped
    with pytest.raises(SettingsError, match="must be one of crop, denoise, bias-field, not 'blur'"):
        Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3, steps=("blur",))  # type: ignore[arg-type]
