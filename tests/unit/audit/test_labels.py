import numpy as np

from medlora.audit.labels import find_label_issues, predict_out_of_fold


def draw_classes(n_images=90, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_images) % n_classes
    centres = 4 * np.eye(n_classes, 6)
    return centres[labels] + rng.normal(size=(n_images, 6)), labels


def test_wrong_labels_are_found_and_come_first() -> None:
    features, labels = draw_classes()
    wrong = labels.copy()
    wrong[[4, 10, 50]] = (labels[[4, 10, 50]] + 1) % 3
    targets = np.eye(3, dtype=bool)[wrong]
    folds = np.arange(90) // 3 % 5
    answers = predict_out_of_fold(features, targets, folds, multi_label=False)
    issues = find_label_issues(answers, targets, multi_label=False)
    assert {issue.row for issue in issues[:3]} == {4, 10, 50}
    assert all(issue.suggested == labels[issue.row] for issue in issues[:3])
    assert all(issue.given == wrong[issue.row] for issue in issues)
    assert [issue.margin for issue in issues] == sorted(issue.margin for issue in issues)


def test_an_image_is_answered_by_a_model_that_has_not_seen_it() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 40))
    targets = np.eye(2, dtype=bool)[rng.integers(0, 2, 60)]
    # Each image twice, in one fold: what is learnt by heart must not help.
    folds = np.tile(np.arange(60) % 5, 2)
    answers = predict_out_of_fold(
        np.tile(features, (2, 1)), np.tile(targets, (2, 1)), folds, multi_label=False
    )
    right = (answers.argmax(1) == np.tile(targets, (2, 1)).argmax(1)).mean()
    assert 0.25 < right < 0.75
    np.testing.assert_allclose(answers.sum(axis=1), 1)


def test_every_label_of_several_is_a_question_of_its_own() -> None:
    features, labels = draw_classes(n_classes=2)
    targets = np.column_stack([labels == 1, np.zeros(90, bool), labels == 0])
    targets[8, 0] = True
    answers = predict_out_of_fold(features, targets, np.arange(90) // 2 % 5, multi_label=True)
    assert (answers[:, 1] == 0).all()
    first = find_label_issues(answers, targets, multi_label=True)[0]
    assert (first.row, first.given, first.suggested, first.has_label) == (8, 0, 0, True)


def test_a_class_missing_in_training_gets_no_probability() -> None:
    features, labels = draw_classes(30)
    targets = np.eye(3, dtype=bool)[labels]
    answers = predict_out_of_fold(features, targets, (labels == 2).astype(int), multi_label=False)
    assert (answers[labels == 2, 2] == 0).all()
