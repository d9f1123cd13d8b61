"""Do the words of a concept go together? Topic coherence: C_V, C_UCI and C_NPMI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from typing import Annotated, ClassVar, Literal, Self, final

from pydantic import model_validator

from classifsae.activity import strongest_rows
from classifsae.bottleneck import Evaluation
from classifsae.meaning.words import N_READ, Term, Tokens, WordOptions, count_terms, tokenise, weigh
from classifsae.metrics.base import Metric, Quantity, Result, mean

Measure = Literal["c_v", "c_uci", "c_npmi"]

WINDOWS: Mapping[Measure, int] = {"c_v": 110, "c_uci": 10, "c_npmi": 10}
"""Words of the sliding window in which two words are seen together."""

N_TOP = 10
"""Words of a concept that count."""

MOST_CONCEPTS = 100
"""Of more concepts, such as all neurons of a state, one in two, three or more is scored: so many at most."""

MIN_SENTENCES, MAX_SHARE = 5, 0.8
"""Words in fewer sentences than this, or in a larger share of them, do not count."""


@dataclass(frozen=True)
class ConceptCoherence:
    """How well the words of one concept go together; NaN where it has fewer than two, or was not scored.

    Attributes:
        position: of the concept among those kept.
        latent: of the concept in the method's dictionary.
        n_activating: sentences in the activating set, its weight in the means.
        words: the heaviest first, as lemmas.
        c_v, c_uci, c_npmi: coherence of these words.
    """

    position: int
    latent: int
    n_activating: int
    words: tuple[str, ...]
    c_v: float
    c_uci: float
    c_npmi: float


@final
@dataclass(frozen=True)
class CoherenceResult(Result):
    """Topic coherence on one test set: means over concepts, weighted by the size of their activating sets."""

    c_v: Annotated[
        float,
        Quantity.cosine("how alike the contexts of 110 words are in which a concept's words stand", "higher"),
    ]
    c_uci: Annotated[
        float,
        Quantity(
            "how much oftener than by chance they stand within 10 words of each other: mean PMI",
            "higher", "nats", -inf, inf,
        ),
    ]  # fmt: skip
    c_npmi: Annotated[float, Quantity("the same, each PMI normalised", "higher", low=-1)]
    n_coherent: Annotated[
        int, Quantity.count("concepts scored with two words or more, over which these are means")
    ]
    concepts: tuple[ConceptCoherence, ...]


@final
class Coherence(Metric):
    """Coherence of each concept's ten heaviest words in the test sentences, by gensim.

    Words are weighed by TF-IDF over the 100 sentences of each activating set that activate it most. Of more
    than ``MOST_CONCEPTS`` concepts a sample stands for all.

    Attributes:
        words: how texts are split into words; in an experiment, that of the whole experiment by default.

    Source: Roeder et al. 2015, "Exploring the space of topic coherence measures".
    """

    needs_sentences: ClassVar[bool] = True

    words: WordOptions = WordOptions()

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if find_spec("gensim") is None:
            raise ValueError('coherence needs gensim; pip install "classifsae[text]", or leave it out')
        self.words.require_installed()
        return self

    def measure(self, evaluation: Evaluation) -> CoherenceResult:
        """Score the concepts of an evaluation.

        Raises:
            ConfigError: the evaluation has no sentences.
        """
        tokens = tokenise(self.require(evaluation.sentences).texts, self.words)
        activating = evaluation.activating
        rows = strongest_rows(evaluation.codes, activating, at_most=N_READ)
        topics = top_words(tokens, rows)
        each = max(1, -(-len(topics) // MOST_CONCEPTS))
        sample = [topic if j % each == 0 else () for j, topic in enumerate(topics)]
        columns = coherence_of(sample, [t.lemmas for t in tokens])
        latents, sizes = evaluation.concepts.kept.tolist(), activating.sizes.tolist()
        concepts = tuple(
            ConceptCoherence(j, latents[j], sizes[j], topics[j], *(columns[m][j] for m in WINDOWS))
            for j in range(len(topics))
        )
        scored = [c for c in concepts if len(sample[c.position]) > 1]
        weights = [float(c.n_activating) for c in scored]
        return CoherenceResult(
            c_v=mean([c.c_v for c in scored], weights),
            c_uci=mean([c.c_uci for c in scored], weights),
            c_npmi=mean([c.c_npmi for c in scored], weights),
            n_coherent=len(scored),
            concepts=concepts,
        )


def top_words(tokens: Sequence[Tokens], rows: Sequence[Sequence[int]]) -> list[Term]:
    """The heaviest words of each concept, neither rare nor everywhere, from the rows it is read by."""
    n_sentences = count_terms([tuple(set(t.lemmas)) for t in tokens], max_length=1)
    allowed = {w for w, n in n_sentences.items() if MIN_SENTENCES <= n <= MAX_SHARE * len(tokens)}
    documents = [count_terms([tokens[r].lemmas for r in read], max_length=1) for read in rows]
    return [
        tuple([word for (word,) in weights if (word,) in allowed][:N_TOP]) for weights in weigh(documents)
    ]


def coherence_of(topics: Sequence[Term], texts: Sequence[Term]) -> dict[Measure, list[float]]:
    """Each measure of every topic; NaN for a topic of fewer than two words."""
    from gensim.corpora import Dictionary
    from gensim.models import CoherenceModel

    scored = [j for j, topic in enumerate(topics) if len(topic) > 1]
    found = {measure: [float("nan")] * len(topics) for measure in WINDOWS}
    if not scored:
        return found
    lists = [list(text) for text in texts if text]
    dictionary = Dictionary(lists)
    for measure, window in WINDOWS.items():
        model = CoherenceModel(
            topics=[list(topics[j]) for j in scored],
            texts=lists,
            dictionary=dictionary,
            window_size=window,
            coherence=measure,
            topn=N_TOP,
            processes=1,
        )
        for j, value in zip(scored, model.get_coherence_per_topic(), strict=True):
            found[measure][j] = float(value)
    return found
