from __future__ import annotations

import json
import logging
import sys

import pytest

from blazerpc.cli.logs import JsonFormatter


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.logger", logging.INFO, __file__, 1, message, args, None)
    vars(made).update(extra)
    return made


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    line = JsonFormatter().format(record('say "%s"\n\x1b[2J', "é\u2028"))
    assert len(line.splitlines()) == 1
    assert line.isascii()
    fields = json.loads(line)
    assert fields["message"] == 'say "é\u2028"\n\x1b[2J'
    assert (fields["level"], fields["logger"]) == ("INFO", "a.logger")
    assert fields["time"].endswith("+00:00")
    assert "request_id" not in fields


def test_a_call_is_fields() -> None:
    call = {"method": "/a/B", "status": "OK", "duration_ms": 1.5}
    fields = json.loads(JsonFormatter().format(record("/a/B OK 1.5ms and more", call=call)))
    assert fields["message"] == "/a/B OK"
    assert fields["duration_ms"] == 1.5


def test_a_traceback_is_in_the_line() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        made = record("it failed", exc_info=sys.exc_info())
    fields = json.loads(JsonFormatter().format(made))
    assert fields["exception"].endswith("ValueError: no")


@pytest.mark.parametrize("value", ["text", 3, object()])
def test_what_somebody_else_calls_a_call_is_left_alone(value: object) -> None:
    fields = json.loads(JsonFormatter().format(record("a line", call=value)))
    assert fields["message"] == "a line"
