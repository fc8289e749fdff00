"""The last warnings of this process, for the support bundle: the log itself is kept elsewhere."""

from __future__ import annotations

import logging
from collections import deque

KEPT = 200  # lines


class Recent(logging.Handler):
    """Keeps the newest lines in memory, without tracebacks, in which anything may stand."""

    lines: deque[str] = deque(maxlen=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.levelname} {record.name}{getattr(record, 'request_id', '')}"
        stamp = self._stamp.formatTime(record)
        self.lines.append(f"{stamp} {line} {record.getMessage()}")

    _stamp = logging.Formatter()
