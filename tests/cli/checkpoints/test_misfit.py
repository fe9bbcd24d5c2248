import torch
from torch import Tensor, nn

from bnconvert.cli.checkpoints.misfit import Misfit, misfit


def network(classes: int = 1000, width: int = 4, channels: int = 3) -> dict[str, Tensor]:
    layers: dict[str, nn.Module] = {
        "stem": nn.Conv2d(channels, width, 3),
        "norm": nn.BatchNorm2d(width),
        "fc": nn.Linear(width, classes),
    }
    return nn.ModuleDict(layers).state_dict()


def test_what_fits_is_none() -> None:
    assert misfit(network(), network()) is None


def test_a_head_of_another_size_is_told_by_its_classes() -> None:
    fact = "fc has 10 outputs in the file, 1000 in the model"
    assert misfit(network(), network(10), "num_classes") == Misfit(
        fact, "make the model with 10: --model-kwargs num_classes=10"
    )
    assert misfit(network(), network(10)) == Misfit(fact, "make the model with 10")


def test_other_sizes_are_told_by_one_of_them() -> None:
    found = misfit(network(), network(channels=1), "num_classes")
    assert found is not None
    assert found.fact == (
        "1 of 9 tensors have other sizes, such as stem.weight: (4, 1, 3, 3) in the file, "
        "(4, 3, 3, 3) in the model"
    )
    wider = misfit(network(), network(width=8))
    assert wider is not None
    assert "7 of 9 tensors" in wider.fact


def test_other_keys_are_told_and_not_all_of_them_listed() -> None:
    state = network()
    renamed = {key.replace("fc.", "head."): value for key, value in state.items()}
    found = misfit(network(), renamed)
    assert found is not None
    assert found.fact == (
        "it lacks 2 of 9 keys (fc.weight, fc.bias) and it has 2 that the model lacks "
        "(head.weight, head.bias)"
    )
    other = misfit(network(), {f"layer{i}.weight": torch.ones(1) for i in range(300)})
    assert other is not None
    assert "it is of another architecture" in other.fact
    assert len(other.fact) < 250


def test_files_from_before_the_norms_counted_their_batches_fit() -> None:
    old = network()
    del old["norm.num_batches_tracked"]
    assert misfit(network(), old) is None


def test_a_value_that_is_no_tensor_is_named() -> None:
    found = misfit(network(), {**network(), "fc.bias": "text"})
    assert found is not None
    assert found.fact == "fc.bias is of str, which is no tensor"


def test_a_file_of_parameters_alone_is_told_that_it_has_no_statistics() -> None:
    state = {key: value for key, value in network().items() if "running" not in key}
    found = misfit(network(), state)
    assert found is not None
    assert found.fact.startswith("it has no running statistics, by which eval mode normalizes")
    assert found.remedy.startswith("save model.state_dict(), which has them")
