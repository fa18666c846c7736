"""What is counted in a list of images."""

from medlora.report.facts import ListedImage, count_files


def test_patients_and_copies_are_counted_within_and_across_splits() -> None:
    images = [
        ListedImage("train", "a", "1", "anna"),
        ListedImage("train", "a", "1", "anna"),
        ListedImage("train", "b", "2", "bert"),
        ListedImage("test", "b", "2", "bert"),
        ListedImage("test", "a", "3", "cleo"),
        ListedImage("val", "b", "3", ""),
        ListedImage("val", "b", "", ""),
        ListedImage("val", "b", "", ""),
    ]
    assert count_files(images) == {
        "splits": {
            "train": {"n_images": 3, "n_patients": 2},
            "test": {"n_images": 2, "n_patients": 2},
            "val": {"n_images": 3, "n_patients": None},
        },
        "n_patients_across": 1,
        "duplicates": {"n_groups": 3, "n_images": 6, "n_across": 2, "n_conflicting": 1},
    }


def test_without_patients_nothing_is_said_of_them() -> None:
    assert count_files([ListedImage("train", "a", "1", "")])["n_patients_across"] is None
