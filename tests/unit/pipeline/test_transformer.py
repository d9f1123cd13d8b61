"""Concepts as a scikit-learn transformer: its contract, and the same concepts as the method gives."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import classifsae as cs
from classifsae.activations import Activations
from classifsae.concepts.kmeans import KMeans
from e2e.conftest import TINY, write_data


@pytest.mark.filterwarnings("ignore")  # scikit-learn's own, and those of very small data
@parametrize_with_checks([cs.ConceptTransformer("kmeans", n_concepts=3)])
def test_the_contract_of_scikit_learn_holds(estimator: object, check: object):
    check(estimator)


def test_with_a_tail_they_are_the_concepts_of_the_method(train: Activations, tail: nn.Linear):
    made = cs.ConceptTransformer("kmeans", n_concepts=6, tail=tail)
    codes = made.fit_transform(train.hidden.numpy())
    concepts = KMeans(n_concepts=6).fit(train, tail)
    assert np.array_equal(codes, concepts.encode(train.hidden).numpy())
    assert np.array_equal(made.inverse_transform(codes), concepts.decode(torch.from_numpy(codes)).numpy())
    assert made.get_feature_names_out().tolist() == list(concepts.names)
    with pytest.raises(ValueError, match=r"X has the shape \(120, 16\), but there are 6 concepts"):
        made.inverse_transform(train.hidden.numpy())


def test_a_clone_has_the_same_options_and_is_not_fitted(tail: nn.Linear, train: Activations):
    made = cs.ConceptTransformer("sae", n_concepts=5, seed=3, options={"top_k": 4}, tail=tail)
    again = clone(made)
    assert (again.get_params()["options"], again.seed) == ({"top_k": 4}, 3)
    with pytest.raises(NotFittedError):
        again.transform(train.hidden.numpy())


def test_a_pipeline_is_searched_over_the_number_of_concepts(train: Activations):
    states, classes = train.hidden.numpy(), np.array(["a", "b", "c"])[train.labels]
    pipeline = make_pipeline(cs.ConceptTransformer("kmeans"), LogisticRegression())
    search = GridSearchCV(pipeline, {"concepttransformer__n_concepts": [3, 9]}, cv=2).fit(states, classes)
    assert search.best_score_ > 0.8  # a tenth of the labels is wrong
    assert search.best_estimator_[0].classes_.tolist() == ["a", "b", "c"]
    fitted = search.best_estimator_[0].concepts_
    assert fitted.label_names == ("a", "b", "c")
    assert "model" not in repr(fitted)


def test_a_data_frame_comes_out_where_it_is_asked_for(train: Activations, tail: nn.Linear):
    made = cs.ConceptTransformer("kmeans", n_concepts=4, tail=tail).set_output(transform="pandas")
    frame = made.fit_transform(pd.DataFrame(train.hidden.numpy()).add_prefix("h"))
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == made.get_feature_names_out().tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "kmean"}, "unknown method 'kmean'"),
        ({"options": {"top_k": 3}}, "unknown option 'top_k'"),
        ({"method": None}, "takes the name of a method, .*; got NoneType"),
        ({"options": [1]}, "takes the name of a method, .*; got list"),
        ({"classifier": "x"}, "takes the name of a method, .* a cs.Classifier; got str"),
        ({"n_concepts": 500}, "n_concepts is 500, but there are only 120"),
    ],
)
def test_what_cannot_be_is_a_value_error(options: dict[str, object], said: str, train: Activations):
    made = cs.ConceptTransformer(**{"method": "kmeans"} | options)
    with pytest.raises(ValueError, match=said):
        made.fit(train.hidden.numpy(), train.labels.numpy())


def test_texts_are_read_by_the_classifier(tmp_path):
    data = cs.load_dataset(write_data(tmp_path / "short.csv"))
    model = cs.finetune(TINY["backbone"], data.train, device="cpu")
    made = cs.ConceptTransformer("kmeans", n_concepts=6, classifier=model)
    codes = made.fit_transform(list(data.train.texts))
    states = model.read(data.train.texts).hidden.numpy()
    assert np.array_equal(codes, clone(made).fit(states).transform(states))
    assert np.array_equal(made.transform(pd.Series(data.test.texts)), made.transform(data.test.texts))
    assert np.array_equal(
        made.transform(pd.DataFrame({"text": data.test.texts})), made.transform(data.test.texts)
    )
    for given, said in (
        ([None, "a"], "X has None in row 0, which is no text"),
        (pd.Series(["a", np.nan]), "X has nan in row 1, which is no text"),
        ("abc", "X must be a list of texts, one at least; got 'abc'"),
        ([], "X must be a list of texts, one at least"),
    ):
        with pytest.raises(ValueError, match=said):
            made.transform(given)
    assert made.concepts_.label_names == model.label_names
    assert clone(made).classifier is model
    assert made.concepts_.source.model == model.fingerprint
    explained = cs.explain(model, made.concepts_, data.test.texts[0])
    assert explained.classifier.label in data.label_names
