"""Mistakes by concept: counts against a loop, a planted cause, and concepts that must never be called one."""

import pytest
import torch
from torch import nn

import classifsae as cs
from classifsae.activations import Activations
from classifsae.auditing.mistakes import CARRIES, MistakesByConcept, sign_test
from classifsae.auditing.stored import load_findings, save_findings
from classifsae.bottleneck import evaluate
from classifsae.concepts import Concepts
from classifsae.errors import MismatchError, StorageError
from classifsae.tensors import Tensor
from known_world import SOURCE, Given, direction

N = 300


def world(codes: Tensor, decoder: Tensor, labels: Tensor) -> tuple[Concepts, Activations]:
    """Concepts with these codes and directions, on sentences that the classifier answers as they say."""
    m, n_classes = decoder.shape
    rows = torch.arange(len(codes), dtype=torch.float32)[:, None]
    states = codes @ decoder
    hidden = torch.cat([rows, states], dim=1)
    concepts = Concepts(
        coder=Given(codes, torch.cat([torch.zeros(m, 1), decoder], dim=1)),
        kept=torch.arange(m),
        class_activation=torch.ones(m, n_classes),
        activation=torch.ones(m),
        source=SOURCE,
        method="given",
    )
    ids = tuple(map(str, range(len(codes))))
    return concepts, Activations(hidden, direction(hidden), labels, ids, SOURCE)


def planted_cause(n_caused: int = 20, n_needed: int = 3) -> tuple[Concepts, Activations]:
    """Three classes, one concept each, and a fourth that pulls towards the first class.

    The fourth makes sentences of the second class wrong, and it alone makes ``n_needed`` of the first right.
    """
    labels = torch.arange(N) % 3
    codes = torch.cat([torch.eye(3)[labels], torch.zeros(N, 1)], dim=1)
    codes[labels.eq(1).nonzero().flatten()[:n_caused], 3] = 2
    needed = labels.eq(0).nonzero().flatten()[:n_needed]
    codes[needed, 0], codes[needed, 2], codes[needed, 3] = 0, 0.5, 2
    decoder = torch.cat([torch.eye(3), torch.eye(3)[:1]])
    return world(codes, decoder, labels)


def test_a_planted_cause_is_found_and_it_alone():
    concepts, test = planted_cause()
    found = cs.mistakes_by_concept(concepts, direction, test)
    (kind,) = found.kinds
    assert (kind.label, kind.prediction, kind.n_mistakes, found.n_correct) == (1, 0, 20, 280)
    ((concept, of, counts),) = found.causes
    assert (concept.latent, concept.position, of) == (3, 3, kind)
    assert (counts.n_carried, counts.n_repaired, concept.n_made) == (20, 20, 3)
    assert counts.p_value < 0.001


def test_a_concept_that_makes_as_many_mistakes_as_it_repairs_is_no_cause():
    concepts, test = planted_cause(n_caused=20, n_needed=20)
    assert cs.mistakes_by_concept(concepts, direction, test).causes == ()


def test_a_few_repairs_are_chance():
    concepts, test = planted_cause(n_caused=4, n_needed=0)
    found = cs.mistakes_by_concept(concepts, direction, test)
    assert (found.concepts[3].n_repaired, found.concepts[3].n_made) == (4, 0)
    assert found.causes == ()


def test_the_class_under_another_name_carries_every_mistake_and_causes_none():
    """One concept per predicted class: each is the largest concept of every mistake."""
    labels = torch.arange(N) % 3
    said = labels.clone()
    said[::15] = (labels[::15] + 1) % 3
    concepts, test = world(torch.eye(3)[said], torch.eye(3), labels)
    found = cs.mistakes_by_concept(concepts, direction, test)
    assert found.n_mistakes == 20
    assert sum(concept.n_carried for concept in found.concepts) == 20
    assert found.causes == ()


def test_a_concept_on_every_sentence_is_never_a_cause():
    """It holds all up: without it, mistakes and right answers alike fall to another class."""
    labels = torch.arange(N) % 3
    labels[:30] = 1
    codes = torch.ones(N, 1)
    concepts, test = world(codes, torch.tensor([[1.0, 0.0, 0.0]]), labels)
    found = cs.mistakes_by_concept(concepts, direction, test)
    assert found.concepts[0].n_carried == found.n_mistakes
    assert found.causes == ()


def test_suspect_labels_are_left_out():
    concepts, test = planted_cause()
    suspect = (test.predictions != test.labels) & (torch.arange(N) > 20)
    found = cs.mistakes_by_concept(concepts, direction, test, suspect=suspect)
    assert found.n_suspect == int(suspect.sum())
    assert found.n_mistakes == 20 - found.n_suspect


def test_against_a_loop(train: Activations, test: Activations, tail: nn.Linear):
    concepts = cs.ClassifSAE(n_concepts=5, n_latents=24, top_k=4, n_vectors=6000, batch_size=60, seed=1).fit(
        train, tail
    )
    suspect = torch.arange(len(test)) % 7 == 0
    found = cs.mistakes_by_concept(concepts, tail, test, suspect=suspect)
    view = evaluate(concepts, tail, test)
    n_otherwise = n_correct = 0
    counts = {(j, k): [0, 0] for j in range(len(concepts)) for k in range(len(found.kinds))}
    made = [0] * len(concepts)
    for i in range(len(test)):
        said, label = int(test.predictions[i]), int(test.labels[i])
        if suspect[i]:
            continue
        if int(view.rebuilt[i].argmax()) != said:
            n_otherwise += 1
            continue
        n_correct += said == label
        for j in range(len(concepts)):
            codes = view.codes[i : i + 1].clone()
            codes[0, j] = 0
            after = view.bottleneck.logits(codes, view.norms[i : i + 1])[0]
            if said == label:
                made[j] += int(after.argmax()) != label
                continue
            k = [(kind.label, kind.prediction) for kind in found.kinds].index((label, said))
            lost = view.rebuilt[i].softmax(0)[said] - after.softmax(0)[said]
            counts[j, k][0] += bool(lost >= CARRIES)
            counts[j, k][1] += int(after.argmax()) == label
    assert (found.n_otherwise, found.n_correct) == (n_otherwise, n_correct)
    assert [concept.n_made for concept in found.concepts] == made
    assert {
        (j, k): [of.n_carried, of.n_repaired]
        for j, concept in enumerate(found.concepts)
        for k, of in enumerate(concept.kinds)
    } == counts


def test_the_order_of_sentences_does_not_matter():
    concepts, test = planted_cause()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert cs.mistakes_by_concept(concepts, direction, test.take(order)) == cs.mistakes_by_concept(
        concepts, direction, test
    )


def test_a_classifier_without_mistakes_has_no_kinds():
    labels = torch.arange(N) % 3
    concepts, test = world(torch.eye(3)[labels], torch.eye(3), labels)
    found = cs.mistakes_by_concept(concepts, direction, test)
    assert (found.kinds, found.n_mistakes, found.causes) == ((), 0, ())
    assert found.concepts[0].kinds == ()


def test_the_sign_test_by_hand():
    repaired, made = torch.tensor([[5, 6], [0, 0]]), torch.tensor([[0], [4]])
    # Three pairs have five changed decisions or more; of 5 of 5 the chance is 1/32, of 6 of 6 it is 1/64.
    assert sign_test(repaired, made)[0].tolist() == pytest.approx([2 / 32, 2 / 64])
    assert sign_test(repaired, made)[1].tolist() == [1, 1]


def test_one_entry_per_row():
    concepts, test = planted_cause()
    with pytest.raises(MismatchError, match="suspect has 2 entries for 300 rows"):
        cs.mistakes_by_concept(concepts, direction, test, suspect=torch.tensor([True, False]))


def test_findings_survive_the_disk(tmp_path):
    concepts, test = planted_cause()
    found = cs.mistakes_by_concept(concepts, direction, test)
    assert load_findings(MistakesByConcept, tmp_path) is None
    save_findings(found, tmp_path)
    assert load_findings(MistakesByConcept, tmp_path) == found
    (tmp_path / "findings.json").write_text("x" * (tmp_path / "findings.json").stat().st_size)
    with pytest.raises(StorageError, match=r"findings\.json has the SHA-256"):
        load_findings(MistakesByConcept, tmp_path)
