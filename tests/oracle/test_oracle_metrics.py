"""Every measure against scikit-learn, or against a slow second way, to 1e-12.

Probabilities are tenths, so that ties, bin edges and equal ratios are frequent.
"""

import warnings

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from medlora.errors import UndefinedMetricError
from medlora.evaluate import metrics
from medlora.evaluate.calibration import reliability_curve
from medlora.evaluate.curves import precision_recall_curve, roc_curve
from medlora.evaluate.resampling import iterate_weights, number_groups
from medlora.evaluate.score import score
from medlora.evaluate.scoresheet import CLASS_MEASURES, ScoreSheet

EXACT = 1e-12
on_random_data = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 40)


def draw_binary(seed, n_images):
    """Scores in tenths, and at least one image of either kind."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n_images) < rng.uniform(0.1, 0.9)
    positive[:2] = [True, False]
    return rng.integers(0, 11, n_images) / 10, positive


def draw_task(seed, n_images, n_classes, multi_label):
    """Probabilities in tenths, targets and decisions; some class may be absent."""
    rng = np.random.default_rng(seed)
    if multi_label:
        probabilities = rng.integers(0, 11, (n_images, n_classes)) / 10
        targets = rng.random((n_images, n_classes)) < rng.uniform(0, 1, n_classes)
    else:
        shares = rng.dirichlet(np.ones(n_classes), n_images)
        probabilities = np.array([rng.multinomial(10, share) for share in shares]) / 10
        labels = rng.integers(0, rng.integers(1, n_classes + 1), n_images)
        targets = np.arange(n_classes) == labels[:, None]
    thresholds = tuple((rng.integers(1, 10, n_classes) / 10).tolist())
    return probabilities, targets, metrics.decide(probabilities, thresholds, multi_label)


def count_pairs(scores, positive):
    """AUROC as its definition says."""
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in scores[positive]
        for low in scores[~positive]
    ]
    return sum(pairs) / len(pairs)


def loop_calibration_error(confidence, outcome, n_bins=15):
    """Bin by bin, image by image."""
    edges = np.linspace(0, 1, n_bins + 1)
    error = 0.0
    for number in range(n_bins):
        members = [
            (claimed, came_true)
            for claimed, came_true in zip(confidence, outcome, strict=True)
            if edges[number] < claimed <= edges[number + 1] or (number == 0 and claimed == 0)
        ]
        if members:
            claims, truths = zip(*members, strict=True)
            gap = abs(sum(claims) / len(claims) - sum(truths) / len(truths))
            error += gap * len(members) / len(confidence)
    return error


def loop_decisions(probabilities, thresholds, multi_label):
    """Row by row, comparing products in whole numbers of tenths."""
    rows = []
    for tenths in (probabilities * 10).round().astype(int).tolist():
        limits = [round(threshold * 10) for threshold in thresholds]
        if multi_label:
            rows.append([p >= t for p, t in zip(tenths, limits, strict=True)])
            continue
        best = 0
        for k in range(1, len(tenths)):
            if tenths[k] * limits[best] > tenths[best] * limits[k]:
                best = k
        rows.append([k == best for k in range(len(tenths))])
    return rows


@on_random_data
@given(seed=seeds, n_images=sizes)
def test_auroc(seed, n_images):
    scores, positive = draw_binary(seed, n_images)
    ours = metrics.auroc(scores, positive)
    assert ours == pytest.approx(sklearn.metrics.roc_auc_score(positive, scores), abs=EXACT)
    assert ours == pytest.approx(count_pairs(scores, positive), abs=EXACT)


@on_random_data
@given(seed=seeds, n_images=sizes)
def test_average_precision(seed, n_images):
    scores, positive = draw_binary(seed, n_images)
    expected = sklearn.metrics.average_precision_score(positive, scores)
    assert metrics.average_precision(scores, positive) == pytest.approx(expected, abs=EXACT)


@on_random_data
@given(seed=seeds, n_images=sizes)
def test_measures_of_one_class(seed, n_images):
    scores, positive = draw_binary(seed, n_images)
    decided = scores >= 0.5
    settings = {"zero_division": 0.0}
    assert metrics.recall(decided, positive) == pytest.approx(
        sklearn.metrics.recall_score(positive, decided, **settings), abs=EXACT
    )
    assert metrics.precision(decided, positive) == pytest.approx(
        sklearn.metrics.precision_score(positive, decided, **settings), abs=EXACT
    )
    assert metrics.f1(decided, positive) == pytest.approx(
        sklearn.metrics.f1_score(positive, decided, **settings), abs=EXACT
    )
    assert metrics.specificity(decided, positive) == pytest.approx(
        sklearn.metrics.recall_score(positive, decided, pos_label=False, **settings), abs=EXACT
    )


@on_random_data
@given(seed=seeds, n_images=sizes, n_classes=st.integers(2, 5))
def test_single_label_answers(seed, n_images, n_classes):
    _, targets, decisions = draw_task(seed, n_images, n_classes, multi_label=False)
    truth, answer = targets.argmax(axis=1), decisions.argmax(axis=1)
    assert metrics.accuracy(decisions, targets, False) == pytest.approx(
        sklearn.metrics.accuracy_score(truth, answer), abs=EXACT
    )
    with warnings.catch_warnings():
        # It tells of answers for absent classes, and of a single class.
        warnings.simplefilter("ignore", UserWarning)
        expected = sklearn.metrics.balanced_accuracy_score(truth, answer)
    assert metrics.balanced_accuracy(decisions, targets, False) == pytest.approx(
        expected, abs=EXACT
    )
    matrix = sklearn.metrics.confusion_matrix(truth, answer, labels=range(n_classes))
    assert (metrics.confusion_matrix(decisions, targets, False) == matrix).all()


@on_random_data
@given(seed=seeds, n_images=sizes, n_classes=st.integers(2, 5))
def test_multi_label_answers(seed, n_images, n_classes):
    _, targets, decisions = draw_task(seed, n_images, n_classes, multi_label=True)
    assert metrics.exact_match(decisions, targets) == pytest.approx(
        sklearn.metrics.accuracy_score(targets, decisions), abs=EXACT
    )
    assert metrics.accuracy(decisions, targets, True) == pytest.approx(
        1 - sklearn.metrics.hamming_loss(targets, decisions), abs=EXACT
    )
    tables = sklearn.metrics.multilabel_confusion_matrix(targets, decisions)
    assert (metrics.confusion_matrix(decisions, targets, True) == tables).all()
    shares = [
        sklearn.metrics.balanced_accuracy_score(targets[:, k], decisions[:, k])
        for k in range(n_classes)
        if 0 < targets[:, k].sum() < n_images
    ]
    if shares:
        assert metrics.balanced_accuracy(decisions, targets, True) == pytest.approx(
            np.mean(shares), abs=EXACT
        )


@on_random_data
@given(seed=seeds, n_images=sizes, n_classes=st.integers(2, 5), multi_label=st.booleans())
def test_decisions(seed, n_images, n_classes, multi_label):
    probabilities, _, _ = draw_task(seed, n_images, n_classes, multi_label)
    thresholds = tuple(np.random.default_rng(seed).choice([0.1, 0.2, 0.4, 0.8], n_classes).tolist())
    ours = metrics.decide(probabilities, thresholds, multi_label)
    assert ours.tolist() == loop_decisions(probabilities, thresholds, multi_label)


@on_random_data
@given(seed=seeds, n_images=sizes, n_classes=st.integers(2, 5))
def test_brier_score(seed, n_images, n_classes):
    probabilities, targets, _ = draw_task(seed, n_images, n_classes, multi_label=False)
    labels = targets.argmax(axis=1)
    if n_classes == 2:
        expected = sklearn.metrics.brier_score_loss(
            np.append(labels, [0, 1]), np.append(probabilities[:, 1], [0, 1])
        )
        # Two perfect answers keep both classes present for scikit-learn.
        expected *= (n_images + 2) / n_images
    else:
        expected = sklearn.metrics.brier_score_loss(
            labels, probabilities, labels=list(range(n_classes))
        )
    assert metrics.brier_score(probabilities, targets, False) == pytest.approx(expected, abs=EXACT)


@on_random_data
@given(seed=seeds, n_images=sizes)
def test_brier_score_of_labels(seed, n_images):
    columns = [draw_binary(seed + k, n_images) for k in range(3)]
    probabilities = np.stack([scores for scores, _ in columns], axis=1)
    targets = np.stack([positive for _, positive in columns], axis=1)
    expected = [sklearn.metrics.brier_score_loss(positive, scores) for scores, positive in columns]
    ours = metrics.brier_score(probabilities, targets, True)
    assert ours == pytest.approx(np.mean(expected), abs=EXACT)


@on_random_data
@given(seed=seeds, n_images=sizes, n_classes=st.integers(2, 5), multi_label=st.booleans())
def test_calibration_error(seed, n_images, n_classes, multi_label):
    probabilities, targets, _ = draw_task(seed, n_images, n_classes, multi_label)
    ours = metrics.expected_calibration_error(probabilities, targets, multi_label)
    if multi_label:
        columns = [(probabilities[:, k], targets[:, k]) for k in range(n_classes)]
    else:
        best = probabilities.argmax(axis=1)
        columns = [(probabilities.max(axis=1), targets.argmax(axis=1) == best)]
    expected = np.mean([loop_calibration_error(*column) for column in columns])
    assert ours == pytest.approx(expected, abs=EXACT)


@on_random_data
@given(seed=seeds, n_images=sizes, n_bins=st.integers(1, 20))
def test_reliability_curve(seed, n_images, n_bins):
    scores, positive = draw_binary(seed, n_images)
    curve = reliability_curve(scores[:, None], positive[:, None], True, n_bins)
    accuracy, confidence = sklearn.calibration.calibration_curve(positive, scores, n_bins=n_bins)
    assert curve.accuracy == pytest.approx(accuracy, abs=EXACT)
    assert curve.confidence == pytest.approx(confidence, abs=EXACT)
    assert curve.count.sum() == n_images


@on_random_data
@given(seed=seeds, n_images=sizes)
def test_curves(seed, n_images):
    scores, positive = draw_binary(seed, n_images)
    ours = roc_curve(scores, positive)
    expected = sklearn.metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert ours.false_positive_rate == pytest.approx(expected[0], abs=EXACT)
    assert ours.true_positive_rate == pytest.approx(expected[1], abs=EXACT)
    area = np.trapezoid(ours.true_positive_rate, ours.false_positive_rate)
    assert area == pytest.approx(metrics.auroc(scores, positive), abs=EXACT)
    precision, recall = precision_recall_curve(scores, positive)
    expected = sklearn.metrics.precision_recall_curve(positive, scores)
    assert precision == pytest.approx(expected[0], abs=EXACT)
    assert recall == pytest.approx(expected[1], abs=EXACT)


def value_or_nan(measure, *arguments):
    try:
        return measure(*arguments)
    except UndefinedMetricError:
        return np.nan


def measure_resample(probabilities, targets, decisions, multi_label):
    """All measures of images that are really there, one by one."""
    present = targets.any(axis=0)
    per_class = {
        name: [
            value_or_nan(
                getattr(metrics, name),
                (probabilities if name in ("auroc", "average_precision") else decisions)[:, k],
                targets[:, k],
            )
            if present[k]
            else np.nan
            for k in range(targets.shape[1])
        ]
        for name in CLASS_MEASURES
    }
    overall = {}
    for name, values in per_class.items():
        defined = [value for value in values if not np.isnan(value)]
        overall[name] = sum(defined) / len(defined) if defined else np.nan
    for name in ("accuracy", "balanced_accuracy"):
        overall[name] = value_or_nan(getattr(metrics, name), decisions, targets, multi_label)
    overall["brier_score"] = metrics.brier_score(probabilities, targets, multi_label)
    overall["calibration_error"] = metrics.expected_calibration_error(
        probabilities, targets, multi_label
    )
    if multi_label:
        overall["exact_match"] = metrics.exact_match(decisions, targets)
    return overall, per_class


@settings(deadline=None, max_examples=15)
@given(seed=seeds, n_images=sizes, n_classes=st.integers(2, 4), multi_label=st.booleans())
def test_weights_stand_for_copies(seed, n_images, n_classes, multi_label):
    probabilities, targets, decisions = draw_task(seed, n_images, n_classes, multi_label)
    groups = np.random.default_rng(seed).integers(0, max(2, n_images // 2), n_images)
    sheet = ScoreSheet.of(probabilities, targets, decisions, multi_label)
    numbers = number_groups(groups.tolist(), n_images)
    weights = np.concatenate(list(iterate_weights(numbers, 12, seed, chunk_cells=60)), axis=1)
    ours = sheet.weigh(weights)
    for resample in range(weights.shape[1]):
        rows = np.repeat(np.arange(n_images), weights[:, resample].astype(int))
        overall, per_class = measure_resample(
            probabilities[rows], targets[rows], decisions[rows], multi_label
        )
        assert set(ours.overall) == set(overall)
        for name, expected in overall.items():
            value = ours.overall[name][resample]
            assert value == pytest.approx(expected, abs=EXACT, nan_ok=True), name
        for name, expected in per_class.items():
            value = ours.per_class[name][resample]
            assert value == pytest.approx(np.array(expected), abs=EXACT, nan_ok=True), name


def test_scores_and_intervals_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    n_images, n_classes, n_resamples = 60, 3, 40
    labels = rng.integers(0, n_classes, n_images)
    shares = rng.dirichlet(np.ones(n_classes), n_images) + np.eye(n_classes)[labels]
    probabilities = shares / shares.sum(axis=1, keepdims=True)
    groups = np.repeat(np.arange(30), 2)
    macro = {"average": "macro", "zero_division": 0.0}
    oracles = {
        "accuracy": sklearn.metrics.accuracy_score,
        "recall": lambda y, p: sklearn.metrics.recall_score(y, p, **macro),
        "precision": lambda y, p: sklearn.metrics.precision_score(y, p, **macro),
        "f1": lambda y, p: sklearn.metrics.f1_score(y, p, **macro),
    }
    evaluation = score(
        probabilities,
        np.eye(n_classes)[labels] == 1,
        classes=("a", "b", "c"),
        multi_label=False,
        thresholds=(1 / 3,) * 3,
        groups=groups.tolist(),
        n_resamples=n_resamples,
        seed=9,
    )

    def measure(rows):
        answer = probabilities[rows].argmax(axis=1)
        values = {name: oracle(labels[rows], answer) for name, oracle in oracles.items()}
        values["auroc"] = sklearn.metrics.roc_auc_score(
            labels[rows], probabilities[rows], multi_class="ovr"
        )
        values["average_precision"] = sklearn.metrics.average_precision_score(
            np.eye(n_classes)[labels[rows]], probabilities[rows]
        )
        return values

    values = measure(np.arange(n_images))
    resampled = []
    for resample in range(n_resamples):
        drawn = np.random.default_rng((9, resample)).integers(0, 30, 30)
        resampled.append(measure(np.concatenate([[2 * group, 2 * group + 1] for group in drawn])))
    for name, value in values.items():
        ours = evaluation.overall[name]
        assert ours.value == pytest.approx(value, abs=EXACT)
        ends = np.percentile([measured[name] for measured in resampled], [2.5, 97.5])
        assert [ours.low, ours.high] == pytest.approx(ends, abs=EXACT)
