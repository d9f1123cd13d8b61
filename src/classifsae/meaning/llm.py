"""Asking a language model one question at a time: behind an address, or on this machine."""

import json
import os
import time
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from typing import IO, Annotated
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch
from pydantic import BaseModel, Field, ValidationError

from classifsae.errors import ClassifSAEError, ConfigError
from classifsae.hub.devices import pick_device
from classifsae.hub.files import BACKBONES, locate, only_local
from classifsae.hub.quiet import quiet
from classifsae.meaning.options import KEY
from classifsae.storage import Json

MOST_TOKENS = 64
FIRST_WAIT = 1.0
"""Seconds before the first retry; each further wait is twice as long."""

Ask = Callable[[str], str]
"""A question to a raw answer; raises ``AskError``."""


class AskError(ClassifSAEError):
    """A question that got no answer; asking others would be in vain."""


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """The part that is read of what an OpenAI-compatible endpoint answers."""

    choices: Annotated[list[_Choice], Field(min_length=1)]


def endpoint(*, url: str, model: str, timeout: float, retries: int) -> Ask:
    """A model behind an OpenAI-compatible endpoint.

    Args:
        url: what ``/chat/completions`` is appended to, such as ``http://localhost:8000/v1``.
        model: its name there.
        timeout: seconds to wait for an answer.
        retries: further attempts after a time-out, a lost connection, or an answer that says "later".
    """

    def ask(question: str) -> str:
        messages: list[Json] = [{"role": "user", "content": question}]
        body: dict[str, Json] = {"model": model, "messages": messages, "temperature": 0}
        request = Request(f"{url.rstrip('/')}/chat/completions", json.dumps(body).encode(), _headers())
        return _content(_retried(lambda: _sent(request, timeout), retries), url)

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


def _sent(request: Request, timeout: float) -> bytes:
    with build_opener(_NoRedirect).open(request, timeout=timeout) as response:
        body: bytes = response.read()
    return body


def _retried(send: Callable[[], bytes], retries: int) -> bytes:
    """What is sent back, after some attempts.

    Raises:
        AskError: nothing is, or the endpoint refuses.
    """
    for attempt in range(retries + 1):
        try:
            return send()
        except HTTPError as error:
            with error:
                why, final = f"it answered {error.code} {error.reason}", not _may_pass(error.code)
        except (URLError, OSError) as error:
            cause = error.reason if isinstance(error, URLError) else error
            why, final = (
                ("it did not answer in time" if isinstance(cause, TimeoutError) else str(cause)),
                False,
            )
        if final or attempt == retries:
            raise AskError(f"{why} ({attempt + 1} attempts)")
        time.sleep(FIRST_WAIT * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _may_pass(code: int) -> bool:
    return code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR


def _content(body: bytes, url: str) -> str:
    try:
        return _Completion.model_validate_json(body).choices[0].message.content
    except ValidationError as error:
        raise AskError(
            f"it answered {body[:60]!r}, not as /chat/completions of OpenAI does; check the url {url}"
        ) from error


def local(*, model: str, device: str | None = None) -> Ask:
    """A Hugging Face language model on this machine; it always says its most probable answer.

    Args:
        model: a folder or hub id, with safetensors weights.
        device: None: a GPU if there is one.
    Raises:
        ConfigError: there is no such model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

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
            f"folder or hub id of a causal language model with safetensors weights."
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
