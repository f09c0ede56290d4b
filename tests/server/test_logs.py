"""The server's own log: its format, its level, and gunicorn's lines in it."""

import datetime as dt
import json
import logging

import pytest

from tests.serving import eventually, serve
from webhook.server.logs import configure_logging


@pytest.fixture
def restored_log():
    log = logging.getLogger("tokenguard")
    handlers, level, propagate = log.handlers, log.level, log.propagate
    yield log
    log.handlers, log.level, log.propagate = handlers, level, propagate


def log_lines(server) -> list[dict[str, object]]:
    return [json.loads(line) for line in server.log.splitlines()]


def test_json_log_has_one_object_per_line(tmp_path):
    with serve(tmp_path, "--log-format", "json") as server:
        lines = log_lines(server)
    assert {tuple(line) for line in lines} == {("time", "level", "logger", "pid", "message")}
    assert {line["level"] for line in lines} <= {"info", "warning"}
    for line in lines:
        assert dt.datetime.fromisoformat(line["time"]).tzinfo is dt.UTC
    assert any("serving on https://" in line["message"] for line in lines)


def test_json_log_includes_lines_of_gunicorn(tmp_path):
    with serve(tmp_path, "--log-format", "json") as server:
        [worker] = server.workers
        server.replace_worker()
        errors = [line for line in log_lines(server) if line["logger"] == "gunicorn.error"]
    assert any(str(worker) in line["message"] for line in errors)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_log_level_leaves_out_less_severe_lines(capsys, log_format, restored_log):
    configure_logging(log_format, "error")
    restored_log.warning("a warning")
    restored_log.getChild("part").error("an error")
    [line] = capsys.readouterr().err.splitlines()
    assert "an error" in line


@pytest.mark.parametrize("mode", ["audit", "enforce"])
def test_policy_line_names_source_and_mode(tmp_path, mode):
    file = tmp_path / "own.yaml"
    file.write_text(f"apiVersion: tokenguard/v1\nkind: TokenPolicy\nmode: {mode}\n")
    with serve(tmp_path, "--policy", str(file)) as server:
        assert f"policy in force: {file}, revision " in server.log
        assert f", mode {mode}\n" in server.log


def test_missing_policy_file_is_waited_for(tmp_path):
    with serve(tmp_path, "--policy", str(tmp_path / "missing.yaml"), ready=False) as server:
        eventually(lambda: "waiting for it" in server.log)
    assert f"policy {tmp_path}/missing.yaml cannot be read (errors: 1); none is in force yet, waiting" in server.log
