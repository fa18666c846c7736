"""How the process gets its memory: large blocks are kept for the next batch."""

import ctypes
import platform

# From glibc's malloc.h: what `mallopt` calls these two settings.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def keep_large_blocks() -> bool:
    """Let glibc keep freed memory of any size for later, in place of giving it back each time.

    Blocks over 32 MB otherwise come from the system, and go back to it, in every layer of every
    batch, and the system fills each with zeros first. On processors that takes a quarter of a
    training step of ViT-B/16. The process then keeps the most memory that it has needed so far.

    This is a setting of the whole process, so that only a program makes it, never a library: the
    command line does, and a server of one's own should when it starts.

    Returns:
        Whether it was made: other systems' libraries have no such setting.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _LARGEST))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)
