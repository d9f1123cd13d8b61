"""Asking a model: over HTTP from a server on this machine, and a tiny random one from a folder."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from classifsae.errors import ConfigError
from classifsae.meaning import llm
from classifsae.meaning.llm import KEY, AskError, ask_all, endpoint, local

GOOD = json.dumps({"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Oil"}}]})


class Server:
    """Gives these answers, (status, body, seconds), one after the other, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, str, float]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.url, self.retry_after = "", ""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.path, dict(self.headers), body))
                status, text, seconds = outer.answers.pop(0)
                time.sleep(seconds)
                try:
                    self.send_response(status)
                    if status == 302:
                        self.send_header("Location", f"{outer.url}/elsewhere")
                    if outer.retry_after:
                        self.send_header("Retry-After", outer.retry_after)
                    self.end_headers()
                    self.wfile.write(text.encode())
                except OSError:
                    pass  # whoever asked has stopped waiting

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def serving(*answers: tuple[int, str, float]) -> Iterator[Server]:
    server = Server(*answers)
    with ThreadingHTTPServer(("127.0.0.1", 0), server.handler()) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY, raising=False)


def ask(server: Server, *, timeout: float = 5.0, retries: int = 2) -> str:
    return endpoint(url=server.url, model="tiny", timeout=timeout, retries=retries)("What is it?")


def test_a_question_is_sent_as_openai_has_it_and_the_content_is_the_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY, "secret")
    with serving((200, GOOD, 0)) as server:
        assert ask(server) == "Oil"
    ((path, headers, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {"model": "tiny", "messages": [{"role": "user", "content": "What is it?"}]}


def test_a_temperature_is_sent_where_one_is_asked_for():
    with serving((200, GOOD, 0)) as server:
        endpoint(url=server.url, model="tiny", timeout=5, retries=0, temperature=0.5)("What is it?")
    assert server.asked[0][2]["temperature"] == 0.5


def test_without_a_key_none_is_sent():
    with serving((200, GOOD, 0)) as server:
        ask(server)
    assert "Authorization" not in server.asked[0][1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_that_may_pass_is_asked_again(status: int):
    with serving((status, "busy", 0), (200, GOOD, 0)) as server:
        assert ask(server) == "Oil"
    assert len(server.asked) == 2


def test_an_error_that_stays_is_said_after_the_last_attempt():
    with (
        serving(*[(503, "busy", 0)] * 3) as server,
        pytest.raises(AskError, match=r"answered 503 .*3 attempts"),
    ):
        ask(server)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            '{"error": {"message": "Unsupported value:\\n temperature", "code": 7}}',
            "Unsupported value: temperature",
        ),
        ('{"error": "no such model"}', "no such model"),
        ('{"message": "context too long"}', "context too long"),
        ("the key sk-secret is wrong", r"the key \[key\] is wrong"),
        ("x" * 5000, "x{200}"),
    ],
)
def test_the_words_of_the_endpoint_about_an_error_are_said(
    body: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(KEY, "sk-secret")
    with (
        serving((400, body, 0)) as server,
        pytest.raises(AskError, match=rf"^it answered 400 .*: {said} \(1 att"),
    ):
        ask(server)


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", "[" * 4000, '{"error": [1]}'])
def test_an_error_without_words_is_its_number(body: str):
    with (
        serving((400, body, 0)) as server,
        pytest.raises(AskError, match=r"^it answered 400 \S.*\(1 attempt\)$"),
    ):
        ask(server)


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [
        ("7", 7),
        ("9999", llm.LONGEST_WAIT),
        ("soon", 0.01),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.01),
        ("-3", 0.01),
    ],
)
def test_a_busy_endpoint_says_how_long_to_wait(
    asked_for: str, waited: float, monkeypatch: pytest.MonkeyPatch
):
    slept: list[float] = []
    with serving((429, "busy", 0), (200, GOOD, 0)) as server:
        server.retry_after = asked_for
        monkeypatch.setattr(llm.time, "sleep", slept.append)
        assert ask(server) == "Oil"
    assert max(slept) == waited


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_an_answer_without_end_is_given_up_in_time(begins: bytes):
    """Bytes that drip into a body, or a header, never let a socket's own time-out pass."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(begins)
                while not stop.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        url, begin = f"http://127.0.0.1:{listening.getsockname()[1]}/v1", time.monotonic()
        with pytest.raises(
            AskError, match=r"did not answer in time, 0\.3 seconds at http://\S+ \(1 attempt\)"
        ):
            endpoint(url=url, model="tiny", timeout=0.3, retries=0)("What is it?")
        assert time.monotonic() - begin < 5
        stop.set()
        thread.join()


def test_an_answer_that_would_fill_the_memory_is_left():
    with (
        serving((200, " " * (llm.MOST_BYTES + 100), 0)) as server,
        pytest.raises(AskError, match="it answered more than 1,048,576 bytes"),
    ):
        ask(server)
    assert len(server.asked) == 1


def test_questions_are_asked_at_once_and_answers_keep_their_order():
    inside, most, lock = 0, 0, threading.Lock()

    def slow(question: str) -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02 * (3 - int(question) % 3))
        with lock:
            inside -= 1
        return f"answer {question}"

    steps: list[int] = []
    found = ask_all(
        slow, ["0", None, "1", "2", "3", "4"], n_parallel=3, on_step=lambda done, total, _: steps.append(done)
    )
    assert found == ["answer 0", None, *(f"answer {i}" for i in range(1, 5))]
    assert 1 < most <= 3
    assert steps == [1, 2, 3, 4, 5, 6]


def test_after_a_failure_no_more_is_asked():
    asked: list[str] = []

    def failing(question: str) -> str:
        asked.append(question)
        raise AskError("no")

    found = ask_all(failing, [str(i) for i in range(50)], n_parallel=4)
    assert all(isinstance(one, AskError) for one in found)
    assert len(asked) <= 4


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_not_asked_again_and_tells_no_key(status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY, "secret")
    with serving((status, "no", 0)) as server, pytest.raises(AskError, match=f"answered {status}") as found:
        ask(server)
    assert len(server.asked) == 1
    assert "secret" not in str(found.value)


def test_a_slow_answer_is_given_up_and_asked_again():
    with serving((200, GOOD, 0.5), (200, GOOD, 0)) as server:
        assert ask(server, timeout=0.2) == "Oil"
    with serving((200, GOOD, 0.5)) as server, pytest.raises(AskError, match="did not answer in time"):
        ask(server, timeout=0.2, retries=0)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        "",
        "<html>Welcome</html>",
        "[]",
        '{"choices": []}',
        '{"choices": [{"message": {"content": null}}]}',
    ],
)
def test_rubbish_is_said_to_be_rubbish(body: str):
    with serving((200, body, 0)) as server, pytest.raises(AskError, match="not as /chat/completions"):
        ask(server)


def test_a_redirect_is_not_followed_so_that_the_key_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY, "secret")
    with serving((302, "", 0)) as server, pytest.raises(AskError, match="answered 302"):
        ask(server)
    assert len(server.asked) == 1


def test_what_is_no_http_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail at your service\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(AskError, match=r"220 mail.*1 attempt"):
            endpoint(url=url, model="tiny", timeout=5.0, retries=0)("What is it?")
        thread.join()


def test_nobody_listening_is_one_clear_line():
    with serving() as server:
        pass
    with pytest.raises(AskError, match=r"refused at http://\S+ \(2 attempts\)"):
        ask(server, retries=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of random weights, with a tokenizer, in a folder."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from classifsae.classifier.loading.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = train_tokenizer(["What is it?", "oil prices fell"], kind="decoder", vocab_size=300)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_local_model_answers_the_same_twice_without_repeating_the_question(model: Path):
    ask_local = local(model=str(model), device="cpu")
    answer = ask_local("What is it?")
    assert answer == ask_local("What is it?")
    assert not answer.startswith("What is it?")


def test_a_question_that_does_not_fit_is_said_not_to(model: Path):
    with pytest.raises(AskError, match=r"the question takes .* tokens, and it reads 64"):
        local(model=str(model), device="cpu")("word " * 200)


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot load the language model"):
        local(model=str(tmp_path))
