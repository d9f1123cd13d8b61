"""A language model that names concepts: which one, and how it is asked one question at a time."""

import json
import os
import time
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from typing import IO, Literal, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from classifsae.bounds import NonNegativeInt, PositiveFloat
from classifsae.errors import ClassifSAEError, ConfigError

KEY = "CLASSIFSAE_API_KEY"
"""Environment variable with the endpoint's key. It is sent, and never kept in any file."""

MOST_TOKENS = 64
FIRST_WAIT = 1.0
"""Seconds before the first retry; each further wait is twice as long."""

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
            for the metric ``simulatability``; "local" asks a Hugging Face language model on this machine.
        model: of the endpoint, or a folder or Hub id.
        url: of the endpoint, up to ``/v1``.
        timeout: seconds to wait for one answer of the endpoint.
        retries: further attempts where the endpoint does not answer, or is too busy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    source: Maker = Field("words", alias="from")
    model: str | None = None
    url: str | None = None
    timeout: PositiveFloat = 60.0
    retries: NonNegativeInt = 2

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
        if needed != given:
            needs = " and ".join(sorted(needed)) or "neither model nor url"
            raise ValueError(
                f"from: {self.source} needs {needs}, got {' and '.join(sorted(given)) or 'neither'}"
            )
        return self

    def identity(self) -> dict[str, JsonValue]:
        """What decides the names."""
        return self.model_dump(mode="json", include={"source", "model", "url"})

    def ask(self, device: str | None = None) -> Ask | None:
        """The language model to ask; None for names from words.

        Raises:
            ConfigError: there is no such local model.
        """
        if self.model is None:
            return None
        if self.url is None:
            return local(model=self.model, device=device)
        return endpoint(url=self.url, model=self.model, timeout=self.timeout, retries=self.retries)


def endpoint(*, url: str, model: str, timeout: float, retries: int) -> Ask:
    """A model behind an OpenAI-compatible endpoint.

    Args:
        url: what ``/chat/completions`` is appended to, such as ``http://localhost:8000/v1``.
        model: its name there.
        timeout: seconds to wait for an answer.
        retries: further attempts after a time-out, a lost connection, or an answer that says "later".
    """

    def ask(question: str) -> str:
        messages: list[JsonValue] = [{"role": "user", "content": question}]
        body: dict[str, JsonValue] = {"model": model, "messages": messages, "temperature": 0}
        request = Request(f"{url.rstrip('/')}/chat/completions", json.dumps(body).encode(), _headers())
        return _content(_sent(request, timeout, retries), url)

    return ask


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would carry the key to wherever it leads."""

    def redirect_request(  # noqa: PLR0917
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Do not follow; the answer counts as an error."""


def _sent(request: Request, timeout: float, retries: int) -> bytes:
    """The body of the answer, after as many attempts as it takes.

    Raises:
        AskError: there is no answer, or the endpoint refuses.
    """
    for attempt in range(retries + 1):
        if attempt:
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        try:
            with build_opener(_NoRedirect).open(request, timeout=timeout) as response:
                body: bytes = response.read()
                return body
        except HTTPError as error:
            with error:
                why = f"it answered {error.code} {error.reason} ({attempt + 1} attempts)"
            if error.code != HTTPStatus.TOO_MANY_REQUESTS and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                break
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)  # urllib wraps some errors, and not others
            line = " ".join(str(cause).split())[:200]
            said = "it did not answer in time" if isinstance(cause, TimeoutError) else line
            why = f"{said} ({attempt + 1} attempts)"
    raise AskError(why)


def _content(body: bytes, url: str) -> str:
    """The text in an answer of an OpenAI-compatible endpoint."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        content = None
    if not isinstance(content, str):
        raise AskError(
            f"it answered {body[:60]!r}, not as /chat/completions of OpenAI does; check the url {url}"
        )
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

    place = locate(str(BACKBONES.fields(model).get("model", model)))
    only_here = only_local(place)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=only_here)
            lm = AutoModelForCausalLM.from_pretrained(
                place, local_files_only=only_here, use_safetensors=True, dtype="auto"
            )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"names: cannot load the language model {model!r} ({' '.join(str(error).split())[:200]}); give a "
            f"folder or Hub id of a causal language model with safetensors weights."
        ) from error
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
