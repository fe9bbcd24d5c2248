import torch

from bnconvert.graphs.example import Example
from bnconvert.verification.cases import Pool


def sizes(pool: Pool) -> dict[str, int]:
    return {case.name: case.example.batch or 0 for case in pool.cases}


def test_batch_sizes_are_one_two_that_of_the_inputs_and_a_larger_one() -> None:
    example = Example.of((torch.randn(3, 4),))
    pool = Pool.of(example, None, torch.Generator().manual_seed(0))
    assert sizes(pool) == {
        "given inputs, batch 3": 3,
        "given rows, batch 1": 1,
        "mixed rows, batch 2": 2,
        "given and generated rows, batch 5": 5,
    }
    assert torch.equal(pool.cases[0].example.args[0], example.args[0])
    assert [case.given for case in pool.cases] == [True, True, False, False]
    assert pool.cases[-1].rows == (0, 1, 2, 3, 4)


def test_a_file_of_fixed_batch_gets_the_rows_in_batches_of_its_size() -> None:
    pool = Pool.of(Example.of((torch.randn(3, 4),)), 2, torch.Generator().manual_seed(0))
    assert sizes(pool) == {
        "given rows 0 to 1, batch 2": 2,
        "given and generated rows 2 to 3, batch 2": 2,
        "generated rows 4 to 5, batch 2": 2,
    }


def test_inputs_without_a_batch_are_given_and_drawn() -> None:
    pool = Pool.of(Example.of((torch.tensor(1.0),)), None, torch.Generator().manual_seed(0))
    assert [case.name for case in pool.cases] == ["given inputs", "generated"]
