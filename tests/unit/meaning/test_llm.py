"""Asking a model: over HTTP from a server on this machine, and a tiny random one from a folder."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from classifsae.errors import ConfigError
from classifsae.meaning import llm
from classifsae.meaning.llm import KEY, AskError, endpoint, local

GOOD = json.dumps({"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Oil"}}]})


class Server:
    """Gives these answers, (status, body, seconds), one after the other, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, str, float]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.url = ""

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
    assert (body["model"], body["messages"]) == ("tiny", [{"role": "user", "content": "What is it?"}])


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
    ["", "<html>Welcome</html>", "[]", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}'],
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
        with pytest.raises(AskError, match=r"220 mail.*1 attempts"):
            endpoint(url=url, model="tiny", timeout=5.0, retries=0)("What is it?")
        thread.join()


def test_nobody_listening_is_one_clear_line():
    with serving() as server:
        pass
    with pytest.raises(AskError, match=r"refused.*2 attempts"):
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
