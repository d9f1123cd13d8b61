"""Word clouds: the heaviest words first, none on another, none outside."""

from hypothesis import given
from hypothesis import strategies as st

from classifsae.meaning.descriptions import Word
from classifsae.reporting.layout.clouds import Placed, cloud

WORDS = [Word(f"word {i}", 1 / (1 + 0.2 * i)) for i in range(20)]


def length(text: str) -> float:
    return 0.6 * len(text)


def box(word: Placed) -> tuple[float, float, float, float]:
    """From below the base line to the tops of capitals."""
    return (
        word.x,
        word.y - 0.2 * word.size,
        word.x + word.size * length(word.text),
        word.y + 0.8 * word.size,
    )


@given(st.lists(st.tuples(st.text("abc ", min_size=1, max_size=20), st.floats(0.1, 5)), max_size=20))
def test_no_word_lies_on_another_or_outside(given_words: list[tuple[str, float]]):
    words = sorted((Word(*word) for word in given_words), key=lambda word: -word.weight)
    boxes = [box(word) for word in cloud(words, 120, 80, length=length)]
    for i, (left, bottom, right, top) in enumerate(boxes):
        assert left > -1e-6
        assert bottom > -1e-6
        assert right < 120 + 1e-6
        assert top < 80 + 1e-6
        assert all(right <= a or c <= left or top <= b or d <= bottom for a, b, c, d in boxes[i + 1 :])


def test_heavier_words_are_larger_and_come_first():
    placed = cloud(WORDS, 120, 80, length=length)
    assert len(placed) > 5
    assert [word.text for word in placed] == [word.text for word in WORDS[: len(placed)]]
    sizes = [word.size for word in placed]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) >= 5.5


def test_no_words_and_words_too_wide_leave_it_empty():
    assert cloud([], 120, 80, length=length) == []
    assert cloud([Word("a" * 100, 1.0)], 120, 80, length=length) == []
