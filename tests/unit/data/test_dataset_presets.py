"""The presets say what the method's description says."""

import pytest

from classifsae.data import DatasetConfig
from classifsae.data.sources import PRESETS, resolve


def test_the_four_data_sets_and_planted_are_presets():
    ours = {"agnews", "imdb", "planted", "tweeteval_offensive", "tweeteval_sentiment"}
    assert ours <= set(PRESETS.names())


@pytest.mark.parametrize(
    ("name", "hub", "config", "classes", "test"),
    [
        ("agnews", "fancyzhx/ag_news", None, ("World", "Sports", "Business", "SciTech"), "test"),
        ("imdb", "stanfordnlp/imdb", None, ("negative", "positive"), "test"),
        (
            "tweeteval_offensive",
            "cardiffnlp/tweet_eval",
            "offensive",
            ("non-offensive", "offensive"),
            "test+validation",
        ),
        (
            "tweeteval_sentiment",
            "cardiffnlp/tweet_eval",
            "sentiment",
            ("negative", "neutral", "positive"),
            "test+validation",
        ),
    ],
)
def test_hub_presets(name: str, hub: str, config: str | None, classes: tuple[str, ...], test: str):
    short, resolved = resolve(DatasetConfig(name=name))
    assert short == name
    assert (resolved.name, resolved.config, resolved.train, resolved.test) == (hub, config, "train", test)
    assert resolved.label_names == classes


@pytest.mark.parametrize("spelling", ["ag_news", "AG-News", "agnews"])
def test_spelling_does_not_matter(spelling: str):
    assert resolve(DatasetConfig(name=spelling))[0] == "agnews"


def test_own_fields_replace_the_presets():
    _, resolved = resolve(DatasetConfig(name="tweeteval_offensive", test="test", max_train=100))
    assert (resolved.test, resolved.max_train, resolved.config) == ("test", 100, "offensive")
    _, planted = resolve(DatasetConfig.model_validate({"name": "planted", "options": {"n_train": 8}}))
    assert planted.options is not None
    assert (planted.options.n_train, planted.options.n_test) == (8, 1000)


def test_a_description_survives_being_written_and_read():
    config = DatasetConfig(name="agnews", max_train=10, label_names=("a", "b", "c", "d"))
    again = DatasetConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert resolve(again) == resolve(config)
