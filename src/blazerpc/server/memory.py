"""What Python and the system's allocator are told of a server's memory."""

from __future__ import annotations

import gc
from typing import Final

#: Just below the most that glibc's threshold moves to.
_BLOCK: Final = (32 << 20) - (64 << 10)


def keep_large_blocks() -> None:
    """Have blocks of up to 32 MiB used again; of 64 MiB and more that are free, some are given up.

    By default glibc gives a large block back to the system when it is freed, and takes the next
    message's anew, page by page: that costs more than all copies of the message. From the first
    large block that is freed, which this is, it keeps those of that size. It is never written to,
    and so takes no memory. Other allocators have rules of their own, and nothing happens.

    https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD
    """
    bytearray(_BLOCK)


def keep_what_was_started() -> None:
    """Leave what is there now out of Python's search for garbage, which would go through it again.

    For a process that does nothing but serve: models and libraries stay until its end, and a
    search among their hundreds of thousands of objects makes a call wait.

    https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()
