"""No secret in the log, whatever way it gets there (law 7)."""

import io
import json
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog

from web.config import LogFormat, LogLevel
from web.logging import configure_logging, redact, redact_text

NASTY = ["p@ss:w/rd汉字", "a@b@c", "s3cr?t#x", "p w d", "汉字", "x'y\"z", "%40%3A", "end@"]


@pytest.fixture(params=[LogFormat.JSON, LogFormat.CONSOLE])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(LogLevel.DEBUG, request.param, "node-1", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("password", NASTY)
def test_credentials_in_a_url_are_starred(password: str) -> None:
    for written in (password, quote(password, safe="")):
        if " " in written:
            continue
        text = redact_text(f"cannot connect to rtsp://admin:{written}@10.0.0.9:554/ch1, trying again")
        assert written not in text
        assert "10.0.0.9:554/ch1, trying again" in text


@pytest.mark.parametrize("password", NASTY)
def test_no_way_of_logging_shows_a_password(log: io.StringIO, password: str) -> None:
    logger = structlog.get_logger("test")
    plain = logging.getLogger("other.package")
    logger.info("event", password=password, camera={"url": "rtsp://h/", "password": password}, api_key=password)
    logger.info("nested", items=[{"Authorization": f"Basic {password}"}], csrf_token=password)
    plain.warning("config %s", {"user": "u", "password": password})
    plain.info("header Authorization: Bearer %s", password)
    plain.info("Cookie: sanhui_session=%s; x=1", password)
    if " " not in password:
        plain.warning("connect rtsp://admin:%s@10.0.0.9/ch", password)
        logger.warning("failed", url=f"rtsp://admin:{password}@10.0.0.9/ch")
        try:
            int(f"rtsp://admin:{password}@10.0.0.9/ch")
        except ValueError:
            logger.exception("trace")
    text = log.getvalue()
    assert "event" in text
    assert password not in text
    assert json.dumps(password)[1:-1] not in text
    assert json.dumps(password, ensure_ascii=False)[1:-1] not in text


def test_what_is_no_secret_stays(log: io.StringIO) -> None:
    structlog.get_logger("test").info(
        "camera online", camera="cam-1", token_count=3, url="rtsp://10.0.0.9:554/ch1", n=1.5
    )
    text = log.getvalue()
    for kept in ("camera online", "cam-1", "rtsp://10.0.0.9:554/ch1", "1.5", "node-1"):
        assert kept in text
    assert "***" not in text


def test_json_is_one_object_a_line() -> None:
    root = logging.getLogger()
    handlers = root.handlers[:]
    stream = io.StringIO()
    try:
        configure_logging(LogLevel.INFO, LogFormat.JSON, "n", stream)
        logging.getLogger("a").info("line one\nline two")
        structlog.get_logger("b").info("会议开始", meeting="m1")
    finally:
        root.handlers[:] = handlers
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["line one\nline two", "会议开始"]
    assert lines[1]["meeting"] == "m1"


def test_the_setup_link_is_starred() -> None:
    assert redact_text("GET /setup/abcdefghijklmnopqrstuvwxyz") == "GET /setup/***"


def test_redaction_keeps_numbers_and_shape() -> None:
    assert redact({"a": [1, None, True, 2.5], "secret": {"b": 1}}) == {"a": [1, None, True, 2.5], "secret": "***"}
