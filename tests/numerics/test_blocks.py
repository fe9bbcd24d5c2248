import pytest
import torch

from bnconvert.numerics.blocks import blocks


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 1], [2, 0, 0], [1]])
def test_labels_that_lie_in_blocks_move_nothing(labels: list[int]) -> None:
    found = blocks(torch.tensor(labels))
    x = torch.randn(len(labels), 2)
    assert found.order is None
    assert found.gather(x) is x
    assert found.scatter(x) is x
    for label, (first, end) in zip(found.labels, found.bounds, strict=True):
        assert set(labels[first:end]) == {label}


def test_mixed_labels_are_gathered_and_put_back() -> None:
    labels = torch.tensor([1, 0, 1, 2, 0, 1])
    found = blocks(labels)
    assert (found.labels, found.bounds) == ((0, 1, 2), ((0, 2), (2, 5), (5, 6)))
    x = torch.arange(6.0).reshape(6, 1)
    gathered = found.gather(x)
    assert gathered.flatten().tolist() == [1, 4, 0, 2, 5, 3]
    assert torch.equal(found.scatter(gathered), x)


def test_gathering_keeps_channels_last() -> None:
    x = torch.randn(3, 2, 4, 4).to(memory_format=torch.channels_last)
    gathered = blocks(torch.tensor([1, 0, 1])).gather(x)
    assert gathered.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 4), (3, 2, 4, 5), (3, 2, 4, 5, 6)])
def test_gathering_has_first_and_second_gradients(shape: tuple[int, ...]) -> None:
    found = blocks(torch.tensor([1, 0, 1]))
    x = torch.randn(shape, dtype=torch.float64)
    for laid in (x, x.transpose(1, -1).contiguous().transpose(1, -1), x[:, ::2]):
        leaf = laid.detach().requires_grad_()
        assert torch.equal(found.gather(leaf), leaf[torch.tensor([1, 0, 2])])
        assert torch.autograd.gradcheck(found.gather, leaf)
        assert torch.autograd.gradgradcheck(
            lambda x: found.scatter(x.square()), leaf, fast_mode=True
        )


def test_no_samples_make_no_blocks() -> None:
    found = blocks(torch.zeros(0, dtype=torch.long))
    assert (found.size, found.labels, found.bounds) == (0, (), ())


def test_other_labels_have_another_fingerprint() -> None:
    first, second = (blocks(torch.tensor(labels)) for labels in ([0, 1, 0], [0, 1, 1]))
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == blocks(torch.tensor([0, 1, 0])).fingerprint


def test_runs_of_one_label_are_added_up() -> None:
    found = blocks(torch.tensor([1, 1, 0, 1, 2]))
    assert (found.runs, found.run_labels) == (((0, 2), (2, 3), (3, 4), (4, 5)), (1, 0, 1, 2))
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    found.add_up(rows)
    assert rows.tolist() == [[6, 8], [3, 4], [6, 8], [7, 8]]


def test_runs_suit_much_data_and_moving_suits_little() -> None:
    found = blocks(torch.tensor([1, 0, 1]))
    assert found.suits_runs(torch.zeros(3, 64, 16, 16))
    assert not found.suits_runs(torch.zeros(3, 64))
    assert not blocks(torch.arange(1000) % 2).suits_runs(torch.zeros(1000, 64, 16, 16))
    assert not found.suits_runs(torch.zeros(3, 64, 16, 16, device="meta"))


@pytest.mark.parametrize("compiled", [False, True])
def test_samples_keep_how_they_lie_in_memory_also_under_a_compiler(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiled)
    found, x = blocks(torch.tensor([1, 0, 1])), torch.randn(3, 2, 4, 5)
    rows = x.transpose(1, 3).contiguous().transpose(1, 3)
    for laid in (x, x.to(memory_format=torch.channels_last), rows):
        gathered = found.gather(laid)
        assert torch.equal(gathered, laid[torch.tensor([1, 0, 2])])
        assert gathered.stride() == laid.stride()
    strided = x[:, :, ::2]
    assert torch.equal(found.gather(strided), strided[torch.tensor([1, 0, 2])])
