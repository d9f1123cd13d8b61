"""`classifsae serve`: this machine alone asks it, a browser gets an explanation, and texts stay texts."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest

from classifsae.errors import ConfigError, StorageError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from classifsae.pipeline.serve import MOST_BYTES, Server, server_of
from e2e.conftest import write_experiment

BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
JSON = {"Content-Type": "application/json"}
MARKUP = "the goal <img src=x onerror=\"document.title='taken'\"> and a coach"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    small = {"methods": {"kmeans": {}}, "seeds": [3], "metrics": ["completeness", "causality"], "audit": None}
    (point,) = load_experiment(write_experiment(folder, **small, words={"language": "none"}))
    run(point)
    return folder / "run"


@pytest.fixture(scope="module")
def server(finished: Path) -> Iterator[Server]:
    with server_of(finished, port=0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server: Server, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """Status and text of a request as this machine makes it, but for these headers."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, sent, (JSON if method == "POST" else {}) | named)
    reply = connection.getresponse()
    return reply.status, reply.read().decode()


def test_a_sentence_is_explained_as_json_and_as_html_that_is_escaped(server: Server):
    status, said = ask(server, "POST", "/explain", {"text": MARKUP}, Origin=server.address[:-1])
    assert status == 200
    explanation = json.loads(said)
    assert explanation["text"] == MARKUP
    assert explanation["classifier"]["label"] in {"sports", "money", "space"}
    assert "<img" not in explanation["html"]
    assert "&lt;img" in explanation["html"]


def test_the_page_and_its_tables_are_served_and_nothing_else(server: Server, finished: Path):
    status, page = ask(server, "GET", "/")
    assert (status, page.count("data-served>"), page.count("connect-src 'self'")) == (200, 1, 1)
    assert "data-served>" not in (finished / "report" / "index.html").read_text()
    assert ask(server, "GET", "/table.csv")[1] == (finished / "report" / "table.csv").read_text()
    assert json.loads(ask(server, "GET", "/scores.json")[1])
    for path in (
        "/../experiment.json",
        "/experiment.json",
        "//etc/passwd",
        "/%2e%2e/summary.json",
        "/explain",
    ):
        assert ask(server, "GET", path)[0] == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_host_or_origin_is_refused(server: Server, method: str):
    path, body = ("/", None) if method == "GET" else ("/explain", {"text": "a goal"})
    for wrong in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{server.server_port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://127.0.0.1:{server.server_port}"},
    ):
        assert ask(server, method, path, body, **wrong)[0] == 403
    assert ask(server, method, path, body, Host=f"localhost:{server.server_port}")[0] == 200


def test_what_is_no_question_is_refused(server: Server):
    for body in (b"no json", b"[" * 60_000, ["a goal"], {"text": 7}, {"text": " "}, {}, b"\xff\xfe"):
        status, said = ask(server, "POST", "/explain", body)
        assert (status, list(json.loads(said))) == (400, ["error"])
    assert ask(server, "POST", "/explain", {"text": "a"}, Content_Type="text/plain")[0] == 415
    assert ask(server, "POST", "/explain", b"", Content_Length=str(MOST_BYTES + 1))[0] == 413
    assert ask(server, "POST", "/explain", b"", Content_Length="-1")[0] == 411
    assert ask(server, "POST", "/other", {"text": "a"})[0] == 404


def test_it_listens_on_this_machine_alone_and_a_taken_port_is_one_line(server: Server, finished: Path):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(ConfigError, match=rf"cannot serve at port {server.server_port} .*--port"):
        server_of(finished, port=server.server_port)
    with pytest.raises(StorageError, match="no report"):
        server_of(finished.parent / "nothing")


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(finished: Path):
    command = [sys.executable, "-m", "classifsae", "serve", str(finished), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine")
def test_the_served_page_explains_what_is_typed_and_the_file_offers_no_box(server: Server, finished: Path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((finished / "report" / "index.html").as_uri())
        assert not page.locator("#try").is_visible()
        assert not page.get_by_text("Export:").is_visible()
        page.goto(server.address)
        title = page.title()
        page.get_by_role("textbox", name="Sentence").fill(MARKUP)
        page.get_by_role("button", name="Explain").click()
        sync_api.expect(page.locator("#try output table")).to_be_visible(timeout=20_000)
        assert "Label: " in page.locator("#try output").inner_text()
        assert MARKUP in page.locator("#try output").inner_text()
        assert page.title() == title
        page.get_by_role("textbox", name="Sentence").fill("   ")
        page.get_by_role("button", name="Explain").click()
        sync_api.expect(page.locator("#try output")).to_contain_text("cannot explain an empty text")
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        assert Path(download.value.path()).read_text() == (finished / "report" / "table.csv").read_text()
        assert [line for line in said if "400" not in line] == []
        browser.close()
