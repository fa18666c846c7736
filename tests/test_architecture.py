"""The shape of the source: tiers, names, sizes, and what an import may cost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "medlora"
MODULES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted({path.parent for path in MODULES})
MAX_LINES = 320
EMPTY_WORDS = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
HEAVY = {"lightning_fabric", "matplotlib", "scipy", "skimage", "timm", "torch", "torchvision"}


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds this source first."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def modules_loaded_by(statement: str) -> set[str]:
    """Top-level names in `sys.modules` after `statement` ran in a fresh interpreter."""
    code = (
        "import sys\n"
        "try:\n"
        f"    {statement}\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "print('loaded:', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("loaded:")[2].split())


def test_the_source_is_found() -> None:
    assert {SOURCE / "__init__.py", SOURCE / "errors.py"} <= set(MODULES)


def test_imports_keep_to_the_tiers() -> None:
    contracts = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = run_python("-c", contracts, "--config", str(ROOT / "pyproject.toml"), "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_stay_short(module: Path) -> None:
    n_lines = len(module.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{module} has {n_lines} lines: split it by what it is about."


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_names_say_something(module: Path) -> None:
    words = {
        word
        for part in module.relative_to(SOURCE).with_suffix("").parts
        for word in part.lower().split("_")
    }
    assert not words & EMPTY_WORDS


def test_every_folder_of_modules_is_a_package() -> None:
    assert [folder for folder in PACKAGES if not (folder / "__init__.py").is_file()] == []


def test_importing_the_package_is_light() -> None:
    assert modules_loaded_by("import medlora") & (HEAVY | {"numpy", "rich", "typer"}) == set()


def test_asking_for_help_is_light() -> None:
    statement = (
        "import runpy; sys.argv = ['medlora', '--help']; "
        "runpy.run_module('medlora', run_name='__main__')"
    )
    assert modules_loaded_by(statement) & HEAVY == set()


def test_the_light_import_check_sees_a_heavy_import() -> None:
    assert "scipy" in modules_loaded_by("import scipy")
