import numpy as np

from medlora.evaluate.evaluation import Estimate
from medlora.evaluate.means import estimate_means, estimate_ratios


def test_what_no_image_tells_is_undefined() -> None:
    values = np.array([[1.0, 0.0], [0.0, 1.0]])
    counted = np.array([[True, False], [True, False]])
    found = estimate_means(values, counted, n_resamples=20)
    assert found[0].value == 0.5
    assert found[1] == Estimate(None)


def test_images_of_one_patient_give_no_interval() -> None:
    found = estimate_means(np.array([[1.0], [0.0]]), groups=["a", "a"], n_resamples=20)
    assert found == [Estimate(0.5)]


def test_an_interval_is_wider_where_images_share_patients() -> None:
    values = np.repeat(np.random.default_rng(0).random((20, 1)) < 0.5, 5, axis=0) * 1.0
    patients = np.repeat(np.arange(20), 5).tolist()
    (alone,) = estimate_means(values, n_resamples=200)
    (grouped,) = estimate_means(values, groups=patients, n_resamples=200)
    assert alone.value == grouped.value
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_ratios_weigh_images_by_their_counts() -> None:
    found = estimate_ratios(np.array([[1.0], [0.0]]), np.array([[3.0], [1.0]]), n_resamples=0)
    assert found == [Estimate(0.25)]
