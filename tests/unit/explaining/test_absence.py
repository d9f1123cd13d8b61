"""What a text would have to have: by hand, where states are sums of word vectors."""

from dataclasses import replace

import pytest
import torch

from classifsae.errors import MismatchError
from classifsae.explaining.explainer import Explainer, Explanation, explain
from classifsae.explaining.typical import Typical
from unit.explaining.test_explainer import NAMES, NEURONS, Toy, concepts_of, shown

SPORTS, MONEY, SPACE, OTHER = (
    Typical(2.0, "a goal is shot", says_class=False),
    Typical(3.0, "banks lend", says_class=False),
    Typical(2.5, "stars shine", says_class=False),
    Typical(1.0, "oh", says_class=False),
)
ALL = (SPORTS, MONEY, SPACE, OTHER)


class Leaning(Toy):
    """Says sports unless there is more than 0.5 of something else: its bias is what it answers to nothing."""

    def tail(self, hidden: torch.Tensor, /) -> torch.Tensor:
        return self._linear(hidden) + torch.tensor([0.5, 0, 0])


def explained(text: str, typical: tuple[Typical, ...] = ALL) -> Explanation:
    return explain(Leaning(), NEURONS, text, typical=typical)


def test_the_answer_from_no_concept_is_that_of_the_bias_alone():
    found = explained("bank")
    expected = torch.tensor([0.5, 0, 0]).double().softmax(dim=0).tolist()
    assert found.without_any.label == "sports"
    assert list(found.without_any.probabilities.values()) == pytest.approx(expected)
    assert not found.by_absence
    assert found.appearance is None  # removing the bank changes the label: nothing has to appear


def test_contributions_by_hand_and_their_sum():
    found = explained("goal match bank")  # (3, 1, 0, 0), norm 10 ** 0.5
    sports, money = found.concepts
    norm = 10**0.5
    # Logits less their mean, but for the bias: all (3, 1, 0), sports (norm, 0, 0), money (0, norm, 0).
    by_hand = {
        "sports": ((norm + 3) / 2, (1 - norm) / 2, 0.0),
        "money": ((3 - norm) / 2, (norm + 1) / 2, 0.0),
    }
    for name, concept in zip(by_hand, (sports, money), strict=True):
        added = torch.tensor(by_hand[name])
        expected = dict(zip(NAMES, (added - added.mean()).tolist(), strict=True))
        assert concept.contributions == pytest.approx(expected, abs=1e-5)
        assert concept.contribution_error == 0
    odds = [
        torch.tensor(list(p.probabilities.values())).double().log()
        for p in (found.rebuilt, found.without_any)
    ]
    gap = (odds[0] - odds[0].mean()) - (odds[1] - odds[1].mean())
    total = [sports.contributions[name] + money.contributions[name] for name in NAMES]
    assert total == pytest.approx(gap.tolist(), abs=1e-5)


def test_the_concept_that_moves_the_state_least_would_change_the_label():
    found = explained("goal match")  # (3, 0, 0, 0): whatever is added is brought to a norm of 3
    assert found.by_absence
    assert found.appearance is not None
    assert (found.appearance.concept, found.appearance.n_tried) == (None, 3)  # not the goal, which is there
    found = explained("match")  # (1, 0, 0, 0)
    assert found.appearance is not None
    concept = found.appearance.concept
    assert concept is not None
    assert (concept.position, concept.name, concept.sentence) == (2, "concept 2", "stars shine")
    assert (concept.activation, concept.with_it.label) == (2.5, "space")
    state = torch.tensor([1.0, 0, 2.5]) / (1 + 2.5**2) ** 0.5 + torch.tensor([0.5, 0, 0])
    assert concept.with_it.probabilities["space"] == pytest.approx(
        state.double().softmax(0)[2].item(), abs=1e-6
    )


def test_a_class_indicator_is_named_only_where_no_other_concept_does_it():
    says = (SPORTS, MONEY, replace(SPACE, says_class=True), OTHER)
    found = explained("match", says).appearance
    assert found is not None
    assert found.concept is not None
    assert found.concept.position == 1  # though the stars move the state less
    only = (SPORTS, Typical(None, "", says_class=False), replace(SPACE, says_class=True), OTHER)
    found = explained("match", only).appearance
    assert found is not None
    assert found.concept is not None
    assert (found.concept.position, found.concept.says_class) == (2, True)


def test_the_terminal_says_what_would_have_to_appear():
    text = shown(explained("match"))
    assert "From no concept at all: sports 0.45 (money 0.27, space 0.27)" in text
    assert "sports is what the classifier answers from no concept at all" in text
    assert 'It would become space 0.43 if "concept 2" appeared, as in: stars shine' in text
    none = shown(explained("goal match"))
    assert "No concept alone would change it by appearing: each of 3 was tried" in none
    assert "appear" not in shown(explain(Leaning(), NEURONS, "match"))  # nothing is known of other sentences


def test_where_nothing_fires_the_answer_is_that_from_nothing():
    found = explained("nothing known")
    assert found.rebuilt == found.without_any
    assert found.by_absence
    assert "would become" not in shown(found)  # a state of length zero stays at zero, whatever is added


LETTERS = ("Alpha", "Beta", "Gamma", "Delta")


def test_class_indicators_are_folded_where_others_fire():
    says = (replace(SPORTS, says_class=True), MONEY, SPACE, OTHER)
    text = shown(Explainer(Toy(), NEURONS, LETTERS, typical=says).explain("goal oh oh oh bank"))
    assert 'Also fires and says the class itself: "Alpha" (33 %, sports +2.0)' in text
    assert "Alpha" not in text.partition("words")[2].partition("Also fires")[0]
    only = tuple(replace(one, says_class=True) for one in ALL)
    text = shown(Explainer(Toy(), NEURONS, LETTERS, typical=only).explain("goal bank"))
    assert "Also fires" not in text
    assert "Alpha" in text


def test_a_concept_without_effect_comes_last_whatever_its_share():
    found = Explainer(Toy(), NEURONS, LETTERS).explain("goal oh oh oh bank")
    assert found.concepts[0].name == "Delta"
    same = replace(found.concepts[0], without=found.rebuilt)
    text = shown(replace(found, concepts=(same, *found.concepts[1:])))
    assert text.index("Alpha") < text.index("Beta") < text.index("Delta")


def test_typical_of_other_concepts_is_refused():
    with pytest.raises(MismatchError, match="speaks of 1 concepts, and there are 4; give what typical_of"):
        explain(Toy(), NEURONS, "goal", typical=(SPORTS,))


def test_more_concepts_than_fifty_that_fire_have_no_contributions():
    many = concepts_of(torch.eye(4)[:, [0] * 51], torch.eye(4)[[0] * 51])
    found = explain(Toy(), many, "goal")
    assert {len(concept.contributions) for concept in found.concepts} == {0}
    assert len(explain(Toy(), NEURONS, "goal").concepts[0].contributions) == 3
    assert "for, against without it" not in shown(found)
