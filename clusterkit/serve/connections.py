"""Connections with time limits for inactive clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

# Seconds for a client that still sends the body of an answered request to read the answer.  Its
# data are discarded, since closing the connection at once would lose the answer.
_LAST_SECONDS = 2.0


def patient_for(seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with additional time limits.

    Parameters
    ----------
    seconds : float
        Within this time the headers of a request must have arrived, and a client must have read
        what was sent to it; otherwise the connection ends.

    Returns
    -------
    type
        For the parameter ``http`` of ``uvicorn.Config``.
    """

    class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """A connection with a timer for the client's next step."""

        # Attributes that both of uvicorn's protocol classes have.
        loop: asyncio.AbstractEventLoop
        transport: asyncio.Transport
        cycle: Any
        _header_timer: asyncio.TimerHandle | None = None
        _reading_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._header_timer = self._in_time(self.transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                # The headers are complete; the application limits the time of the body.
                self._stop_header_timer()
            elif self._header_timer is None:
                is_refused = self.cycle is not None and self.cycle.more_body
                self._header_timer = self._in_time(self.transport.close, is_refused)

        def pause_writing(self) -> None:
            super().pause_writing()
            # Unread data are discarded, since a closing transport would wait for its reader.
            self._reading_timer = self._in_time(self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_reading_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_header_timer()
            self._stop_reading_timer()
            super().connection_lost(exc)

        def _in_time(
            self, end: Callable[[], None], is_refused: bool = False
        ) -> asyncio.TimerHandle:
            """Close the connection, unless the timer is stopped before."""
            return self.loop.call_later(min(seconds, _LAST_SECONDS) if is_refused else seconds, end)

        def _stop_header_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _stop_reading_timer(self) -> None:
            if self._reading_timer is not None:
                self._reading_timer.cancel()
                self._reading_timer = None

    return Connection
