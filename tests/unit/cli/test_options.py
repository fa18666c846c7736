import numpy as np
import pytest

from medlora.cli.options import check_split, open_cache, split_channels, split_names
from medlora.errors import SettingsError


def test_the_cache_lies_where_it_is_asked_for(tmp_path) -> None:
    cache = open_cache(tmp_path / "here", 1.0)
    cache.put("ab" * 32, np.zeros(3, np.uint8))
    assert any((tmp_path / "here").iterdir())
    none = open_cache(tmp_path / "none", 0.0)
    none.put("ab" * 32, np.zeros(3, np.uint8))
    assert not (tmp_path / "none").exists()


def test_names_are_what_stands_between_commas() -> None:
    assert split_names(" a, b c,,") == ("a", "b c")
    assert split_names("") == ()


@pytest.mark.parametrize("typed", ["none", " none ", ""])
def test_no_series_can_be_said_in_words(typed) -> None:
    assert split_channels(typed) == ()
    assert split_channels("path_t1, path_t2") == ("path_t1", "path_t2")


def test_a_split_that_nothing_has_is_refused() -> None:
    check_split("all")
    with pytest.raises(SettingsError, match="--split must be train, val, test or all, not 'Test'"):
        check_split("Test")
