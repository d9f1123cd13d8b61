"""What each concept stands for, in words: a name, its words, and the sentences on which it is most active."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from classifsae.activations import Activations
from classifsae.activity import activating_sets, strongest_rows
from classifsae.concepts.base import Concepts
from classifsae.errors import ConfigError, MismatchError, StorageError
from classifsae.meaning.words import (
    N_READ,
    Term,
    Tokens,
    WordOptions,
    as_written,
    count_terms,
    tokenise,
    weigh,
)
from classifsae.storage import Manifest, finish, manifest_of, write_text
from classifsae.tensors import Float, Tensor, batches


@dataclass(frozen=True)
class Word:
    """A word or phrase of a concept.

    Attributes:
        text: as it is shown, lower-cased.
        weight: TF-IDF, above 0; only its order and ratio within one concept mean something.
    """

    text: str
    weight: float


@dataclass(frozen=True)
class ActiveSentence:
    """A sentence on which a concept is active.

    Attributes:
        row: of the sentence among the activations it was found in.
        activation: of the concept there, in the method's own unit.
    """

    row: int
    activation: float


Maker = Literal["words", "endpoint", "local"]


@dataclass(frozen=True)
class Origin:
    """Where a name comes from that is not of the described sentences' own words.

    Attributes:
        made_by: "words" of the training split, a language model ("endpoint", "local"), or the "user".
        auroc: of the name on the test split, in [0, 1]; None where it was not or cannot be judged.
        better_than_chance: whether that is so.
    """

    made_by: Maker | Literal["user"]
    auroc: float | None = None
    better_than_chance: bool = False


@dataclass(frozen=True)
class Description:
    """One concept in words.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary; what a user calls it by.
        name: short, and unique among the concepts described together.
        words: the strongest first.
        sentences: the most active first.
        origin: of the name; None for one of the words given here.
    """

    position: int
    latent: int
    name: str
    words: tuple[Word, ...]
    sentences: tuple[ActiveSentence, ...]
    origin: Origin | None = None


N_SENTENCES = 10
N_WORDS = 20
MAX_PHRASE = 3
"""Words of a phrase at most."""

MAX_DESCRIBED = 50
"""A method with more concepts than this is not described by an experiment: nobody reads that many."""

DESCRIPTIONS = "descriptions.json"

NAMED, NAMES = "named", "names.json"
"""Folder in a run, and file, of the names made by the naming stage."""

_N_NAME_WORDS = 3
_LIST = TypeAdapter(tuple[Description, ...])
MOST_OWN = 80
"""Characters of a name of one's own."""


def describe(
    concepts: Concepts,
    activations: Activations,
    texts: Sequence[str],
    *,
    options: WordOptions | None = None,
) -> tuple[Description, ...]:
    """Every concept in words: a name, its words and phrases, and its sentences.

    Words are those of the 100 sentences of its activating set on which a concept is most active, weighed by
    TF-IDF over one such document per concept and one for the corpus.

    Args:
        concepts: fitted on activations of the same source.
        activations: of the sentences to describe by; the test split.
        texts: the original texts, of the same rows.
        options: how texts are split into words.
    Raises:
        MismatchError: other texts or activations than the concepts'.
    """
    concepts.source.require(activations.source, this="the concepts", that="the activations")
    if len(texts) != len(activations):
        raise MismatchError(
            f"there are {len(texts)} texts and activations of {len(activations)}; give the texts captured."
        )
    codes = codes_of(concepts, activations).cpu()
    rows = strongest_rows(codes, activating_sets(codes), at_most=N_READ)
    words = top_words(tokenise(tuple(texts), options or WordOptions()), rows)
    latents = concepts.kept.tolist()
    names = default_names(words, latents, [bool(r) for r in rows])
    sentences = [
        tuple(ActiveSentence(row, float(codes[row, j])) for row in r[:N_SENTENCES])
        for j, r in enumerate(rows)
    ]
    columns = zip(latents, names, words, sentences, strict=True)
    return tuple(Description(j, *column) for j, column in enumerate(columns))


def codes_of(concepts: Concepts, activations: Activations) -> Float[Tensor, "n m"]:
    """Activations of the kept concepts on every sentence."""
    concepts = concepts.to(activations.hidden.device)
    with torch.no_grad():
        parts = batches(len(activations), activations.hidden.shape[1])
        return torch.cat([concepts.encode(activations.hidden[part].float()) for part in parts])


def top_words(tokens: Sequence[Tokens], rows: Sequence[Sequence[int]]) -> list[tuple[Word, ...]]:
    """The strongest words and phrases of each concept, from the rows of its sentences.

    A word that stands in a phrase at least half of the time gives way to the phrase; a phrase that mostly
    says words again is left out, and so is one that occurs once.
    """
    documents = [count_terms([tokens[r].lemmas for r in read], max_length=MAX_PHRASE) for read in rows]
    found = []
    for read, counts, weights in zip(rows, documents, weigh(documents), strict=True):
        terms = _without_repeats(weights, counts)[:N_WORDS]
        spelled = as_written(terms, [tokens[r] for r in read])
        found.append(tuple(Word(s, weights[t]) for s, t in zip(spelled, terms, strict=True)))
    return found


def _without_repeats(weights: Mapping[Term, float], counts: Counter[Term]) -> list[Term]:
    """The heaviest terms of which at least half of the words are not in one before them."""
    fuller = _fuller_phrases(counts)
    listed: list[Term] = []
    said: set[str] = set()
    for term in weights:
        if len(term) > 1 and counts[term] == 1:
            continue
        for candidate in (fuller.get(term, term), term):
            if 2 * sum(word in said for word in candidate) <= len(candidate):
                listed.append(candidate)
                said.update(candidate)
                break
    return sorted(listed, key=lambda term: -weights[term])


def _fuller_phrases(counts: Counter[Term]) -> dict[Term, Term]:
    """For each term that stands in a phrase at least half of the time, the longest such phrase."""
    repeated = sorted((len(phrase), n, phrase) for phrase, n in counts.items() if n > 1)
    return {part: phrase for _, n, phrase in repeated for part in _parts(phrase) if 2 * n >= counts[part]}


def _parts(phrase: Term) -> list[Term]:
    """All shorter phrases within a phrase."""
    return [
        phrase[start : start + length]
        for length in range(1, len(phrase))
        for start in range(len(phrase) - length + 1)
    ]


def default_names(
    words: Sequence[Sequence[Word]], latents: Sequence[int], active: Sequence[bool]
) -> list[str]:
    """A short name per concept from its strongest words, none twice."""
    taken: set[str] = set()
    names = []
    for own, latent, is_active in zip(words, latents, active, strict=True):
        name = _unused_name(own, taken) if own else ""
        if not name:
            name = f"concept {latent}" if is_active else f"never active ({latent})"
        taken.add(name)
        names.append(name)
    return names


def _unused_name(words: Sequence[Word], taken: set[str]) -> str:
    """The first words that no other name consists of; empty if there are none."""
    longer = (_joined(words, n) for n in range(_N_NAME_WORDS, _N_NAME_WORDS + N_WORDS))
    return next((name for name in longer if name not in taken), "")


def _joined(words: Sequence[Word], n_words: int) -> str:
    """Words and phrases up to so many words in all, none of which says a word again."""
    chosen: list[str] = []
    said: set[str] = set()
    for word in words:
        new = word.text.split()
        if said.isdisjoint(new) and len(said) + len(new) <= max(n_words, len(words[0].text.split())):
            chosen.append(word.text)
            said.update(new)
    return ", ".join(chosen)


def with_names(
    descriptions: Sequence[Description], names: Mapping[int, str], *, of: str = "names"
) -> tuple[Description, ...]:
    """Descriptions under names of one's own, by latent; the others keep theirs.

    Args:
        descriptions: of the concepts of one method.
        names: by latent.
        of: what the names are of, for errors.

    Raises:
        ConfigError: a latent that is not described, or a name that two concepts would have.
    """
    known = {d.latent for d in descriptions}
    if unknown := sorted(names.keys() - known):
        listed = ", ".join(map(str, sorted(known)))
        raise ConfigError(
            f"{of}: there is no concept with latent {unknown[0]}; correct the number or delete the line. "
            f"Known: {listed}."
        )
    named = tuple(
        replace(d, name=names[d.latent], origin=Origin("user")) if d.latent in names else d
        for d in descriptions
    )
    name, n = Counter(d.name for d in named).most_common(1)[0] if named else ("", 0)
    if n > 1:
        both = ", ".join(str(d.latent) for d in named if d.name == name)
        raise ConfigError(f"{of}: latents {both} would all be called {name!r}; give each a name of its own.")
    return named


def save_descriptions(descriptions: Sequence[Description], folder: Path, *, inputs: str = "") -> Manifest:
    """Write descriptions as an artefact.

    Raises:
        StorageError: the folder cannot be written.
    """
    text = _LIST.dump_json(tuple(descriptions), indent=1, exclude={"__all__": {"origin"}}).decode("utf-8")
    write_text(folder / DESCRIPTIONS, text + "\n")
    return finish(folder, inputs=inputs, record={"n_described": len(descriptions)})


def load_descriptions(run: Path, label: str, seed: int) -> tuple[Description, ...] | None:
    """How a run describes the concepts of one method and seed.

    Names made in the stage after this one replace those of the description, the user's own replace both.

    Returns:
        None where the run has no descriptions, as of a method with more than 50 concepts.
    Raises:
        StorageError: the files are damaged.
        ConfigError: the user's names do not fit.
    """
    folder = run / "descriptions" / label / f"seed-{seed}"
    if manifest_of(folder) is None:
        return None
    try:
        found = _LIST.validate_json((folder / DESCRIPTIONS).read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{folder} holds no descriptions; delete it to have them made again.") from error
    made, path = _made_names(run / NAMED / label / f"seed-{seed}"), own_names_path(run, label, seed)
    named = tuple(made[d.latent].given_to(d) if d.latent in made else d for d in found)
    return with_names(named, read_names(path), of=f"{path} ({label}, seed {seed})")


def own_names_path(run: Path, label: str, seed: int) -> Path:
    """Where a user's own names of the concepts of one method and seed are."""
    return run / "names" / label / f"seed-{seed}.yaml"


class _Judged(BaseModel, extra="ignore"):
    auroc: float | None
    better_than_chance: bool


class _MadeName(BaseModel, extra="ignore"):
    latent: int
    name: str
    made_by: Maker = "words"
    fidelity: _Judged | None = None

    def given_to(self, described: Description) -> Description:
        """The description under this name."""
        fits = self.fidelity or _Judged(auroc=None, better_than_chance=False)
        origin = Origin(self.made_by, fits.auroc, fits.better_than_chance)
        return replace(described, name=self.name, origin=origin)


def _made_names(folder: Path) -> dict[int, _MadeName]:
    """The names that the naming stage made, by latent; empty where it did not run."""
    if manifest_of(folder) is None:
        return {}
    try:
        made = _MADE.validate_json((folder / NAMES).read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{folder} holds no names; delete it to have them made again.") from error
    return {name.latent: name for name in made}


_MADE = TypeAdapter(tuple[_MadeName, ...])


def read_names(path: Path) -> dict[int, str]:
    """A user's own names, a YAML mapping of latent to name; empty where there is no such file.

    Raises:
        ConfigError: it is not such a mapping, or a name is empty, too long or given to a latent twice.
    """
    if not path.is_file():
        return {}
    try:
        root = yaml.compose(path.read_text("utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML; {_ALLOWED} ({' '.join(str(error).split())[:120]}).") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} holds no names; {_ALLOWED}.")
    names: dict[int, str] = {}
    for key, value in root.value:
        latent, name = _own_name(path, key, value)
        if latent in names:
            raise ConfigError(f"{path} names latent {latent} twice; keep one of the two lines.")
        names[latent] = name
    return names


_ALLOWED = "write latents and names, one a line, such as '17: oil prices'"


def _own_name(path: Path, key: yaml.Node, value: yaml.Node) -> tuple[int, str]:
    """One line of a user's names."""
    where = f"{path}, line {key.start_mark.line + 1}"
    if not isinstance(key, yaml.ScalarNode) or not key.value.isdecimal():
        given = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list"
        raise ConfigError(f"{where}: {given} is no latent's number; {_ALLOWED}.")
    if not isinstance(value, yaml.ScalarNode):
        raise ConfigError(f"{where}: the name of latent {key.value} is no text; {_ALLOWED}.")
    name = " ".join(value.value.split())
    if not 1 <= len(name) <= MOST_OWN:
        raise ConfigError(
            f"{where}: the name of latent {key.value} has {len(name)} characters, it may have 1 to "
            f"{MOST_OWN}; {'shorten it' if name else 'write one or delete the line'}."
        )
    return int(key.value), name
