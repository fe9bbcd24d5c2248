import torch

from bnconvert.proving.discontinuities import nearest_own_output

TRUTH = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def test_an_entry_that_jumps_is_compared_with_where_it_jumps_to() -> None:
    draws = [torch.tensor([1.0, 2.0, 30.0]), torch.tensor([1.0, 2.0 + 1e-6, 3.0])]
    file = torch.tensor([1.0, 2.0 + 1e-6, 29.0])
    assert nearest_own_output(file, TRUTH, draws, within=1e-3).tolist() == [1.0, 2.0, 30.0]
    assert nearest_own_output(TRUTH.float(), TRUTH, draws, within=1e-3).tolist() == [1.0, 2.0, 3.0]


def test_an_entry_that_does_not_jump_is_not() -> None:
    draws = [torch.tensor([1.0, 2.0, 30.0])]
    file = torch.tensor([-1.0, 20.0, 30.0])
    assert nearest_own_output(file, TRUTH, draws, within=1e-3).tolist() == [1.0, 2.0, 30.0]


def test_integers_jump_where_they_change() -> None:
    truth, draws = torch.tensor([3, 4, 5]), [torch.tensor([3, 7, 5])]
    assert nearest_own_output(torch.tensor([9, 7, 9]), truth, draws, within=0.5).tolist() == [
        3,
        7,
        5,
    ]


def test_draws_of_other_shapes_and_numbers_that_are_none_are_nothing_to_jump_to() -> None:
    draws = [torch.ones(2), torch.tensor([torch.nan, 2.0, torch.inf])]
    file = torch.tensor([5.0, 2.0, 5.0])
    assert nearest_own_output(file, TRUTH, draws, within=1e-3).tolist() == [1.0, 2.0, 3.0]
