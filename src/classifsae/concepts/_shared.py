"""Concepts that somebody shared: from a folder or the Hub, checked before anything of them is used."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from classifsae import storage
from classifsae.concepts.base import CARD, FORMAT, README, TENSORS, Concepts, ConceptsRecord
from classifsae.errors import ConfigError, DamagedError, StorageError, one_line, require_kind
from classifsae.hub.sharing import fetch
from classifsae.storage import MANIFEST, Json, manifest_of, read_json, require_unchanged

_OWN = "classifsae."
_AGAIN = "get the bundle again from where it came"


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
    require_kind(where, (str, Path), wanted="load_concepts takes a folder, or owner/name on the Hub")
    folder = Path(where).expanduser()
    if not folder.is_dir() or not str(where):
        if str(where).count("/") != 1 or str(where).startswith((".", "/", "~")):
            raise StorageError(f"there is no folder {str(where)!r}; give one, or owner/name on the Hub.")
        folder = fetch(str(where), revision=revision, files=[MANIFEST, TENSORS, "*.json", README])
    if (folder / "concepts").is_dir():
        run = shlex.quote(str(folder))
        raise StorageError(
            f"{folder} is the folder of a run; `classifsae share {run} --to FOLDER` writes its concepts as a "
            f"folder to load."
        )
    by = _written_by(folder)
    _require_known_format(folder, by)
    try:
        return _checked(folder, by)
    except DamagedError as error:
        other = "" if by in ("", version("classifsae")) else f"; {_cure(by)}"
        raise DamagedError(error.folder, error.name, error.what, cure=f"{_AGAIN}{other}") from error
    except (ValidationError, TypeError, AttributeError, RuntimeError) as error:
        why = one_line(error) if isinstance(error, ValidationError) else str(error)
        raise StorageError(f"the concepts in {folder} cannot be read ({why}); {_cure(by)}.") from error


def _checked(folder: Path, by: str) -> Concepts:
    """The concepts in a folder, every file as it was written and no code of others needed."""
    manifest = manifest_of(folder)
    if manifest is None or "coder" not in manifest.record:
        raise StorageError(f"{folder} holds no concepts, or not all of their files; give a folder of save.")
    require_unchanged(folder)
    record = ConceptsRecord.model_validate(manifest.record)
    inside = (str(kind) for kind in _kinds(record.settings))
    coder = next((kind for kind in (record.coder, *inside) if not kind.startswith(_OWN)), None)
    if coder is not None:
        raise ConfigError(
            f"the concepts in {folder} need {coder!r}, which is not part of ClassifSAE; if you have that "
            f"code and trust it, use cs.Concepts.load({str(folder)!r})."
        )
    try:
        return Concepts.load(folder)
    except DamagedError:
        raise
    except StorageError as error:
        cure = _cure(by)
        raise StorageError(f"{error} {cure[0].upper()}{cure[1:]}.") from error


def _kinds(settings: Mapping[str, Json]) -> Iterator[Json]:
    """The dictionaries inside one that was edited."""
    if "kind" in settings:
        yield settings["kind"]
        options = settings.get("options")
        yield from _kinds(options) if isinstance(options, dict) else ()


def _require_known_format(folder: Path, by: str) -> None:
    """Refuse a bundle in a format that this version cannot read.

    Args:
        folder: of the bundle.
        by: the version that wrote it, "" where it does not say.
    Raises:
        StorageError: says what to install.
    """
    for name, known in ((CARD, FORMAT), (MANIFEST, storage.FORMAT)):
        if (found := _noted(folder / name).get("format", known)) != known:
            said = f"{folder} holds concepts whose {name} is of format {found}, and this reads {known}"
            raise StorageError(f"{said}; {_cure(by)}.")


def _written_by(folder: Path) -> str:
    """The version of this package that wrote a bundle, whatever format it is in; "" where it does not say."""
    version_of_card = _noted(folder / CARD).get("version")
    made_with = _noted(folder / MANIFEST).get("made_with")
    versions = made_with.get("versions") if isinstance(made_with, dict) else None
    found = version_of_card or (versions.get("classifsae") if isinstance(versions, dict) else None)
    return found if isinstance(found, str) else ""


def _noted(file: Path) -> dict[str, Json]:
    """What a JSON file says, as far as it can be read."""
    with suppress(StorageError):
        found = read_json(file)
        return found if isinstance(found, dict) else {}
    return {}


def _cure(by: str) -> str:
    """What to do about a bundle that cannot be read, by the version that wrote it."""
    own = version("classifsae")
    if by == own:
        return f"by its own account this version, {own}, wrote it, and it writes no such thing: {_AGAIN}"
    wrote = f"they were written by classifsae {by or 'of another version'}"
    cure = f'pip install "classifsae=={by}", or' if by else "install that one, or"
    return f"{wrote}: {cure} have them saved again with {own}"
