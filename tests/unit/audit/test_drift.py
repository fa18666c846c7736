import numpy as np

from medlora.audit.drift import measure_drift

NAMES = ("a", "b")


def draw(n_images, shift=0.0, seed=0, share=0.5):
    rng = np.random.default_rng(seed)
    strata = (rng.random(n_images) < share).astype(np.int64)
    features = rng.normal(size=(n_images, 12)) + 3 * strata[:, None]
    features[:, 0] += shift * strata
    return features, strata


def compare(first, second, **options):
    features = np.concatenate([first[0], second[0]])
    strata = np.concatenate([first[1], second[1]])
    n_first = len(first[0])
    rows = np.arange(len(features))
    return measure_drift(
        features, strata, NAMES, rows[:n_first], rows[n_first:], ("train", "test"), **options
    )


def test_splits_of_one_source_do_not_drift() -> None:
    found = compare(draw(200), draw(150, seed=1))
    assert found.p_value > 0.05
    assert 0.4 < found.auroc < 0.6
    assert found.n_images == (200, 150)


def test_a_class_from_elsewhere_is_named_by_its_auroc() -> None:
    found = compare(draw(200), draw(150, shift=3.0, seed=1))
    assert found.p_value < 0.01
    assert found.per_class["b"] > 0.8 > 0.65 > found.per_class["a"]


def test_other_shares_of_the_classes_are_no_drift() -> None:
    found = compare(draw(200, share=0.8), draw(200, seed=1, share=0.2))
    assert found.p_value > 0.05
    assert 0.35 < found.auroc < 0.65


def test_the_p_value_is_that_of_shuffles_within_the_class() -> None:
    found = compare(draw(30), draw(30, seed=3), n_shuffles=19)
    assert round(found.p_value * 20) == found.p_value * 20
    assert 0 < found.p_value <= 1


def test_too_few_images_of_every_class_give_nothing() -> None:
    assert compare(draw(200), draw(4, seed=1)) is None
