import sys
from pathlib import Path
from typing import get_args

import pytest

from medlora.errors import SettingsError, StorageError
from medlora.task.card import Method
from medlora.tune.space_file import load_space, parse_yaml


def test_a_file_is_read(tmp_path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("# fast\nepochs: 3\nlearning_rate: [1e-3, .01]\noptimizer: [adam, sgd]\n")
    space = load_space(path)
    assert space.base.epochs == 3
    assert space.dimensions["learning_rate"].options == (0.001, 0.01)
    with pytest.raises(StorageError, match=r"none\.yaml"):
        load_space(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"rank: [1, 2]\nepochs: 3\nrank: 4\n", "'rank' is there twice"),
        (b"rank: [1, 2", "is not valid YAML"),
        (b"rank: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"#" * 2_000_000, "larger than a search space can be"),
    ],
)
def test_what_is_no_space_is_refused(content, fault) -> None:
    with pytest.raises(SettingsError, match=rf"space\.yaml.*{fault}"):
        parse_yaml(content, "space.yaml")


def test_the_shipped_spaces_are_read() -> None:
    files = sorted((Path(__file__).resolve().parents[3] / "spaces").glob("*.yaml"))
    assert [path.name for path in files] == ["vgg16-lora.yaml"]
    if "factorised" not in get_args(Method):
        pytest.skip("needs the method 'factorised', which this version does not have")
    space = load_space(files[0])
    # Three rates, three batch sizes, three optimisers, two numbers of epochs.
    assert len(space.list_points()) == 54
    assert (space.base.method, space.base.backbone, space.base.rank) == ("factorised", "vgg16", 8)


def test_a_missing_parser_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(SettingsError, match=r"pip install 'medlora\[tune\]'"):
        parse_yaml(b"rank: 1", "space.yaml")
