import numpy as np
import pytest

from medlora.audit.sources import (
    FROM_NAMES,
    count_cut,
    list_candidates,
    measure_clustering,
    read_source,
)


def draw_sources(n_sources=20, n_each=4, spread=0.1):
    rng = np.random.default_rng(0)
    values = [f"s{number}" for number in range(n_sources) for _ in range(n_each)]
    centres = np.repeat(rng.normal(size=(n_sources, 8)), n_each, axis=0)
    features = centres + spread * rng.normal(size=centres.shape)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return values, features.astype(np.float32), np.arange(len(values)) // n_each % 2


def test_images_of_one_source_are_neighbours() -> None:
    values, features, strata = draw_sources()
    found = measure_clustering("photo", values, features, strata, [None] * 80)
    assert found.share > 0.95
    assert found.chance == pytest.approx(3 / 39)
    assert found.p_value == pytest.approx(1 / 201)
    assert (found.n_values, found.n_images, found.n_cut) == (20, 80, 0)


def test_a_column_without_meaning_is_at_chance() -> None:
    values, features, strata = draw_sources()
    drawn = list(np.random.default_rng(1).permutation(values))
    found = measure_clustering("random", drawn, features, strata, ["train", "test"] * 40)
    assert found.share < 0.2
    assert found.p_value > 0.01
    assert found.n_cut == count_cut(drawn, ["train", "test"] * 40) > 0


def test_images_that_have_no_partner_say_nothing() -> None:
    _, features, strata = draw_sources()
    alone = [str(number) for number in range(80)]
    assert measure_clustering("path", alone, features, strata, [None] * 80) is None


@pytest.mark.parametrize(
    ("location", "source"),
    [
        ("images/person1_bacteria_2.jpeg", "person1_bacteria"),
        ("IM-0005-0001.jpeg", "IM-0005"),
        ("a/00001280_004.jpg", "00001280"),
        ("gg (12).jpg", ""),
        ("image.png", ""),
    ],
)
def test_sources_are_read_from_file_names(location, source) -> None:
    assert read_source(location) == source


def test_columns_that_describe_a_kind_are_no_candidates() -> None:
    n_images = 60
    columns = {
        "path": [f"{number}.png" for number in range(n_images)],
        "sex": ["F", "M"] * 30,
        "photo": [str(number // 3) for number in range(n_images)],
        "note": [str(number) for number in range(n_images)],
    }
    named = [f"p{number // 2}_{number}.png" for number in range(n_images)]
    found = list_candidates(columns, named)
    assert list(found) == ["photo", FROM_NAMES]
    # The names tell what the column tells, or less.
    same = [f"x{number // 3}_{number}.png" for number in range(n_images)]
    assert list(list_candidates(columns, same)) == ["photo"]
    finer = [f"x{number // 3}_{number % 2}_{number}.png" for number in range(n_images)]
    assert list(list_candidates(columns, finer)) == ["photo"]
