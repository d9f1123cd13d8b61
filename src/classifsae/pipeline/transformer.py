"""Concepts as a scikit-learn transformer, for its pipelines, searches and cross-validation."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from classifsae.activations import Activations, Guidance, Source
from classifsae.classifier.attribution import attribute
from classifsae.classifier.classifier import Classifier
from classifsae.concepts.base import METHODS, ConceptMethod
from classifsae.errors import ClassifSAEError, require_kind
from classifsae.notebook import brief
from classifsae.tensors import Float, Tail, Tensor

Inputs = ArrayLike | Sequence[str]


class ConceptTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn hidden states, or texts, into activations of concepts.

    What the concepts explain is a decision: that of the ``tail``, else of the ``classifier``, else of a
    logistic regression of ``y`` on the states, which is fitted first.

    Args:
        method: name of a concept method (``classifsae list methods``).
        n_concepts: m, at most.
        seed: of everything random.
        options: further options of the method, such as ``{"top_k": 10}``.
        classifier: reads texts; a clone of the transformer has the same one, not a copy.
        tail: any function from states (b, d) to logits (b, c).
    Attributes:
        concepts_: the fitted :class:`Concepts`, m of them or fewer.
        classes_: the classes of ``y``, where the decision is learned from it.
        n_features_in_: d.
    """

    def __init__(
        self,
        method: str = "whitened_kmeans",
        *,
        n_concepts: int = 20,
        seed: int = 42,
        options: Mapping[str, object] | None = None,
        classifier: Classifier | None = None,
        tail: Tail | None = None,
    ) -> None:
        self.method, self.n_concepts, self.seed, self.options = method, n_concepts, seed, options
        self.classifier, self.tail = classifier, tail

    def fit(self, X: Inputs, y: ArrayLike | None = None) -> Self:  # noqa: N803
        """Learn the concepts.

        Args:
            X: hidden states (n, d), or n texts where there is a classifier.
            y: n classes; needed where there is neither classifier nor tail.
        Raises:
            ValueError: options, states, texts or classes that cannot be.
        """
        recipe = self._recipe()
        hidden = self._states(X, reset=True)
        tail = self.classifier.tail if self.tail is None and self.classifier is not None else self.tail
        tail = self._probe(hidden, y) if tail is None else tail
        n, source = len(hidden), Source(model="", layer=0, prompt="", dataset="")
        with torch.no_grad():
            logits = tail(hidden)
        if self.classifier is not None:
            model = self.classifier
            source = Source(model=model.fingerprint, layer=model.layer, prompt=model.prompt, dataset="")
        train = Activations(hidden, logits, logits.argmax(dim=1), tuple(map(str, range(n))), source)
        labels = () if self.tail else self.classifier.label_names if self.classifier else self.classes_
        try:
            fitted = recipe.fit(train, tail, guidance=self._guidance(recipe, X))
            self.concepts_ = fitted.with_card(label_names=tuple(map(str, labels)))
        except ClassifSAEError as error:
            raise ValueError(str(error)) from error
        return self

    def transform(self, X: Inputs) -> NDArray[np.float32]:  # noqa: N803
        """Activations (n, m) of the concepts on hidden states (n, d), or on n texts.

        Raises:
            ValueError: another number of features than was fitted, or NaN.
        """
        check_is_fitted(self, "concepts_")
        with torch.no_grad():
            return self.concepts_.encode(self._states(X, reset=False)).numpy()

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Hidden states (n, d), up to a factor per row, from activations (n, m) of the concepts.

        Raises:
            ValueError: another number of columns than there are concepts.
        """
        check_is_fitted(self, "concepts_")
        codes, m = torch.as_tensor(np.asarray(X, dtype=np.float32)), len(self.concepts_)
        if codes.ndim != 2 or codes.shape[1] != m:
            raise ValueError(
                f"X has the shape {tuple(codes.shape)}, but there are {m} concepts; give (n, {m})."
            )
        with torch.no_grad():
            return self.concepts_.decode(codes).numpy()

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """A name per concept."""
        check_is_fitted(self, "concepts_")
        return np.asarray(self.concepts_.names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = self.classifier is not None
        tags.target_tags.required = self.tail is None and self.classifier is None
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _recipe(self) -> ConceptMethod:
        try:
            wanted = "ConceptTransformer takes the name of a method, options={...} and a cs.Classifier"
            require_kind(self.method, str, wanted=wanted)
            require_kind({} if self.options is None else self.options, Mapping, wanted=wanted)
            if self.classifier is not None:
                require_kind(self.classifier, Classifier, wanted=wanted)
            kind = METHODS.load(self.method)
            return kind(n_concepts=self.n_concepts, seed=self.seed, **(self.options or {}))
        except ClassifSAEError as error:
            raise ValueError(str(error)) from error

    def _states(self, given: Inputs, *, reset: bool) -> Float[Tensor, "n d"]:
        """Hidden states, read from the texts if texts are given."""
        texts = self._texts(given)
        if texts is not None and self.classifier is not None:
            given = self.classifier.read(texts).hidden.float().numpy()
        rows = 2 if reset else 1
        return torch.from_numpy(
            validate_data(self, given, reset=reset, dtype=np.float32, ensure_min_samples=rows).copy()
        )

    def _texts(self, given: Inputs) -> list[str] | None:
        """The texts, if that is what is given: a list, a series, or a table of one column.

        Raises:
            ValueError: there are none, or something else is among them.
        """
        if self.classifier is None:
            return None
        found = np.asarray(given, dtype=object)
        found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
        if found.ndim > 1 or (found.ndim and all(isinstance(one, Real) for one in found) and len(found)):
            return None
        if found.ndim == 0 or not len(found):
            raise ValueError(f"X must be a list of texts, one at least; got {brief(given)!r}.")
        if other := [row for row, one in enumerate(found) if not isinstance(one, str)]:
            raise ValueError(f"X has {found[other[0]]!r} in row {other[0]}, which is no text; leave it out.")
        return [str(text) for text in found]

    def _probe(self, hidden: Float[Tensor, "n d"], y: ArrayLike | None) -> Tail:
        """The decision of a logistic regression of the classes on the states."""
        if y is None:
            raise ValueError(
                "requires y to be passed, but the target y is None: without a classifier or tail, concepts "
                "explain the decision of a logistic regression of y."
            )
        _, target = validate_data(self, hidden.numpy(), y, reset=False, dtype=np.float32)
        check_classification_targets(target)
        probe = LogisticRegression(max_iter=1000).fit(hidden.numpy(), target)
        self.classes_ = probe.classes_
        weights, bias = torch.from_numpy(probe.coef_).float(), torch.from_numpy(probe.intercept_).float()
        if len(weights) == 1:  # of two classes only the second has a score
            weights, bias = torch.cat([-weights, weights]) / 2, torch.cat([-bias, bias]) / 2

        def tail(states: Float[Tensor, "b d"], /) -> Float[Tensor, "b c"]:
            return states @ weights.T + bias

        return tail

    def _guidance(self, recipe: ConceptMethod, given: Inputs) -> Guidance | None:
        """What the texts say, for a method that is guided by them."""
        texts = self._texts(given)
        if not recipe.guided or texts is None or self.classifier is None:
            return None
        from classifsae.meaning.guidance import guide

        return guide(texts, attribute(self.classifier, texts))
