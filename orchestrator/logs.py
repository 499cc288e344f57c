"""Logging: one line per step end, a stable `event=` verb, ids as fields; secrets and signed links never."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return what a log call passed as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _escape(value: object) -> str:
    """A field on one line: control characters (log injection, fault I13) come out escaped."""
    text = str(value)
    if text.isprintable() and " " not in text and '"' not in text and text:
        return text
    return _show(json.dumps(text, ensure_ascii=False))


def _show(text: str) -> str:
    """Escape what a terminal or a line reader would act on and JSON leaves as it is: C1 controls, U+2028, bidi marks."""
    return "".join(mark if mark.isprintable() else json.dumps(mark)[1:-1] for mark in text)


def _indent(traceback: str) -> str:
    """Every line set in, so that no message inside it can pass for a line of ours."""
    return "\n".join(f"  {_show(line)}" for line in traceback.splitlines())


class TextFormatter(logging.Formatter):
    """`time level event=... key=value`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a traceback follows on its own lines."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        parts = [time, record.levelname, f"event={_escape(record.getMessage())}"]
        parts += [f"{name}={_escape(value)}" for name, value in fields_of(record).items()]
        line = " ".join(parts)
        return f"{line}\n{_indent(self.formatException(record.exc_info))}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        value: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        return _show(json.dumps(value, default=str, ensure_ascii=False))


def set_up(log_format: LogFormat, *, level: int = logging.INFO) -> None:
    """Log to stderr. Only our own loggers speak below WARNING: client libraries print whole URLs at INFO."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("orchestrator").setLevel(level)
