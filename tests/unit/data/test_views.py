import pytest
import torch

from medlora.data.augment import Augmentation
from medlora.data.views import ImageViews
from medlora.errors import SettingsError

STRONG = Augmentation(rotation_degrees=90.0, flip_horizontal=True, contrast=0.5, noise=0.2)
NAMES = ("a#0", "b#0", "c#0", "a#1")


def make_views(n_views: int = 3, seed: int = 0, names=NAMES) -> ImageViews:
    return ImageViews(STRONG, n_views, seed, names)


def draw_images(n_images: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (n_images, 1, 9, 12), generator=generator, dtype=torch.uint8)
    images = grey.repeat(1, 3, 1, 1)
    images[1:2, 0] = 7
    return images


def test_a_view_does_not_depend_on_the_rest_of_the_batch() -> None:
    views, images = make_views(), draw_images()
    whole = views.apply(images, [0, 1, 2, 3], view=1)
    assert whole.shape == images.shape and whole.dtype == torch.uint8
    for row in range(4):
        assert torch.equal(views.apply(images[row : row + 1], [row], view=1)[0], whole[row])
    swapped = views.apply(images[[3, 0]], [3, 0], view=1)
    assert torch.equal(swapped, whole[[3, 0]])


def test_a_view_is_drawn_from_seed_image_and_number() -> None:
    image = draw_images(1)
    drawn = [
        make_views(seed=seed).apply(image, [row], view=view)
        for seed, row, view in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 3, 0)]
    ]
    for place, one in enumerate(drawn):
        for other in drawn[:place]:
            assert not torch.equal(one, other)
    again = make_views().apply(image, [0], view=0)
    assert torch.equal(again, drawn[0])
    # The number of views does not change those that there are already.
    assert torch.equal(make_views(n_views=9).apply(image, [0], view=0), drawn[0])
    # Nor does the row under which the same image stands.
    assert torch.equal(make_views(names=("z#0", "a#0")).apply(image, [1], view=0), drawn[0])


def test_epochs_take_the_views_in_turn() -> None:
    assert [make_views().choose(epoch) for epoch in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_number_of_views_below_one_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 1, not 0"):
        make_views(0)
