"""SIGTERM loses no request; a folder that does not match its manifest is never served."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from runtimes import echo
from tests.serving.running import Server, server

TEXT = "one two three four five six"


def test_a_stop_finishes_what_runs_and_refuses_the_rest(slow_version: Path, tmp_path: Path) -> None:
    with server(slow_version, tmp_path / "log", "--max-batch", "2") as running:
        with ThreadPoolExecutor(6) as pool, httpx.Client() as late:
            assert late.get(f"{running.url}/health/ready").status_code == 200
            whole = [pool.submit(running.predict, TEXT) for _ in range(3)]  # one of them waits for a place
            streams = [pool.submit(_stream, running) for _ in range(2)]
            running.wait_for("assay_inflight_requests", 5)
            running.terminate()
            _until_draining(running)
            refused = late.post(f"{running.url}/predict", json={"text": "late"})
            assert refused.status_code == 503
            assert refused.headers["connection"] == "close"
            assert refused.headers["retry-after"] == "1"
            assert httpx.get(f"{running.url}/health/live").status_code == 200
            assert [future.result().status_code for future in whole] == [200] * 3
            assert [future.result().strip() for future in streams] == [TEXT] * 2
        assert running.process.wait(10) == 0


def test_load_through_a_stop_loses_nothing(echo_version: Path, tmp_path: Path) -> None:
    """Clients that keep connections alive, and go elsewhere when they are refused, as a gateway does."""
    with server(echo_version, tmp_path / "log") as running:

        def client(_: int) -> list[int]:
            codes: list[int] = []
            with httpx.Client() as keep_alive:  # a connection that breaks fails the test
                while 503 not in codes:
                    codes.append(keep_alive.post(f"{running.url}/predict", json={"text": "hi"}).status_code)
            return codes

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(client, number) for number in range(4)]
            while running.metric("assay_requests_total", code="200") < 50:
                time.sleep(0.02)
            running.terminate()
            found = [future.result() for future in futures]
        assert running.process.wait(10) == 0
        for codes in found:
            assert set(codes[:-1]) == {200}


def test_a_drain_that_takes_too_long_ends_and_says_so(slow_version: Path, tmp_path: Path) -> None:
    with server(slow_version, tmp_path / "log", "--drain-timeout-s", "0.3") as running:
        with ThreadPoolExecutor(1) as pool:
            cut = pool.submit(running.predict, TEXT * 10)
            running.wait_for("assay_inflight_requests", 1)
            running.terminate()
            assert running.process.wait(5) == 1
            assert cut.result().status_code == 500  # told, not left hanging
        assert '"lost":1' in running.log.read_text()


def test_an_engine_that_hangs_keeps_no_process(tiny_qwen2: Path, tmp_path: Path) -> None:
    echo.write(tmp_path / "hung", tiny_qwen2, "hung", echo.Behaviour(step_ms=600_000))
    with server(tmp_path / "hung", tmp_path / "log", "--drain-timeout-s", "0.3") as running:
        with ThreadPoolExecutor(1) as pool:
            cut = pool.submit(running.predict, TEXT)
            running.wait_for("assay_inflight_requests", 1)
            running.terminate()
            assert cut.result().status_code == 500
        assert running.process.wait(20) == 1
        assert "the engine hangs in a step" in running.log.read_text()


def test_a_tampered_folder_is_refused_by_the_files_name(echo_version: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    shutil.copytree(echo_version, folder)
    with (folder / "tokenizer.json").open("a") as stream:
        stream.write(" ")
    command = [sys.executable, "-m", "pipelines.serve", "--folder", str(folder), "--slot", "blue", "--port", "0"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "changed: tokenizer.json" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_wrong_setting_is_refused_by_its_name(echo_version: Path) -> None:
    command = [sys.executable, "-m", "pipelines.serve", "--folder", str(echo_version), "--slot", "blue"]
    run = subprocess.run([*command, "--port", "99999"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "port" in run.stderr


def _stream(running: Server) -> str:
    chunks = running.client().chat.completions.create(
        model="assay", messages=[{"role": "user", "content": TEXT}], stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def _until_draining(running: Server) -> None:
    deadline_s = time.monotonic() + 5
    while httpx.get(f"{running.url}/health/ready").status_code == 200:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_port_that_is_taken_is_told_in_the_last_line(echo_version: Path) -> None:
    """It is what the local target shows of a slot that ended by itself."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "pipelines.serve", "--folder", str(echo_version), "--slot", "blue"]
        ended = subprocess.run(
            [*command, "--port", str(port)], capture_output=True, text=True, check=False, timeout=60
        )
    assert (ended.returncode, ended.stderr.strip()) == (
        1,
        f"error: nothing can listen on 127.0.0.1:{port}: see the line before",
    )
    assert "address already in use" in ended.stdout
