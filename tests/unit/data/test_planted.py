"""The planted corpus: its truth, its knobs, and that words alone do not solve it."""

import hashlib
import re
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

from classifsae.data import PlantedCorpus, PlantedOptions, generate, load_dataset
from classifsae.data.planted import _vocabulary
from classifsae.errors import ConfigError

PLAIN = dict(
    contrast_rate=0.0, distractor_rate=0.0, style_rate=0.0, label_noise=0.0, angle_rate=0.0, second_rate=0.0
)


@pytest.fixture(scope="module")
def corpus() -> PlantedCorpus:
    return generate()


def test_load_dataset_gives_texts_with_concepts(corpus: PlantedCorpus):
    data = load_dataset("planted")
    assert (len(data.train), len(data.test)) == (4000, 1000)
    assert data.label_names == ("World", "Sports", "Business", "SciTech")
    assert data.train.texts == corpus.train.texts
    assert data.train.concepts is not None
    assert {c for concepts in data.train.concepts for c in concepts} == set(corpus.concepts)
    assert data.train.ids[0] == "train-0"


def test_four_classes_with_five_subtopics_each(corpus: PlantedCorpus):
    assert len(corpus.concepts) == 20
    assert set(Counter(topic.home for topic in _vocabulary().topics.values()).values()) == {5}


def test_same_options_same_corpus_on_every_machine(corpus: PlantedCorpus):
    assert generate() == corpus
    assert generate(PlantedOptions(seed=1)) != corpus
    small = generate(PlantedOptions(n_train=50, n_test=20))
    digest = hashlib.sha256("\n".join(small.train.texts + small.test.texts).encode()).hexdigest()
    assert digest == "31874a1434b7bae4fb6c473b081400583615521fc522f6cebc45c816181bf789"


def test_test_part_does_not_share_a_text_with_the_training_part(corpus: PlantedCorpus):
    texts = corpus.train.texts + corpus.test.texts
    assert len(set(texts)) == len(texts)


def test_test_part_does_not_depend_on_the_size_of_the_training_part(corpus: PlantedCorpus):
    other = generate(PlantedOptions(n_train=100))
    same = [a == b for a, b in zip(other.test.texts, corpus.test.texts, strict=True)]
    assert np.mean(same) > 0.9


def test_ten_thousand_sentences_in_under_two_seconds():
    start = time.process_time()
    generate(PlantedOptions(n_train=8000, n_test=2000, seed=9))
    assert time.process_time() - start < 2


def test_sentences_are_clean(corpus: PlantedCorpus):
    for sentence in corpus.train_sentences:
        assert re.fullmatch(r"[A-Z][^<>{}]*[^ ,.]\.", sentence.text), sentence.text
        assert "  " not in sentence.text
        assert ",," not in sentence.text
        words = sentence.text.lower().rstrip(".").split()
        assert all(a != b for a, b in pairwise(words)), sentence.text


def test_sentences_have_a_readable_length(corpus: PlantedCorpus):
    lengths = [len(text.split()) for text in corpus.train.texts]
    assert 15 <= np.median(lengths) <= 22
    assert np.percentile(lengths, 99) <= 40


def test_classes_are_balanced_and_concepts_belong_to_the_true_class(corpus: PlantedCorpus):
    counts = Counter(sentence.true_label for sentence in corpus.train_sentences)
    assert set(counts.values()) == {1000}
    words = _vocabulary()
    shared = dict(list(words.shared.items())[:4])
    for sentence in corpus.train_sentences:
        name = corpus.label_names[sentence.true_label]
        for concept in sentence.concepts:
            assert name in (words.topics[concept].home, shared.get(concept))
        assert sentence.rival not in sentence.concepts


@pytest.mark.parametrize("n_shared", [0, 3, 8])
def test_so_many_subtopics_are_in_two_classes(n_shared: int):
    corpus = generate(PlantedOptions(n_shared=n_shared, n_train=3000, n_test=1))
    classes: dict[str, set[int]] = {}
    for sentence in corpus.train_sentences:
        for concept in sentence.concepts:
            classes.setdefault(concept, set()).add(sentence.true_label)
    assert Counter(len(found) for found in classes.values()) == Counter({1: 20 - n_shared, 2: n_shared})


def test_rates_are_what_the_knobs_say():
    n = 4000
    corpus = generate(PlantedOptions(n_train=n, contrast_rate=0.5, style_rate=0.2, label_noise=0.1, seed=2))
    sentences = corpus.train_sentences
    assert np.mean([s.rival is not None for s in sentences]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([s.styled for s in sentences]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([s.label != s.true_label for s in sentences]) == pytest.approx(0.1, abs=0.02)


def test_style_has_nothing_to_do_with_the_class():
    corpus = generate(PlantedOptions(n_train=8000, seed=3))
    rates = [np.mean([s.styled for s in corpus.train_sentences if s.true_label == c]) for c in range(4)]
    assert max(rates) - min(rates) < 0.06


def test_without_knobs_words_alone_give_the_class():
    options = PlantedOptions(n_shared=0, n_train=1000, n_test=400, **PLAIN)
    assert tfidf_accuracy(generate(options)) > 0.98


def test_words_alone_do_not_solve_the_default_corpus(corpus: PlantedCorpus):
    assert 0.80 < tfidf_accuracy(corpus) < 0.92


def test_word_order_decides_between_the_two_classes_of_a_contrast():
    corpus = generate(PlantedOptions(contrast_rate=1.0, label_noise=0.0, n_train=2000, n_test=500))
    assert tfidf_accuracy(corpus) < 0.85


def tfidf_accuracy(corpus: PlantedCorpus) -> float:
    """Logistic regression on words and word pairs, fitted by gradient descent, which is fast."""
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    regression = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=10, tol=None, random_state=0)
    model = make_pipeline(features, regression)
    model.fit(corpus.train.texts, corpus.train.labels)
    return float(model.score(corpus.test.texts, corpus.test.labels))


@settings(max_examples=20, deadline=None)
@given(
    st.builds(
        PlantedOptions,
        n_train=st.integers(1, 60),
        n_test=st.integers(1, 30),
        n_shared=st.integers(0, 8),
        contrast_rate=st.floats(0, 1),
        distractor_rate=st.floats(0, 1),
        angle_rate=st.floats(0, 1),
        second_rate=st.floats(0, 1),
        style_rate=st.floats(0, 1),
        label_noise=st.floats(0, 1),
        seed=st.integers(0, 2**32 - 1),
    )
)
def test_any_knobs_give_the_wanted_number_of_sentences(options: PlantedOptions):
    corpus = generate(options)
    assert (len(corpus.train), len(corpus.test)) == (options.n_train, options.n_test)


def test_more_sentences_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch):
    words = _vocabulary()
    few = {
        name: topic.model_copy(update={k: getattr(topic, k)[:1] for k in ("actors", "actions", "themes")})
        for name, topic in words.topics.items()
    }
    slots = {name: values[-3:] for name, values in words.slots.items()}
    tiny = words.model_copy(update={"topics": few, "slots": slots, "whens": ("today",)})
    monkeypatch.setattr("classifsae.data.planted._vocabulary", lambda: tiny)
    with pytest.raises(
        ConfigError, match=r"50 tries gave no new one with these options; lower n_train or n_test"
    ):
        generate(PlantedOptions(n_train=100_000, n_shared=0, **PLAIN))


@pytest.mark.parametrize("field", ["n_train", "n_test"])
def test_no_sentences_is_refused(field: str):
    with pytest.raises(ConfigError, match=rf"options\.{field}: input should be greater than 0, got 0"):
        load_dataset("planted", options={field: 0})


def test_vocabulary_is_rich_and_has_no_repeats():
    words = _vocabulary()
    for topic in words.topics.values():
        assert len(topic.actors) + len(topic.actions) + len(topic.themes) >= 20
    themes = [theme for topic in words.topics.values() for theme in topic.themes]
    actions = [action for topic in words.topics.values() for action in topic.actions]
    assert max(Counter(themes).values()) == max(Counter(actions).values()) == 1
    slots = set(re.findall(r"<(\w+)>", words.model_dump_json()))
    written_in_code = {"somebody", "considered"}
    assert slots - {"main", "other", "rival", "theme", "sentence"} | written_in_code == set(words.slots)
