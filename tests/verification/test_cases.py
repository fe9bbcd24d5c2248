import pytest
import torch

from bnconvert.graphs.example import Example
from bnconvert.verification.cases import Pool, stronger


def sizes(pool: Pool) -> dict[str, int]:
    return {case.name: case.example.batch or 0 for case in pool.cases}


def test_batch_sizes_are_one_two_that_of_the_inputs_its_double_and_larger_ones() -> None:
    example = Example.of((torch.randn(3, 4),))
    pool = Pool.of(example, None, torch.Generator().manual_seed(0))
    assert sizes(pool) == {
        "given inputs, batch 3": 3,
        "given rows, batch 1": 1,
        "mixed rows, batch 2": 2,
        "given and generated rows, batch 5": 5,
        "given and generated rows, batch 6": 6,
        "given and generated rows, batch 8": 8,
        "given and generated rows, batch 32": 32,
        "given and generated rows, batch 33": 33,
    }
    assert torch.equal(pool.cases[0].example.args[0], example.args[0])
    assert [case.given for case in pool.cases] == [True, True, *[False] * 6]
    assert pool.cases[-1].rows == tuple(range(33))
    assert [len(case.rows) for case in pool.cases if case.example is pool.few_rows] == [2]


def test_of_larger_rows_fewer_are_compared() -> None:
    """Of large images some batches are left out, but neither twice as many nor one more."""
    for own, pixels, expected in (
        (2, 64, [1, 2, 3, 4, 5]),
        (2, 128, [1, 2, 4, 5]),
        (3, 64, [1, 2, 3, 5, 6, 7]),
        (3, 128, [1, 2, 3, 6, 7]),
    ):
        example = Example.of((torch.randn(own, 3, pixels, pixels),))
        pool = Pool.of(example, None, torch.Generator().manual_seed(0))
        assert sorted(sizes(pool).values()) == expected


def test_stronger_inputs_are_far_from_the_given_ones() -> None:
    example = Example.of((torch.randn(3, 4), torch.tensor([1, 2, 3])))
    cases = list(stronger(example, torch.Generator().manual_seed(0)))
    spreads = [float(case.example.args[0].std()) for case in cases]
    assert max(spreads) > 20
    assert min(spreads) == 0
    assert cases[spreads.index(0)].name == "zeros"
    assert all(set(case.example.args[1].tolist()) <= {1, 2, 3} for case in cases)


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


def test_a_larger_batch_has_not_by_chance_as_many_rows_as_an_input_without_a_batch() -> None:
    for rows in (2, 33, 34):
        example = Example.of((torch.randn(3, 4), torch.randn(rows, 2)))
        pool = Pool.of(example, None, torch.Generator().manual_seed(0))
        assert max(sizes(pool).values()) == (33 if rows != 33 else 34)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize(("size", "colours"), [((2, 3, 6, 8), 1), ((2, 6, 8, 3), -1)])
def test_images_of_one_colour_come_first(
    dtype: torch.dtype, size: tuple[int, ...], colours: int
) -> None:
    images = (torch.rand(size, generator=torch.Generator().manual_seed(0)) * 255).to(dtype)
    first, second, *_ = stronger(Example.of((images,)), torch.Generator().manual_seed(0))
    assert first.name == "generated, of one colour each, 1 times as large"
    (drawn,) = first.example.tensors()
    assert (drawn.shape, drawn.dtype) == (images.shape, dtype)
    rows = drawn.movedim(colours, 1).flatten(2)
    assert torch.equal(rows.amax(2), rows.amin(2))
    assert len(rows.amax(2).unique()) == 6  # images and colours differ
    assert not torch.equal(drawn, second.example.tensors()[0])


def test_rows_of_numbers_and_indices_are_no_images() -> None:
    example = Example.of((torch.randn(2, 4), torch.ones(2, 3, 4, dtype=torch.int64)))
    names = [case.name for case in stronger(example, torch.Generator().manual_seed(0))]
    assert not [name for name in names if "colour" in name]
