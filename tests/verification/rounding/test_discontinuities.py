import torch

from bnconvert.verification.rounding.discontinuities import beyond, nearest_model_output

TRUTH = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def test_a_discontinuous_entry_is_compared_with_the_models_nearest_value() -> None:
    perturbed = [torch.tensor([1.0, 2.0, 30.0]), torch.tensor([1.0, 2.0 + 1e-6, 3.0])]
    file = torch.tensor([1.0, 2.0 + 1e-6, 29.0])
    assert nearest_model_output(file, TRUTH, perturbed, within=1e-3).tolist() == [1.0, 2.0, 30.0]
    assert nearest_model_output(TRUTH.float(), TRUTH, perturbed, within=1e-3).tolist() == [
        1.0,
        2.0,
        3.0,
    ]


def test_an_entry_that_is_not_discontinuous_is_compared_with_the_truth() -> None:
    perturbed = [torch.tensor([1.0, 2.0, 30.0])]
    file = torch.tensor([-1.0, 20.0, 30.0])
    assert nearest_model_output(file, TRUTH, perturbed, within=1e-3).tolist() == [1.0, 2.0, 30.0]


def test_integers_are_discontinuous_where_they_change() -> None:
    truth, perturbed = torch.tensor([3, 4, 5]), [torch.tensor([3, 7, 5])]
    found = nearest_model_output(torch.tensor([9, 7, 9]), truth, perturbed, within=0.5)
    assert found.tolist() == [3, 7, 5]


def test_other_shapes_and_numbers_that_are_none_count_for_nothing() -> None:
    perturbed = [torch.ones(2), torch.tensor([torch.nan, 2.0, torch.inf])]
    file = torch.tensor([5.0, 2.0, 5.0])
    assert nearest_model_output(file, TRUTH, perturbed, within=1e-3).tolist() == [1.0, 2.0, 3.0]


def test_what_is_left_of_an_error_is_what_the_model_itself_never_is_off() -> None:
    runs = [torch.tensor([1.0, 2.25, 3.0]), torch.tensor([1.125, 2.0, 3.0])]
    file = torch.tensor([1.0, 2.5, -3.0])
    assert beyond(file, TRUTH, runs, times=2.0).tolist() == [1.0, 2.0, -2.5]
    unknown = [*runs, torch.full((3,), torch.nan)]
    assert beyond(file, TRUTH, unknown, times=2.0).tolist() == TRUTH.tolist()
