"""Who names the concepts, as an experiment file says it; read without the libraries that do."""

from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    field_validator,
    model_validator,
)

if TYPE_CHECKING:
    from classifsae.meaning.llm import Ask

Maker = Literal["words", "endpoint", "local"]

KEY = "CLASSIFSAE_API_KEY"
"""Environment variable with the endpoint's key. It is sent, and never kept in any file."""


class NameOptions(BaseModel):
    """Who names the concepts.

    Attributes:
        source: written ``from``: "words" takes the strongest words; "endpoint" asks a model behind an
            OpenAI-compatible endpoint, which is sent sentences of the training split; "local" asks a Hugging
            Face language model on this machine.
        model: of the endpoint, or a folder or hub id.
        url: of the endpoint, up to ``/v1``.
        timeout: seconds to wait for one answer of the endpoint.
        retries: further attempts where it does not answer, or is too busy.
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

    def ask(self, device: str | None = None) -> "Ask | None":
        """Whom to ask; None for names from words.

        Raises:
            ConfigError: there is no such local model.
        """
        from classifsae.meaning.llm import endpoint, local

        if self.source == "endpoint":
            assert self.url is not None
            assert self.model is not None
            return endpoint(url=self.url, model=self.model, timeout=self.timeout, retries=self.retries)
        if self.source == "local":
            assert self.model is not None
            return local(model=self.model, device=device)
        return None
