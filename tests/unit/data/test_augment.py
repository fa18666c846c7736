"""Augmentation: seeded, replayable, in the right direction, and off when it is off."""

from dataclasses import replace

import pytest
import torch

from medlora.data.augment import (
    Augmentation,
    AugmentationDraw,
    apply_augmentation,
    draw_augmentation,
)
from medlora.errors import SettingsError

EVERYTHING = Augmentation(
    rotation_degrees=20.0,
    flip_horizontal=True,
    flip_vertical=True,
    shift_fraction=0.1,
    scale_fraction=0.2,
    contrast=0.3,
    brightness=0.2,
    noise=0.1,
)


def nothing_drawn(n_images: int = 1) -> AugmentationDraw:
    return draw_augmentation(Augmentation(), n_images, torch.Generator())


def marked(row: int, column: int, height: int = 41, width: int = 41) -> torch.Tensor:
    """One black image with a white square of 3 x 3 pixels about a place."""
    image = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    image[:, :, row - 1 : row + 2, column - 1 : column + 2] = 255
    return image


def place_of_mark(image: torch.Tensor) -> tuple[int, int]:
    row, column = divmod(int(image[0, 0].float().argmax()), image.shape[3])
    square = (image[0, 0] > 200).nonzero().float().mean(0)
    assert abs(square[0] - row) <= 2 and abs(square[1] - column) <= 2
    return round(float(square[0])), round(float(square[1]))


def random_images(n_images: int, height: int = 32, width: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (n_images, 3, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_all_off_returns_the_images_themselves() -> None:
    images = random_images(3)
    assert Augmentation().is_off
    assert apply_augmentation(images, nothing_drawn(3)) is images


@pytest.mark.parametrize("name", list(EVERYTHING.to_dict()))
def test_each_switch_alone_changes_images(name: str) -> None:
    augmentation = Augmentation(**{name: EVERYTHING.to_dict()[name]})
    draw = draw_augmentation(augmentation, 6, torch.Generator().manual_seed(0))
    images = random_images(6)
    before = images.clone()
    changed = apply_augmentation(images, draw)
    assert not augmentation.is_off
    assert not torch.equal(changed, before)
    assert changed.shape == images.shape and changed.dtype == torch.uint8
    assert torch.equal(images, before), "the batch that was handed in is left alone"


def test_replays_exactly_and_depends_on_the_seed() -> None:
    images = random_images(5)
    draws = [
        draw_augmentation(EVERYTHING, 5, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    ]
    first, again, other = (apply_augmentation(images, draw) for draw in draws)
    assert torch.equal(first, again)
    assert torch.equal(first, apply_augmentation(images, draws[0]))
    assert not torch.equal(first, other)


def test_every_image_gets_what_was_drawn_for_it() -> None:
    images = random_images(5)
    draw = draw_augmentation(replace(EVERYTHING, noise=0.0), 5, torch.Generator().manual_seed(4))
    together = apply_augmentation(images, draw)
    for number in range(5):
        own = {
            name: value[number : number + 1]
            for name, value in vars(draw).items()
            if name != "noise_seed"
        }
        alone = apply_augmentation(images[number : number + 1], replace(draw, **own))
        assert torch.equal(alone[0], together[number])


def test_noise_differs_between_images_and_between_seeds() -> None:
    images = torch.full((4, 3, 16, 16), 128, dtype=torch.uint8)
    draw = replace(nothing_drawn(4), noise=torch.full((4,), 0.1))
    noisy = apply_augmentation(images, draw)
    assert not any(torch.equal(noisy[0], noisy[number]) for number in (1, 2, 3))
    other = apply_augmentation(images, replace(draw, noise_seed=draw.noise_seed + 1))
    assert not torch.equal(noisy, other)


def test_a_generator_goes_on_where_its_state_says() -> None:
    generator = torch.Generator().manual_seed(1)
    draw_augmentation(EVERYTHING, 4, generator)
    state = generator.get_state()
    second = draw_augmentation(EVERYTHING, 4, generator)
    taken_up = draw_augmentation(EVERYTHING, 4, torch.Generator().set_state(state))
    assert torch.equal(second.degrees, taken_up.degrees)
    assert second.noise_seed == taken_up.noise_seed


def test_switching_one_change_on_leaves_the_others() -> None:
    less = replace(EVERYTHING, flip_horizontal=False, noise=0.0)
    drawn = draw_augmentation(EVERYTHING, 8, torch.Generator().manual_seed(2))
    drawn_less = draw_augmentation(less, 8, torch.Generator().manual_seed(2))
    for name in ("degrees", "zoom", "shift", "flip_vertical", "contrast", "brightness"):
        assert torch.equal(getattr(drawn, name), getattr(drawn_less, name)), name
    assert not drawn_less.flip_horizontal.any() and drawn.flip_horizontal.any()


def test_draws_fill_their_ranges_and_stay_inside() -> None:
    draw = draw_augmentation(EVERYTHING, 2000, torch.Generator().manual_seed(0))
    for values, low, high in (
        (draw.degrees, -20, 20),
        (draw.zoom, 1 / 1.2, 1.2),
        (draw.shift, -0.1, 0.1),
        (draw.contrast, 0.7, 1.3),
        (draw.brightness, -0.2, 0.2),
        (draw.noise, 0.0, 0.1),
    ):
        margin = 0.02 * (high - low)
        assert low - 1e-6 <= values.min() <= low + margin
        assert high - margin <= values.max() <= high + 1e-6
    assert 0.45 < draw.flip_horizontal.float().mean() < 0.55


def test_flips_are_exact_and_each_has_its_own_axis() -> None:
    images = random_images(2)
    chosen = torch.tensor([True, False])
    left_right = apply_augmentation(images, replace(nothing_drawn(2), flip_horizontal=chosen))
    assert torch.equal(left_right[0], images[0].flip(2)) and torch.equal(left_right[1], images[1])
    up_down = apply_augmentation(images, replace(nothing_drawn(2), flip_vertical=chosen))
    assert torch.equal(up_down[0], images[0].flip(1)) and torch.equal(up_down[1], images[1])


def test_without_horizontal_flip_left_stays_left() -> None:
    sided = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    sided[:, :, :, 0] = 200
    draw = draw_augmentation(Augmentation(flip_vertical=True), 64, torch.Generator())
    assert draw.flip_vertical.any()
    assert torch.equal(apply_augmentation(sided, draw), sided)


def test_a_quarter_turn_goes_counter_clockwise() -> None:
    draw = replace(nothing_drawn(), degrees=torch.tensor([90.0]))
    right_of_the_middle = marked(20, 32)
    assert place_of_mark(apply_augmentation(right_of_the_middle, draw)) == (8, 20)
    square = random_images(1, 32, 32)
    turned = apply_augmentation(square, draw).int()
    assert (turned - torch.rot90(square, 1, (2, 3)).int()).abs().max() <= 1


def test_rotation_keeps_shapes_where_the_sides_differ() -> None:
    draw = replace(nothing_drawn(), degrees=torch.tensor([90.0]))
    # 10 pixels right of the middle of a wide image become 10 pixels above it.
    assert place_of_mark(apply_augmentation(marked(20, 40, 41, 61), draw)) == (10, 30)


def test_shift_goes_right_and_down_by_its_share_of_each_side() -> None:
    image = marked(5, 6, 40, 80)
    draw = replace(nothing_drawn(), shift=torch.tensor([[0.25, 0.5]]))
    moved = apply_augmentation(image, draw)
    assert place_of_mark(moved) == (25, 26)
    assert moved[:, :, :20].max() == 0, "what comes into view is black"


def test_zoom_above_one_magnifies() -> None:
    draw = replace(nothing_drawn(), zoom=torch.tensor([2.0]))
    assert place_of_mark(apply_augmentation(marked(20, 26), draw)) == (20, 32)


def test_contrast_brightness_and_noise_do_what_they_say() -> None:
    image = torch.full((1, 3, 64, 64), 100, dtype=torch.uint8)
    image[:, :, :32] = 140
    stronger = apply_augmentation(image, replace(nothing_drawn(), contrast=torch.tensor([1.5])))
    assert stronger[0, 0, [0, -1], 0].tolist() == [150, 90]
    lighter = apply_augmentation(image, replace(nothing_drawn(), brightness=torch.tensor([0.1])))
    assert lighter[0, 0, [0, -1], 0].tolist() == [166, 126]
    white = apply_augmentation(image, replace(nothing_drawn(), brightness=torch.tensor([1.0])))
    assert white.min() == 255
    noisy = apply_augmentation(image, replace(nothing_drawn(), noise=torch.tensor([0.05])))
    difference = noisy[0, 0].float() - image[0, 0].float()
    assert difference.std().item() == pytest.approx(0.05 * 255, rel=0.1)
    assert abs(difference.mean()) < 1


def test_grey_images_stay_grey_and_agree_with_the_colour_path() -> None:
    grey = random_images(4)[:, :1].expand(-1, 3, -1, -1).contiguous()
    draw = draw_augmentation(EVERYTHING, 4, torch.Generator().manual_seed(5))
    changed = apply_augmentation(grey, draw)
    assert torch.equal(changed[:, 0], changed[:, 1]) and torch.equal(changed[:, 0], changed[:, 2])
    # One odd pixel takes an image off the shortcut for equal channels; the rest must agree.
    nearly = grey.clone()
    nearly[:, 2, 0, 0] ^= 1
    difference = apply_augmentation(nearly, draw).int() - changed.int()
    assert difference.abs().max() <= 1
    assert torch.equal(difference[:, 0], difference[:, 1])


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("rotation_degrees", 181, r"rotation_degrees must be in \[0, 180\], not 181"),
        ("rotation_degrees", -1, r"rotation_degrees must be in \[0, 180\], not -1"),
        ("shift_fraction", 0.6, r"shift_fraction must be in \[0, 0.5\], not 0.6"),
        ("scale_fraction", 1.5, r"scale_fraction must be in \[0, 1\], not 1.5"),
        ("contrast", 1.0, r"contrast must be in \[0, 0.95\], not 1.0"),
        ("brightness", float("nan"), r"brightness must be in \[0, 1\], not nan"),
        ("noise", "0.1", "noise must be a number, not '0.1'"),
        ("noise", True, "noise must be a number, not True"),
        ("flip_vertical", 1, "flip_vertical must be true or false, not 1"),
        ("blur", 1, "knows no blur"),
    ],
)
def test_records_out_of_range_are_refused(name: str, value: object, rule: str) -> None:
    with pytest.raises(SettingsError, match=rule):
        Augmentation.from_dict({name: value})


def test_record_survives_its_dictionary() -> None:
    assert Augmentation.from_dict(EVERYTHING.to_dict()) == EVERYTHING
    assert Augmentation.from_dict({"rotation_degrees": 5}) == Augmentation(rotation_degrees=5.0)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(3, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 8, 8, dtype=torch.uint8),
    ],
)
def test_images_that_do_not_fit_the_draw_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="takes 2 uint8 images"):
        apply_augmentation(images, nothing_drawn(2))
