from pathlib import Path

import pytest

from tests.samples.sample import sample

pytestmark = pytest.mark.slow


def test_one_batch_size_of_the_comparison_of_norms(tmp_path: Path) -> None:
    batch_sizes = sample("norms_by_batch_size", "matplotlib", "sklearn")
    found = batch_sizes.experiment((8,), epochs=1)
    assert found.keys() == batch_sizes.WAYS.keys()
    errors = {name: sum(by_size[8]) / len(by_size[8]) for name, by_size in found.items()}
    assert errors["Keep, precise statistics"] <= errors["Keep"] < 50
    batch_sizes.draw(found, tmp_path / "errors.png")
    assert (tmp_path / "errors.png").stat().st_size > 10_000
