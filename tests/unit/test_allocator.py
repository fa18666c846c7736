import platform
import subprocess
import sys

import pytest

from medlora.allocator import keep_large_blocks

PROBE = """
import resource
import numpy as np
from medlora.allocator import keep_large_blocks
if {keeps}:
    assert keep_large_blocks()
def count_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
np.ones(10_000_000)
print(count_faults())
"""


def count_faults(*, keeps: bool) -> int:
    """Pages that a program gets from the system while it asks for 80 MB five times."""
    program = PROBE.format(keeps=keeps)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_large_blocks_are_used_again() -> None:
    assert count_faults(keeps=True) * 10 < count_faults(keeps=False)


def test_other_systems_have_no_such_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_large_blocks() is False
