"""Check what a signature says of its arrays, and nothing else, whenever a test calls it.

`install` has every function and method of a package checked from its import on. Array type and
element type are checked; the plain types are mypy's affair, and many tests hand over a wrong one
on purpose, to see the error that a user would see. A function without arrays stays as it is, for
a check at every call of everything takes the tests a seventh of their time.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any, get_args, get_origin

import numpy as np
from beartype import BeartypeConf, beartype

# Where a signature says `float | NDArray`, an int is welcome, as it is to mypy.
CONFIGURATION = BeartypeConf(is_pep484_tower=True)


def install(package: str) -> None:
    """Check the package's modules, all of which are still to be imported."""
    early = sorted(name for name in sys.modules if name.partition(".")[0] == package)
    if early:
        raise RuntimeError(f"imported before their arrays could be checked: {early}")
    sys.meta_path.insert(0, CheckingFinder(package))


class CheckingFinder(MetaPathFinder):
    """Finds the modules of one package, to be checked."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = CheckingLoader(spec.loader.name, spec.loader.path)
        return spec


class CheckingLoader(SourceFileLoader):
    """Runs a module, and puts checked functions in place before others can import them."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        check_members(module, module.__name__)
        for member in list(vars(module).values()):
            if isinstance(member, type) and member.__module__ == module.__name__:
                check_members(member, module.__name__)


def check_members(owner: ModuleType | type, module: str) -> None:
    """Check the functions that a module, or a class of it, has from `module` itself."""
    for name, member in list(vars(owner).items()):
        checked = check_member(member, module)
        if checked is not member:
            setattr(owner, name, checked)


def check_member(member: Any, module: str) -> Any:
    """The function, method or property, checked where it has arrays; anything else as it is."""
    if isinstance(member, FunctionType):
        return check_arrays(member) if member.__module__ == module else member
    if isinstance(member, classmethod | staticmethod):
        return type(member)(check_member(member.__func__, module))
    if isinstance(member, property):
        return property(*(check_member(f, module) for f in (member.fget, member.fset, member.fdel)))
    if isinstance(member, cached_property):
        member.func = check_member(member.func, module)
    return member


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, checking at each call the arguments and the result that are arrays."""
    everything = inspect.get_annotations(function)
    annotations = {name: hint for name, hint in everything.items() if has_array(hint)}
    if hasattr(function, "__wrapped__"):
        # A decorator may give something else than what it decorates, such as a context.
        annotations.pop("return", None)
    if not annotations:
        return function
    function.__annotations__ = annotations
    try:
        return beartype(conf=CONFIGURATION)(function)
    finally:
        function.__annotations__ = everything


def has_array(hint: Any) -> bool:
    """True if an annotation names an array or tensor, itself or inside another type."""
    return any(is_array(part) for part in parts_of(hint))


def parts_of(hint: Any) -> Iterator[Any]:
    """The annotation and all that it is made of."""
    yield get_origin(hint) or hint
    for part in get_args(hint):
        yield from parts_of(part)


def is_array(part: Any) -> bool:
    """True for NumPy's arrays and torch's tensors, without importing torch."""
    if not isinstance(part, type):
        return False
    return issubclass(part, np.ndarray) or part.__module__.startswith("torch")
