"""Closing a listening socket without turning anybody away who has just been let in.

Connections that the kernel has accepted and the program has not are reset when the socket closes: to their
clients it looks as if a request was lost. So the socket first stops to let anybody in, then the program takes
those who are in already, and only then does it close.
"""

import ctypes
import socket
import struct
import sys
from typing import Final

_SO_ATTACH_FILTER: Final = 26
"""asm-generic/socket.h; Python has no name for it."""

_SYN: Final = 0x02

# Classic BPF (linux/filter.h): code, jump if true, jump if false, operand. A filter on a TCP socket sees the
# segment from its header on, whose flags are its byte 13 (RFC 9293, section 3.1).
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),  # load byte 13
    (0x45, 0, 1, _SYN),  # is SYN set?
    (0x06, 0, 0, 0),  # then drop the segment
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep all of it
)


def let_nobody_in(listening: socket.socket) -> bool:
    """Have the kernel leave new connections unanswered; say whether it does. Those under way are completed.

    Their clients knock again a second later (RFC 6298) and are refused then, if the socket is closed: a proxy
    goes on to its next server, for nothing was sent yet. Only Linux can do it.
    """
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:  # a kernel without it, or a sandbox that forbids it
        return False
    return True
