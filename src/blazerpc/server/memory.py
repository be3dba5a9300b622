"""What the system's allocator is told, for messages of megabytes that come and go."""

from __future__ import annotations

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
