import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifsae.concepts._losses import (
    activation_rate,
    ghost,
    imitation,
    normalised_square,
    reconstruction,
    unit_rows,
    without_row_component_,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_reconstruction_by_hand():
    truth = torch.tensor([[0.0, 0.0], [2.0, 0.0]])  # mean (1, 0): both rows are 1 away
    guess = torch.tensor([[1.0, 1.0], [2.0, 2.0]])  # squares 1 + 1 and 0 + 4
    assert reconstruction(guess, truth).item() == pytest.approx(3.0, rel=1e-5)


def test_reconstruction_is_zero_for_a_perfect_guess():
    truth = random(5, 3)
    assert reconstruction(truth, truth).item() == 0.0


def test_normalised_square_as_a_loop():
    guess, truth = random(4, 3, seed=1), random(4, 3, seed=2)
    mean = truth.mean(dim=0)
    for b in range(4):
        spread = torch.linalg.vector_norm(truth[b] - mean) + 1e-6
        for i in range(3):
            expected = (guess[b, i] - truth[b, i]) ** 2 / spread
            assert normalised_square(guess, truth)[b, i].item() == pytest.approx(expected.item(), rel=1e-5)


def test_activation_rate_by_hand():
    codes = torch.tensor([[5.0, 0.0], [1.0, 2.0], [0.0, 2.0], [2.0, 0.0]])
    # half of four sentences are free: 5 + 2 and 2 + 2; what is left is 1 and 0
    assert activation_rate(codes, rate=0.5).item() == pytest.approx(1 / 4)


@given(st.integers(1, 12), st.floats(0, 0.99), st.integers(0, 99))
def test_activation_rate_as_a_loop(n: int, rate: float, seed: int):
    codes = random(n, 4, seed=seed).relu()
    left = 0.0
    for j in range(4):
        largest_first = sorted(codes[:, j].tolist(), reverse=True)
        left += sum(largest_first[int(n * rate) :])
    assert activation_rate(codes, rate=rate).item() == pytest.approx(left / n, abs=1e-5)


def test_ghost_is_zero_without_gradient_when_nothing_is_dead():
    directions = random(6, 3).requires_grad_(True)
    loss = ghost(random(4, 3), random(4, 3, seed=1), random(4, 6)[:, :0], directions[:0])
    assert loss.item() == 0.0
    assert not loss.requires_grad


def test_ghost_as_a_loop():
    hidden, rebuilt, pre = random(4, 3, seed=1), random(4, 3, seed=2), random(4, 5, seed=3)
    directions = unit_rows(random(5, 3, seed=4))
    dead = torch.tensor([True, False, True, False, False])
    residual = hidden - rebuilt
    guess = torch.zeros(4, 3)
    for b in range(4):
        for j in (0, 2):
            guess[b] += pre[b, j].exp() * directions[j]
        guess[b] *= residual[b].norm() / (2 * guess[b].norm() + 1e-6)
    q = normalised_square(guess, residual)
    expected = (q * (normalised_square(rebuilt, hidden) / (q + 1e-6))).mean()
    assert ghost(rebuilt, hidden, pre[:, dead], directions[dead]).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_imitation_of_uniform_logits_is_the_log_of_the_number_of_classes():
    assert imitation(torch.zeros(3, 4), torch.tensor([0, 1, 2])).item() == pytest.approx(
        torch.tensor(4.0).log().item()
    )


@given(st.integers(0, 99))
def test_what_is_left_of_a_gradient_is_orthogonal_to_its_row(seed: int):
    rows, gradient = unit_rows(random(5, 3, seed=seed)), random(5, 3, seed=seed + 1)
    without_row_component_(gradient, rows)
    assert torch.allclose((gradient * rows).sum(dim=1), torch.zeros(5), atol=1e-6)
    left = gradient.clone()
    without_row_component_(gradient, rows)
    assert torch.allclose(gradient, left, atol=1e-6)


def test_what_is_left_of_a_large_gradient_is_the_same_made_in_blocks():
    rows, gradient = unit_rows(random(2500, 2000)), random(2500, 2000, seed=1)  # more than 2^22 numbers
    whole = gradient - torch.linalg.vecdot(gradient, rows)[:, None] * rows
    without_row_component_(gradient, rows)
    assert torch.allclose(gradient, whole, atol=1e-6)
