import pytest

from bnconvert.reporting.paths import collapsed

#: Those of torchvision's ResNet-50.
RESNET = [
    "bn1",
    *(
        f"layer{layer}.{block}.bn{number}"
        for layer, blocks in enumerate((3, 4, 6, 3), 1)
        for block in range(blocks)
        for number in (1, 2, 3)
    ),
    *(f"layer{layer}.0.downsample.1" for layer in (1, 2, 3, 4)),
]


def test_three_paths_are_listed_as_they_are() -> None:
    assert collapsed([]) == ""
    assert collapsed(["", "b.1", "b.2"]) == "(root), b.1, b.2"
    assert collapsed(["a", "b", "c", "d"]) == "a, b, c and 1 more"


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (RESNET, "every norm (53)"),
        (RESNET[1:], "layer{1-4}.* (52)"),
        ([p for p in RESNET if "r2" in p or "r4" in p], "layer{2,4}.* (23)"),
        ([p for p in RESNET if "downsample" in p], "layer{1-4}.0.downsample.1 (4)"),
        (
            [p for p in RESNET if "bn3" in p],
            "layer{1,4}.{0-2}.bn3, layer2.{0-3}.bn3, layer3.{0-5}.bn3 (16)",
        ),
    ],
)
def test_paths_that_differ_in_numbers_are_one_pattern(paths: list[str], text: str) -> None:
    assert collapsed(paths, RESNET) == text


def test_a_star_stands_only_where_every_norm_is_meant() -> None:
    names = ["a.0", "a.1", "b.0", "b.1"]
    assert collapsed(names) == "a.{0,1}, b.{0,1} (4)"
    assert collapsed(names, [*names, "c"]) == "a.*, b.* (4)"
    assert collapsed(names, [*names, "a.2"]) == "a.{0,1}, b.* (4)"


def test_numbers_with_leading_zeros_are_names() -> None:
    assert collapsed(["x01", "x02", "x3", "x4"]) == "x01, x02, x{3,4} (4)"
    assert collapsed([f"x{n}" for n in (1, 3, 4, 5, 9)]) == "x{1,3-5,9} (5)"
