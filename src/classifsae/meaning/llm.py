"""A language model that names concepts: which one, and how it is asked one question at a time."""

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from string import Formatter
from threading import Thread
from typing import IO, TYPE_CHECKING, Annotated, Literal, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from classifsae.bounds import NonNegativeInt, PositiveFloat, PositiveInt
from classifsae.errors import ClassifSAEError, ConfigError
from classifsae.notebook import counted

if TYPE_CHECKING:
    from classifsae.tensors import OnStep

KEY = "CLASSIFSAE_API_KEY"
"""Environment variable with the endpoint's key. It is sent, and never kept in any file."""

MOST_TOKENS = 64
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first retry; each further is twice as long, or as the endpoint says, up to a minute."""

MOST_BYTES, MOST_ERROR_BYTES = 1 << 20, 1 << 12
"""Of an answer, and of an error's text."""

MOST_PROMPT = 20_000
"""Characters of a prompt of one's own."""

FIELDS = ("classes", "sentences", "others", "words")
"""What a prompt of one's own may hold in braces."""

_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)

Ask = Callable[[str], str]
"""A question to a raw answer; raises ``AskError``."""

Maker = Literal["words", "endpoint", "local"]
"""What a run makes names from: the words of its texts, or a language model."""


class AskError(ClassifSAEError):
    """A question without an answer; further questions would have none either."""


class NameOptions(BaseModel):
    """Who names the concepts.

    Attributes:
        source: written ``from``: "words" takes phrases of the texts; "endpoint" asks a model behind an
            OpenAI-compatible endpoint, which is sent sentences of the training split, and of the test split
            to see which it picks by a name alone and for the metric ``simulatability``; "local" asks a
            Hugging Face language model on this machine.
        model: of the endpoint, or a folder or Hub id.
        url: of the endpoint, up to ``/v1``.
        timeout: seconds to wait for one answer of the endpoint.
        retries: further attempts where the endpoint does not answer, or is too busy.
        parallel: questions that the endpoint is asked at once.
        temperature: of the endpoint's answers; None: it is not spoken of.
        prompt: the question in one's own words, with {sentences}, and {others}, {words}, {classes} as wanted;
            or the file, ending in .txt or .md, that holds it, and that is read at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    source: Maker = Field("words", alias="from")
    model: str | None = None
    url: str | None = None
    timeout: PositiveFloat = 60.0
    retries: NonNegativeInt = 3
    parallel: PositiveInt = 8
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    prompt: str | None = None

    @field_validator("prompt")
    @classmethod
    def _fillable(cls, given: str | None) -> str | None:
        if given is None:
            return None
        text = _read(given) if given.endswith((".txt", ".md")) and "\n" not in given else given
        try:
            parsed = [found for found in Formatter().parse(text) if found[1] is not None]
        except ValueError as error:
            raise ValueError(f"must have each brace that stands for itself twice ({error})") from error
        fields = sorted(
            {str(name) + (f":{form}" if form else "") + (how or "") for _, name, form, how in parsed}
        )
        if "sentences" not in fields or not {*fields} <= {*FIELDS} or len(text) > MOST_PROMPT:
            raise ValueError(
                f"must be a question of up to {MOST_PROMPT:,} characters with {{sentences}}, and in braces "
                f"nothing but {', '.join(FIELDS)}, or a .txt file with one; got {', '.join(fields) or 'none'}"
            )
        return text

    @field_validator("url")
    @classmethod
    def _web_address(cls, given: str | None) -> str | None:
        parts = urlsplit(given or "http://localhost")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"must be an address such as http://localhost:8000/v1, got {given!r}")
        if parts.username or parts.password or parts.query:
            raise ValueError(f"must hold no key, it would be kept; set the variable {KEY} in the environment")
        return given

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"words": set(), "endpoint": {"url", "model"}, "local": {"model"}}[self.source]
        given = {name for name in ("url", "model") if getattr(self, name) is not None}
        if self.source == "words" and (self.prompt or self.temperature is not None):
            raise ValueError("from: words asks no model, so it has no prompt and no temperature")
        if needed != given:
            needs = " and ".join(sorted(needed)) or "neither model nor url"
            raise ValueError(
                f"from: {self.source} needs {needs}, got {' and '.join(sorted(given)) or 'neither'}"
            )
        return self

    def identity(self) -> dict[str, JsonValue]:
        """What decides the names."""
        return self.model_dump(mode="json", include={"source", "model", "url", "temperature", "prompt"})

    @property
    def n_parallel(self) -> int:
        """Questions that may be asked at once."""
        return self.parallel if self.source == "endpoint" else 1

    def ask(self, device: str | None = None) -> Ask | None:
        """The language model to ask; None for names from words.

        Raises:
            ConfigError: there is no such local model.
        """
        if self.model is None:
            return None
        if self.url is None:
            return local(model=self.model, device=device)
        return endpoint(
            url=self.url,
            model=self.model,
            timeout=self.timeout,
            retries=self.retries,
            temperature=self.temperature,
        )


def _read(name: str) -> str:
    """A prompt's file."""
    try:
        return Path(name).expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"is the file {name!r}, which cannot be read ({error}); give a text file") from error


def endpoint(*, url: str, model: str, timeout: float, retries: int, temperature: float | None = None) -> Ask:
    """A model behind an OpenAI-compatible endpoint, which may be asked several questions at once.

    Args:
        url: what ``/chat/completions`` is appended to, such as ``http://localhost:8000/v1``.
        model: its name there.
        timeout: seconds to wait for an answer, all of it.
        retries: further attempts after a time-out, a lost connection, or an answer that says "later".
        temperature: of the answers; None: not spoken of, as some models refuse it.
    """

    def ask(question: str) -> str:
        messages: list[JsonValue] = [{"role": "user", "content": question}]
        body: dict[str, JsonValue] = {"model": model, "messages": messages}
        if temperature is not None:
            body["temperature"] = temperature
        request = Request(f"{url.rstrip('/')}/chat/completions", json.dumps(body).encode(), _headers())
        return _content(_sent(request, timeout, retries), url)

    return ask


def ask_all(
    ask: Ask, questions: Sequence[str | None], *, n_parallel: int = 1, on_step: "OnStep | None" = None
) -> list[str | AskError | None]:
    """The answer to each question, several asked at once; once one has none, the others are not asked.

    Args:
        ask: the language model; not more than one question at once unless it can.
        questions: None where there is none.
        n_parallel: questions that are asked at once.
        on_step: told how many are done.
    """
    asked = giving_up(ask)

    def answer(question: str | None) -> str | AskError | None:
        try:
            return None if question is None else asked(question)
        except AskError as error:
            return error

    found = []
    with ThreadPoolExecutor(n_parallel) if n_parallel > 1 else nullcontext() as pool:
        for one in map(answer, questions) if pool is None else pool.map(answer, questions):
            found.append(one)
            if on_step is not None:
                on_step(len(found), len(questions), {})
    return found


def giving_up(ask: Ask) -> Ask:
    """The same language model, which is asked nothing more once it gave no answer."""
    failed: list[AskError] = []

    def asked(question: str) -> str:
        if failed:
            raise failed[0]
        try:
            return ask(question)
        except AskError as error:
            failed.append(error)
            raise

    return asked


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would carry the key to wherever it leads."""

    def redirect_request(  # noqa: PLR0917
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Do not follow; the answer counts as an error."""


@dataclass(frozen=True)
class _Reply:
    """What an endpoint answered: at most ``MOST_BYTES`` and one more."""

    status: int
    reason: str
    headers: Message
    body: bytes


def _sent(request: Request, timeout: float, retries: int) -> bytes:
    """The body of the answer, after as many attempts as it takes.

    Raises:
        AskError: there is no answer, or the endpoint refuses.
    """
    why, wait = "", 0.0
    for attempt in range(retries + 1):
        time.sleep(wait)
        wait = FIRST_WAIT * 2**attempt
        tried = f"({counted(attempt + 1, 'attempt')})"
        try:
            reply = _within(timeout, lambda: _reply(request, timeout))
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)  # urllib wraps some errors, and not others
            late = f"it did not answer in time, {timeout:g} seconds"
            said = late if isinstance(cause, TimeoutError) else _line(str(cause))
            why = f"{said} at {request.full_url} {tried}"
            continue
        if len(reply.body) > MOST_BYTES:
            raise AskError(f"it answered more than {MOST_BYTES:,} bytes")
        if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
            return reply.body
        why = f"it answered {reply.status} {_line(reply.reason)}{_said(reply.body)} {tried}"
        if reply.status not in _LATER and reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            break
        wait = min(max(wait, _asked_wait(reply.headers)), LONGEST_WAIT)
    raise AskError(why)


def _reply(request: Request, timeout: float) -> _Reply:
    """One attempt."""
    try:
        with build_opener(_NoRedirect).open(request, timeout=timeout) as response:
            return _Reply(response.status, response.reason, response.headers, response.read(MOST_BYTES + 1))
    except HTTPError as error:
        with error:
            return _Reply(error.code, error.reason, error.headers, error.read(MOST_ERROR_BYTES))


def _within(seconds: float, call: Callable[[], _Reply]) -> _Reply:
    """What a call returns, if it does in so many seconds; else it is left alone, as it may never end.

    Raises:
        TimeoutError: it took longer.
    """
    box: SimpleQueue[_Reply | OSError | HTTPException] = SimpleQueue()

    def run() -> None:
        try:
            box.put(call())
        except (OSError, HTTPException) as error:
            box.put(error)

    Thread(target=run, daemon=True).start()
    try:
        found = box.get(timeout=seconds)
    except Empty as error:
        raise TimeoutError from error
    if isinstance(found, Exception):
        raise found
    return found


def _asked_wait(headers: Message) -> float:
    """Seconds that an endpoint asks to wait, 0 if it does not say."""
    given = headers.get("Retry-After", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _said(body: bytes) -> str:
    """The endpoint's own words about an error, in brackets; "" where there are none."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = {} if text.lstrip().startswith("<") else text  # a page for browsers says little
    for key in ("error", "message", "detail"):
        found = found[key] if isinstance(found, dict) and key in found else found
    line = _line(found) if isinstance(found, str) else ""
    return f": {line}" if line else ""


def _line(text: str) -> str:
    """The beginning of a text on one line, without the key that it may repeat."""
    key = os.environ.get(KEY)
    hidden = text.replace(key, "[key]") if key else text
    return " ".join("".join(c if c.isprintable() else " " for c in hidden).split())[:200]


def _content(body: bytes, url: str) -> str:
    """The text in an answer of an OpenAI-compatible endpoint."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        content = None
    if not isinstance(content, str):
        said = body[:60].decode("utf-8", "replace")
        raise AskError(f"it answered {said!r}, not as /chat/completions of OpenAI does; check the url {url}")
    return content


def local(*, model: str, device: str | None = None) -> Ask:
    """A Hugging Face language model on this machine; it always says its most probable answer.

    Args:
        model: a folder or Hub id, with safetensors weights.
        device: None: a GPU if there is one.
    Raises:
        ConfigError: there is no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from classifsae.hub.devices import pick_device
    from classifsae.hub.files import BACKBONES, locate, only_local
    from classifsae.hub.quiet import quiet

    cure = "give a folder or Hub id of a causal language model with safetensors weights"
    try:
        place = locate(str(BACKBONES.fields(model).get("model", model)))
    except ConfigError as error:
        raise ConfigError(f"names: there is no language model {model!r}; {cure}.") from error
    only_here = only_local(place)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=only_here)
            lm = AutoModelForCausalLM.from_pretrained(
                place, local_files_only=only_here, use_safetensors=True, dtype="auto"
            )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"names: cannot load the language model {model!r} ({' '.join(str(error).split())[:200]}); {cure}."
        ) from error
    kinds = ", ".join(lm.config.architectures or ())
    if "Classification" in kinds:
        raise ConfigError(f"names: {model!r} is a classifier ({kinds}), no language model; {cure}.")
    lm = lm.eval().requires_grad_(False).to(pick_device(device))
    room = (lm.config.get_text_config().max_position_embeddings or 2048) - MOST_TOKENS

    def ask(question: str) -> str:
        if tokenizer.chat_template:
            chat = [{"role": "user", "content": question}]
            question = str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
        given = tokenizer(question, return_tensors="pt", add_special_tokens=not tokenizer.chat_template)
        tokens = given["input_ids"].to(lm.device)
        if tokens.shape[1] > room:
            raise AskError(f"the question takes {tokens.shape[1]} tokens, and it reads {room}")
        with quiet(), torch.inference_mode():
            answer = lm.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                max_new_tokens=MOST_TOKENS,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id or 0,
            )
        return str(tokenizer.decode(answer[0, tokens.shape[1] :], skip_special_tokens=True))

    return ask
