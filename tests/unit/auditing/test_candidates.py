"""Which phrases of a set of texts are tried."""

import torch

from classifsae.auditing.candidates import count_phrases


def test_a_signature_is_tried_though_one_of_its_words_stands_elsewhere_too():
    signed = [f"news {i} of the {i % 7} day sent from my tablet" for i in range(60)]
    others = [f"news {i} of the {i % 7} day{' from abroad' * (i % 3 == 0)}" for i in range(60)]
    members = torch.tensor([True] * 60 + [False] * 60)
    counts = count_phrases([*signed, *others], min_texts=5)
    (weights,) = counts.associated(members[None])
    tried = counts.strongest(weights, members, at_most=4)
    assert any("sent from my tablet" in phrase for phrase in tried)
    assert "from" not in tried


def test_a_part_that_stands_in_more_texts_of_the_set_stands_for_the_phrase():
    own = [f"{'new york' if i < 20 else 'york'} {i}" for i in range(60)]
    members = torch.tensor([True] * 60 + [False] * 60)
    counts = count_phrases([*own, *(f"paris {i}" for i in range(60))], min_texts=5)
    (weights,) = counts.associated(members[None])
    assert counts.strongest(weights, members, at_most=4) == ["york"]
