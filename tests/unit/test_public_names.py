"""What `import medlora` offers is there, and is what it says."""

import importlib

import pytest

import medlora


def test_every_public_name_is_there():
    for name in medlora.__all__:
        assert getattr(medlora, name).__name__ == name


def test_public_names_are_listed_once_and_have_a_home():
    assert sorted(medlora.__all__) == sorted(medlora._HOME_OF)
    assert len(set(medlora.__all__)) == len(medlora.__all__)
    assert set(medlora.__all__) < set(dir(medlora))


def test_a_public_name_is_the_one_in_its_home():
    for name, home in medlora._HOME_OF.items():
        assert getattr(medlora, name) is getattr(importlib.import_module(home), name)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        medlora.nothing_of_the_kind  # noqa: B018
