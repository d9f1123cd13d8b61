"""Concepts that somebody shared: from a folder or the Hub, checked before anything of them is used."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ValidationError

from classifsae.concepts.base import CARD, FORMAT, README, TENSORS, Concepts, ConceptsRecord
from classifsae.errors import ConfigError, StorageError, one_line
from classifsae.hub.sharing import fetch
from classifsae.storage import MANIFEST, Json, manifest_of, require_unchanged

_OWN = "classifsae."


class _Made(BaseModel, extra="ignore"):
    """How a bundle was made, which every version can read."""

    format: int = FORMAT
    version: str = ""


def load_concepts(where: str | Path, *, revision: str | None = None) -> Concepts:
    """Concepts that ``save`` or ``push_to_hub`` wrote, with their card; every file as it was written.

    Args:
        where: a folder, or owner/name on the Hub (its copy in the cache where the Hub cannot be reached).
        revision: branch, tag or commit on the Hub.
    Raises:
        StorageError: no such folder, files missing, or a bundle of another version.
        DamagedError: a file was changed since.
        HubError: there is no such repository.
        ConfigError: concepts of a method that is not this package's own: code of others is not imported.
    """
    folder = Path(where).expanduser()
    if not folder.is_dir():
        if str(where).count("/") != 1 or str(where).startswith((".", "/", "~")):
            raise StorageError(f"there is no folder {folder}; give one, or owner/name on the Hub.")
        folder = fetch(str(where), revision=revision, files=[MANIFEST, TENSORS, "*.json", README])
    made = _made(folder)
    manifest = manifest_of(folder)
    if manifest is None:
        raise StorageError(f"{folder} holds no concepts, or not all of their files; give a folder of save.")
    require_unchanged(folder)
    try:
        record = ConceptsRecord.model_validate(manifest.record)
        inside = (str(kind) for kind in _kinds(record.settings))
        coder = next((kind for kind in (record.coder, *inside) if not kind.startswith(_OWN)), None)
        if coder is not None:
            raise ConfigError(
                f"the concepts in {folder} need {coder!r}, which is not part of ClassifSAE; if you have that "
                f"code and trust it, use cs.Concepts.load({str(folder)!r})."
            )
        return Concepts.load(folder)
    except StorageError as error:
        cure = _cure(made)
        raise StorageError(f"{error} {cure[0].upper()}{cure[1:]}.") from error
    except (ValidationError, TypeError, AttributeError, RuntimeError) as error:
        why = one_line(error) if isinstance(error, ValidationError) else str(error)
        raise StorageError(f"the concepts in {folder} cannot be read ({why}); {_cure(made)}.") from error


def _kinds(settings: Mapping[str, Json]) -> Iterator[Json]:
    """The dictionaries inside one that was edited."""
    if "kind" in settings:
        yield settings["kind"]
        options = settings.get("options")
        yield from _kinds(options) if isinstance(options, dict) else ()


def _made(folder: Path) -> _Made:
    """How the bundle was made.

    Raises:
        StorageError: in a format that this version cannot read.
    """
    file = folder / CARD
    try:
        made = _Made.model_validate_json(file.read_bytes()) if file.is_file() else _Made()
    except (OSError, ValidationError) as error:
        raise StorageError(f"{file} is damaged; fetch or save the concepts again.") from error
    if made.format != FORMAT:
        raise StorageError(
            f"{folder} holds concepts of format {made.format}, and this reads {FORMAT}; {_cure(made)}."
        )
    return made


def _cure(made: _Made) -> str:
    by = f"classifsae {made.version}" if made.version else "another version of classifsae"
    cure = f'pip install "classifsae=={made.version}", or' if made.version else "install that one, or"
    return f"they were written by {by}: {cure} have them saved again with {version('classifsae')}"
