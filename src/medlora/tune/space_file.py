"""Spaces as YAML files."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from medlora.errors import SettingsError
from medlora.storage import read_file
from medlora.tune.space import Space, read_space

_MAX_BYTES = 1_000_000


def load_space(path: Path) -> Space:
    """Read a space from a YAML file; JSON is YAML, too.

    Args:
        path: The file.

    Raises:
        StorageError: It cannot be read.
        SettingsError: It is no YAML, names a key twice, or is no space.
    """
    return read_space(parse_yaml(read_file(path, "search space"), str(path)), str(path))


def parse_yaml(content: bytes, place: str) -> object:
    """The plain value in a YAML text; nothing in it is run.

    Raises:
        SettingsError: It is too large, no YAML, names a key twice, or PyYAML is missing.
    """
    try:
        import yaml
    except ImportError as error:
        raise SettingsError("Reading a space needs PyYAML: pip install 'medlora[tune]'.") from error
    if len(content) > _MAX_BYTES:
        raise SettingsError(f"{place} is larger than a search space can be ({_MAX_BYTES} bytes).")

    class StrictLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        """YAML's own loader takes the last of two equal keys without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            seen = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=deep)
                if key in seen:
                    raise SettingsError(f"{place}: {key!r} is there twice.")
                seen.add(key)
            found: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
            return found

    try:
        return yaml.load(content, Loader=StrictLoader)  # noqa: S506, it derives from SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{place} is not valid YAML: {reason}.") from error
