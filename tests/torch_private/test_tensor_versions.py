import torch

from bnconvert.torch_private.tensor_versions import version_of


def test_it_counts_changes_in_place_through_views_and_detached_too() -> None:
    x = torch.zeros(3)
    versions = [version_of(x)]
    for change in (x.add_, x[1:].add_, x.detach().add_):
        change(1)
        versions.append(version_of(x))
    assert len(set(versions)) == 4


def test_reading_changes_nothing() -> None:
    x = torch.zeros(3)
    before = version_of(x)
    x + 1
    assert version_of(x) == before


def test_inference_tensors_have_none() -> None:
    with torch.inference_mode():
        assert version_of(torch.zeros(3)) is None
