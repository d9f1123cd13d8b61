"""What to call a concept: its words, or what a language model says; and how well a name tells its sentences.

Phrases are chosen in ``choosing``. Names are made from the training split and judged on the test split.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from classifsae.activations import Activations
from classifsae.activity import activating_sets
from classifsae.concepts.base import Concepts, codes_of
from classifsae.errors import MismatchError, StorageError
from classifsae.meaning.descriptions import Description, Origin
from classifsae.meaning.llm import Ask, AskError, Maker, ask_all
from classifsae.meaning.sentences import Sentences
from classifsae.storage import Manifest, finish, manifest_of, write_text
from classifsae.tensors import Bool, Float, OnStep, SentenceEncoder, Tensor

NAMES = "names.json"

MOST_WORDS, MOST_CHARACTERS = 6, 60

ONE_SIDED = 1.645
"""Standard errors above chance: one in twenty names that mean nothing gets that far."""

_N_WORDS, _N_SENTENCES, _SENTENCE_CHARACTERS = 10, 5, 300


@dataclass(frozen=True)
class Fidelity:
    """How well a name tells the sentences that activate its concept from all others.

    Attributes:
        auroc: probability that the name is closer, by cosine, to a sentence that activates the concept than
            to one that does not, in [0, 1]; 0.5 is chance. None where all sentences activate it, or none.
        standard_error: of that of a name that means nothing, sqrt((a + o + 1) / (12 a o)); None likewise.
        better_than_chance: auroc > 0.5 + 1.645 standard errors (one-sided, 5 %).
        n_activating: sentences a that activate the concept.
        n_others: sentences o that do not.
    """

    auroc: float | None
    standard_error: float | None
    better_than_chance: bool
    n_activating: int
    n_others: int


@dataclass(frozen=True)
class Detection:
    """Whether a language model that is told a name alone picks the sentences that activate the concept.

    Attributes:
        accuracy: share of the sentences that it puts right, half of which activate the concept; chance: 0.5.
        n_sentences: of the test split, of the concept's class where it has such.
    """

    accuracy: float
    n_sentences: int


@dataclass(frozen=True)
class ConceptName:
    """A name, who made it, and how well it fits.

    Attributes:
        latent: of the concept in the method's dictionary.
        name: unique among the concepts named together.
        made_by: who made it; "words" also where a language model gave none, and for phrases and sentences.
        from_words: the name that its strongest words alone give.
        keywords: its strongest words on the training split.
        failure: why a model's name was not taken; "" where it was, or none was asked.
        is_sentence: whether it is the most typical sentence, as no phrase was found better than chance.
        fidelity: of the name, on the test split; None before it is judged.
        fidelity_of_words: of the name that its words give.
        in_class: fidelity of the name among the test sentences predicted as the concept's class.
        in_class_of_words: the same of the name that its words give.
        detection: which test sentences the model picks by a name that it gave; None where it was not asked.
    """

    latent: int
    name: str
    made_by: Maker
    from_words: str
    keywords: tuple[str, ...]
    failure: str = ""
    is_sentence: bool = False
    fidelity: Fidelity | None = None
    fidelity_of_words: Fidelity | None = None
    in_class: Fidelity | None = None
    in_class_of_words: Fidelity | None = None
    detection: Detection | None = None


_LIST = TypeAdapter(tuple[ConceptName, ...])


def name_concepts(
    descriptions: Sequence[Description],
    texts: Sequence[str],
    label_names: Sequence[str],
    *,
    ask: Ask | None = None,
    made_by: Maker = "words",
    otherwise: Sequence[ConceptName] | None = None,
    others: Sequence[Sequence[int]] = (),
    prompt: str | None = None,
    n_parallel: int = 1,
    on_step: OnStep | None = None,
) -> tuple[ConceptName, ...]:
    """Name concepts by their words, or by what a language model says to their words and sentences.

    Where the model fails, or its answer is no name, the name without it stands, and ``failure`` says why.

    Args:
        descriptions: by the training split.
        texts: of the training split, which the descriptions' rows count.
        label_names: of the classes.
        ask: a language model; None: words.
        made_by: what the language model is called in the record.
        otherwise: names without a model, one per concept, such as ``name_by_phrases`` gives; None: words.
        others: for each concept, rows of texts of its class without it, as ``contrasting`` gives them.
        prompt: the question in one's own words, with fields as in ``NameOptions``.
        n_parallel: questions that the model is asked at once.
        on_step: told how many concepts have a name.
    """
    names = list(otherwise) if otherwise is not None else [_by_words(d) for d in descriptions]
    if ask is None:
        return tuple(names)
    questions = [
        question(d, texts, label_names, others=rows, prompt=prompt) if d.sentences else None
        for d, rows in zip(descriptions, others or [()] * len(descriptions), strict=True)
    ]
    answers = ask_all(ask, questions, n_parallel=n_parallel, on_step=on_step)
    taken = {name.name.casefold() for name in names}
    for place, answer in enumerate(answers):
        if isinstance(answer, AskError):
            names[place] = replace(names[place], failure=f"the {made_by} model failed: {answer}")
        elif answer is None:
            names[place] = replace(names[place], failure="no sentence activates it")
        else:
            names[place] = _by_answer(names[place], answer, taken, made_by)
    return tuple(names)


def _by_words(described: Description) -> ConceptName:
    keywords = tuple(word.text for word in described.words[:_N_WORDS])
    return ConceptName(described.latent, described.name, "words", described.name, keywords)


def _by_answer(name: ConceptName, answer: str, taken: set[str], made_by: Maker) -> ConceptName:
    """The cleaned answer as the name, with a keyword where it is taken; else the name as it was, and why."""
    try:
        cleaned = clean(answer)
    except ValueError as error:
        return replace(name, failure=f"the answer {answer.strip()[:60]!r} is no name: {error}")
    options = [cleaned, *(f"{cleaned} ({keyword})" for keyword in name.keywords)]
    free = next((option for option in options if option.casefold() not in taken), None)
    if free is None:
        return replace(name, failure=f"the name {cleaned!r} is taken by another concept")
    taken.add(free.casefold())
    return replace(name, name=free, made_by=made_by, is_sentence=False)


def question(
    described: Description,
    texts: Sequence[str],
    label_names: Sequence[str],
    *,
    others: Sequence[int] = (),
    prompt: str | None = None,
) -> str:
    """What a language model is asked for one concept.

    Args:
        described: the concept.
        texts: whose rows its sentences are.
        label_names: of the classes.
        others: rows of texts of its class on which it is not active; none: they are not spoken of.
        prompt: the question in one's own words; None: ours.
    """
    parts = {
        "classes": ", ".join(label_names),
        "words": ", ".join(word.text for word in described.words[:_N_WORDS]),
        "sentences": _as_list([texts[sentence.row] for sentence in described.sentences[:_N_SENTENCES]]),
        "others": _as_list([texts[row] for row in others[:_N_SENTENCES]]),
    }
    if prompt is not None:
        return prompt.format_map(parts)
    contrast = f"It is not active on these texts of the same class:\n{parts['others']}\n" if others else ""
    common = "have in common that the others lack" if others else "have in common"
    first = "the first texts" if others else "these texts"
    return (
        f"A text classifier sorts texts into: {parts['classes']}. One concept that it uses is active "
        f"on these texts:\n{parts['sentences']}\nTheir typical words: {parts['words']}.\n{contrast}"
        f"What do {first} {common}? Answer with a name for the concept of at most {MOST_WORDS - 1} "
        f"words, in plain English, and nothing else."
    )


def _as_list(texts: Sequence[str]) -> str:
    """The beginnings of texts, one a line."""
    return "\n".join(f"- {' '.join(text.split())[:_SENTENCE_CHARACTERS]}" for text in texts)


def contrasting(concepts: Concepts, train: Activations) -> list[list[int]]:
    """For each concept, a few sentences predicted as its class on which it is active least, drawn at random.

    Args:
        concepts: fitted on activations of the same source.
        train: activations of the training split.
    """
    codes, draws = codes_of(concepts, train).cpu().abs(), torch.Generator().manual_seed(0)
    sets, order = activating_sets(codes).sets, torch.randperm(len(train), generator=draws)
    of_class = train.predictions.cpu() == concepts.segment_of.cpu()[:, None]
    found = []
    for own, members, column in zip(sets, of_class, codes.T, strict=True):
        rows = order[(members & ~own)[order]]
        found.append(rows[column[rows].argsort(stable=True)][:_N_SENTENCES].tolist())
    return found


_THOUGHT = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)
_LEAD = re.compile(
    r"^(?:[-*#>•\d.)\s]+|(?:the )?(?:concept )?(?:name|answer|concept)(?: is)?\s*:\s*)+", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"i (?:can|am|do|will|could)|i['\u2019]m\b|sorry\b|unfortunately\b|as an ai\b", re.IGNORECASE
)
_AROUND = " \t.,;:!\"'`*_\u2018\u2019\u201c\u201d\u00ab\u00bb"


def clean(answer: str) -> str:
    """The name in a language model's answer: its first line, without what is around it.

    Raises:
        ValueError: there is no line, too many words, no letter, or a refusal.
    """
    visible = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in _first_line(answer))
    name = " ".join(_LEAD.sub("", visible.strip()).strip(_AROUND).split())
    if not any(c.isalpha() for c in name):
        raise ValueError("it has no letters")
    if len(name.split()) > MOST_WORDS or len(name) > MOST_CHARACTERS:
        raise ValueError(f"it is longer than {MOST_WORDS} words or {MOST_CHARACTERS} characters")
    if _REFUSAL.match(name):
        raise ValueError("it is a refusal")
    return name


def _first_line(answer: str) -> str:
    return next((line for line in shown_lines(answer) if any(c.isalpha() for c in line)), "")


def shown_lines(answer: str) -> list[str]:
    """The lines of a language model's answer, without the thoughts before it and without empty lines."""
    return [line for line in _THOUGHT.sub("", answer).splitlines() if line.strip()]


def judge(
    names: Sequence[ConceptName],
    concepts: Concepts,
    test: Activations,
    sentences: Sentences,
    encoder: SentenceEncoder,
) -> tuple[ConceptName, ...]:
    """Names with their fidelity on held-out sentences, and that of the names that words give.

    Each among all sentences, and among those predicted as the concept's class.

    Args:
        names: one per concept, in their order.
        concepts: fitted on activations of the same source.
        test: activations of the test split.
        sentences: of the same rows.
        encoder: which made the sentences' embeddings.
    Raises:
        MismatchError: other sentences than activations, or another encoder than the sentences'.
    """
    if len(sentences) != len(test) or sentences.encoder != encoder.fingerprint:
        raise MismatchError("the sentences must be those of the activations, embedded by the encoder given.")
    sets = activating_sets(codes_of(concepts, test).cpu()).sets
    of_class = test.predictions.cpu() == concepts.segment_of.cpu()[:, None]
    both = encoder([*(n.name for n in names), *(n.from_words for n in names)]).to(sentences.embeddings)
    own, words = (both @ sentences.embeddings.T).split(len(names))
    return tuple(
        replace(
            name,
            fidelity=fidelity(a, members),
            fidelity_of_words=fidelity(b, members),
            in_class=fidelity(a[rows], members[rows]),
            in_class_of_words=fidelity(b[rows], members[rows]),
        )
        for name, a, b, members, rows in zip(names, own, words, sets, of_class, strict=True)
    )


def fidelity(cosines: Float[Tensor, " n"], members: Bool[Tensor, " n"]) -> Fidelity:
    """How well a name's cosine with each sentence tells those that activate the concept.

    auroc = (pairs in which the activating sentence is closer + half of the ties) / pairs

    Source: Mann & Whitney 1947, whose U over the number of pairs it is, with its variance under chance.
    """
    inside, outside = cosines[members], cosines[~members].sort().values
    a, o = len(inside), len(outside)
    if a == 0 or o == 0:
        return Fidelity(None, None, False, a, o)
    below = torch.searchsorted(outside, inside) + torch.searchsorted(outside, inside, right=True)
    auroc = below.double().mean().item() / 2 / o
    error = ((a + o + 1) / (12 * a * o)) ** 0.5
    return Fidelity(auroc, error, auroc > 0.5 + ONE_SIDED * error, a, o)


def save_names(names: Sequence[ConceptName], folder: Path, *, inputs: str = "") -> Manifest:
    """Write names as an artefact.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_text(folder / NAMES, _LIST.dump_json(tuple(names), indent=1).decode() + "\n")
    failed = [name.failure for name in names if name.failure]
    return finish(
        folder,
        inputs=inputs,
        record={"n_named": len(names), "n_failed": len(failed), "failure": failed[0] if failed else ""},
    )


def load_names(folder: Path) -> tuple[ConceptName, ...]:
    """Read names back, as ``save_names`` wrote them; none where the folder holds no finished names.

    Raises:
        StorageError: the file is damaged.
    """
    if manifest_of(folder) is None:
        return ()
    try:
        return _LIST.validate_json((folder / NAMES).read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{folder} holds no names; delete it to have them made again.") from error


def with_made_names(
    descriptions: Sequence[Description], names: Sequence[ConceptName]
) -> tuple[Description, ...]:
    """Descriptions under the names made for their latents; the others keep theirs."""
    made = {name.latent: name for name in names}
    return tuple(_renamed(d, made[d.latent]) if d.latent in made else d for d in descriptions)


def _renamed(described: Description, made: ConceptName) -> Description:
    fits = made.fidelity
    judged = (None, False) if fits is None else (fits.auroc, fits.better_than_chance)
    in_class = made.in_class.auroc if made.in_class else None
    detected = made.detection
    origin = Origin(
        made.made_by,
        *judged,
        auroc_in_class=in_class,
        is_sentence=made.is_sentence,
        detection=None if detected is None else detected.accuracy,
    )
    return replace(described, name=made.name, origin=origin)
