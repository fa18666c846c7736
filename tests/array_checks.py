"""Check what a signature says of its arrays, and nothing else, whenever a test calls it.

pytest's option `--jaxtyping-packages` wraps every function of the package with `check_arrays`.
Array type, element type and jaxtyping's shapes are checked; the plain types are mypy's affair,
and many tests hand over a wrong one on purpose, to see the error that a user would see.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

# Where a signature says `float | NDArray`, an int is welcome, as it is to mypy.
CONFIGURATION = BeartypeConf(is_pep484_tower=True)


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, checking at each call the arguments and the result that are arrays."""
    annotations = {
        name: hint for name, hint in inspect.get_annotations(function).items() if has_array(hint)
    }
    if not annotations:
        return function
    function.__annotations__ = annotations
    return beartype(conf=CONFIGURATION)(function)


def has_array(hint: Any) -> bool:
    """True if an annotation names an array or tensor, itself or inside another type."""
    return any(is_array(part) for part in parts_of(hint))


def parts_of(hint: Any) -> Iterator[Any]:
    """The annotation and all that it is made of."""
    yield get_origin(hint) or hint
    for part in get_args(hint):
        yield from parts_of(part)


def is_array(part: Any) -> bool:
    """True for jaxtyping's arrays, NumPy's, and torch's tensors, without importing torch."""
    if not isinstance(part, type):
        return False
    return issubclass(part, AbstractArray | np.ndarray) or part.__module__.startswith("torch")
