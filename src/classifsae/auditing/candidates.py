"""Phrases of a corpus, and which of them go with some of its texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch

from classifsae.meaning.words import all_words, phrases
from classifsae.tensors import Bool, Float, Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_WORDS = 5
"""Of a phrase."""

MAX_READ = 20_000
"""Texts whose phrases are counted; of more, as many drawn evenly."""

SURE = 3.0
"""A phrase goes with a set of texts from this z on."""

_N_COMPARED = 200
_SAME = 0.8
"""Jaccard index of the texts of two phrases, one part of the other, from which they are one."""


@dataclass(frozen=True)
class PhraseCounts:
    """Which texts have which phrases.

    Attributes:
        phrases: of up to five words, lower-cased, stop words too.
        has: texts by phrases, 1 where a text has a phrase.
        rows: of the texts that were read.
    """

    phrases: tuple[str, ...]
    has: "csr_matrix"
    rows: tuple[int, ...]

    def associated(self, members: Bool[Tensor, "k n"]) -> Float[Tensor, "k v"]:
        """How surely each phrase stands oftener in the texts of a set than in the others.

            z = ln(a d / (b c)) / sqrt(1/a + 1/b + 1/c + 1/d)

        with a texts of the set that have the phrase and b that do not, c others that have it and d that do
        not, each plus 1/2.

        Args:
            members: of each set, over all texts.
        Source: Woolf 1955, with the halves of Haldane 1956.
        """
        own = members[:, list(self.rows)].double()
        inside = torch.from_numpy(self.has.T @ own.T.numpy()).T
        everywhere = torch.from_numpy(np.asarray(self.has.sum(axis=0)).ravel())
        size = own.sum(dim=1, keepdim=True)
        a, b = inside + 0.5, size - inside + 0.5
        c, d = everywhere - inside + 0.5, len(self.rows) - size - everywhere + inside + 0.5
        return (a * d / (b * c)).log() / (1 / a + 1 / b + 1 / c + 1 / d).sqrt()

    def strongest(
        self, weights: Float[Tensor, " v"], members: Bool[Tensor, " n"], *, at_most: int
    ) -> list[str]:
        """The phrases of the largest weights, 3 at least; of those in the same texts of the set, the longest.

        A phrase with a part of larger weight is left out, unless both stand in nearly the same texts of the
        set: the "from" of a signature may stand in others too.

        Args:
            weights: of the phrases, as ``associated`` gives them for the set.
            members: of the set, over all texts.
            at_most: phrases.
        """
        best = weights.topk(min(_N_COMPARED, len(self.phrases)))
        columns = best.indices[best.values >= SURE].tolist()
        has = self.has[members[list(self.rows)].numpy()][:, columns]
        both = (has.T @ has).toarray()
        sizes = both.diagonal()
        same = both >= _SAME * (sizes[:, None] + sizes - both)
        padded = [f" {self.phrases[column]} " for column in columns]
        dropped: set[int] = set()
        for first, second in combinations(range(len(columns)), 2):  # the first has the larger weight
            if padded[second] in padded[first]:
                dropped |= {second} if same[first, second] else set()
            elif padded[first] in padded[second]:
                dropped.add(first if same[first, second] else second)
        kept = [self.phrases[column] for i, column in enumerate(columns) if i not in dropped]
        return kept[:at_most]


def count_phrases(texts: Sequence[str], *, min_texts: int) -> PhraseCounts:
    """Count the phrases that stand in at least so many texts.

    Raises:
        ConfigError: the extra ``text`` is missing, and words without spaces need it.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    rows = np.unique(np.linspace(0, len(texts) - 1, min(MAX_READ, len(texts))).round().astype(int)).tolist()
    counter = CountVectorizer(
        analyzer=_phrases, binary=True, min_df=min(min_texts, len(rows)), dtype=np.float64
    )
    words = all_words([texts[row] for row in rows])
    try:
        has = counter.fit_transform(words)
    except ValueError:  # no phrase is in so many texts
        return PhraseCounts((), csr_matrix((len(rows), 0)), tuple(rows))
    return PhraseCounts(tuple(counter.get_feature_names_out()), has.tocsr(), tuple(rows))


def _phrases(words: Sequence[str]) -> list[str]:
    return list(map(" ".join, phrases(tuple(words), MAX_WORDS)))
