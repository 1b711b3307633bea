"""Root reads whatever it likes; a process that gives this up meets the permissions that users meet."""

import ctypes
import os
import struct
import sys

VERSION_3 = 0x20080522  # of Linux's capability calls: 64 bits in two rows
READS_ANYTHING = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def heed_permissions() -> bool:
    """Give up reading files that forbid it; returns whether they forbid it now."""
    if os.geteuid():
        return True
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    header, rows = struct.pack("=Ii", VERSION_3, 0), ctypes.create_string_buffer(24)
    if libc.capget(header, rows):
        return False
    effective, *others = struct.unpack("=6I", rows.raw)
    return not libc.capset(header, struct.pack("=6I", effective & ~READS_ANYTHING, *others))
