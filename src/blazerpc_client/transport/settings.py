"""SETTINGS (RFC 9113, section 6.5.2): what this side announces, what the peer has announced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from blazerpc_client.transport.errors import ConnectionFault, ErrorCode
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.windows import DEFAULT_WINDOW, MAX_WINDOW


class Setting(IntEnum):
    """Identifiers of settings (RFC 9113, section 6.5.2)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


#: RFC 7541, section 4.2: the table of either side, until settings say otherwise.
DEFAULT_TABLE: Final = 4096

#: RFC 9113, section 4.2: what every peer takes.
DEFAULT_FRAME: Final = 1 << 14


def announced(limits: Limits, *, client: bool) -> dict[int, int]:
    """Return the settings that this side sends first."""
    settings: dict[int, int] = {
        Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
        Setting.MAX_FRAME_SIZE: limits.max_frame_size,
        Setting.MAX_HEADER_LIST_SIZE: limits.max_header_list,
    }
    if client:
        return {Setting.ENABLE_PUSH: 0, **settings}
    return {Setting.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams, **settings}


@dataclass(slots=True)
class PeerSettings:
    """What the peer has announced; the defaults are those of RFC 9113, section 6.5.2."""

    client: bool
    header_table_size: int = DEFAULT_TABLE
    max_concurrent_streams: int = MAX_WINDOW
    initial_window_size: int = DEFAULT_WINDOW
    max_frame_size: int = DEFAULT_FRAME
    max_header_list_size: int = MAX_WINDOW

    def apply(self, settings: dict[int, int]) -> None:
        """Take the peer's settings; unknown ones are ignored (RFC 9113, section 6.5.2).

        Raises:
            ConnectionFault: for a value that none may have.
        """
        for identifier, value in settings.items():
            apply = _APPLY.get(identifier)
            if apply is not None:
                apply(self, value)

    def _header_table_size(self, value: int) -> None:
        self.header_table_size = value

    def _enable_push(self, value: int) -> None:
        # A server may say nothing but 0 (RFC 9113, section 6.5.2).
        allowed = (0, 1) if self.client else (0,)
        if value not in allowed:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")

    def _max_concurrent_streams(self, value: int) -> None:
        self.max_concurrent_streams = value

    def _initial_window_size(self, value: int) -> None:
        if value > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        self.initial_window_size = value

    def _max_frame_size(self, value: int) -> None:
        if not DEFAULT_FRAME <= value < 1 << 24:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
        self.max_frame_size = value

    def _max_header_list_size(self, value: int) -> None:
        self.max_header_list_size = value


_APPLY: Final[dict[int, Callable[[PeerSettings, int], None]]] = {
    Setting.HEADER_TABLE_SIZE: PeerSettings._header_table_size,
    Setting.ENABLE_PUSH: PeerSettings._enable_push,
    Setting.MAX_CONCURRENT_STREAMS: PeerSettings._max_concurrent_streams,
    Setting.INITIAL_WINDOW_SIZE: PeerSettings._initial_window_size,
    Setting.MAX_FRAME_SIZE: PeerSettings._max_frame_size,
    Setting.MAX_HEADER_LIST_SIZE: PeerSettings._max_header_list_size,
}
