"""Every neuron a concept: nothing is copied where none is left out."""

import torch

from classifsae.concepts.identity import IdentityCoder


def test_all_neurons_are_the_state_itself_without_a_copy():
    codes = torch.randn(3, 4)
    assert IdentityCoder(width=4).decode_kept(codes, torch.arange(4)) is codes


def test_neurons_in_another_order_or_left_out_are_put_where_they_belong():
    codes, coder = torch.tensor([[1.0, 2.0, 3.0]]), IdentityCoder(width=3)
    assert coder.decode_kept(codes, torch.tensor([2, 0, 1])).tolist() == [[2, 3, 1]]
    assert coder.decode_kept(codes[:, :2], torch.tensor([0, 2])).tolist() == [[1, 0, 2]]
