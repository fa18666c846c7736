"""Versions of the software that numbers depend on."""

import platform
from importlib import metadata

PACKAGES = (
    "medlora",
    "torch",
    "timm",
    "torchvision",
    "numpy",
    "pillow",
    "pydicom",
    "scikit-image",
    "scikit-learn",
)


def list_versions() -> dict[str, str]:
    """Python's version and that of each installed package that has a say in an answer."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions
