"""Fixtures for every test."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from array_checks import install

install("medlora")

# A busy machine is no fault of the code: no test is judged by its time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real images and weights that lies beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the real images and weights of {folder}, which is not there")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of small images, 14 each, that brightness tells apart."""
    from run_samples import write_images

    return write_images(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="session")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `images`, good at its task; not to be written to."""
    from run_samples import train

    folder = tmp_path_factory.mktemp("trained") / "run"
    result = train(images, folder, epochs=4, learning_rate=0.01)
    assert result.ended == "finished"
    return folder


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded images of this test lie apart from the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MEDLORA_CACHE", str(folder))
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Callable[..., int]:
    """Runs the command line in this process; gives the exit code."""
    from run_samples import run_command

    return lambda *arguments: run_command(monkeypatch, *arguments)


def pytest_collection() -> None:
    """Look for no garbage while every library is loaded and every test is found."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what the whole session needs out of every later search for garbage."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let what was left out be freed in good order."""
    gc.unfreeze()
