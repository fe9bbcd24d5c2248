from typing import Any

import pytest
from torch.nn import functional as F

from tests.excerpts import Sketch, function
from tests.folding.operators.passage import ANY, PASSES, SHIFT, Passage, Passages

SERIES, IMAGE, VOLUME = (2, 4, 5), (2, 4, 4, 6), (2, 4, 2, 4, 3)


def resized(shape: tuple[int, ...], mode: str, **kwargs: Any) -> Sketch:
    return function(lambda x: F.interpolate(x, mode=mode, **kwargs), shape)


RESIZED = {
    "nearest1d": resized(SERIES, "nearest", scale_factor=2),
    "nearest2d": resized(IMAGE, "nearest", size=(3, 5)),
    "nearest3d": resized(VOLUME, "nearest", scale_factor=2),
    "exact2d": resized(IMAGE, "nearest-exact", size=(3, 5)),
    "linear1d": resized(SERIES, "linear", scale_factor=2),
    "bilinear2d": resized(IMAGE, "bilinear", scale_factor=1.5),
    "aligned2d": resized(IMAGE, "bilinear", size=(7, 7), align_corners=True),
    "trilinear3d": resized(VOLUME, "trilinear", scale_factor=2),
    "bicubic2d": resized(IMAGE, "bicubic", scale_factor=2),
    "smooth_bilinear2d": resized(IMAGE, "bilinear", size=(2, 3), antialias=True),
    "smooth_bicubic2d": resized(IMAGE, "bicubic", size=(2, 3), antialias=True),
}
SHUFFLED = {
    "pixel_shuffle": function(lambda x: F.pixel_shuffle(x, 2), (2, 12, 3, 2)),
    "pixel_unshuffle": function(lambda x: F.pixel_unshuffle(x, 2), (2, 3, 4, 6)),
    "channel_shuffle": function(lambda x: F.channel_shuffle(x, 2), (2, 6, 3, 2)),
    "channel_shuffle1d": function(lambda x: F.channel_shuffle(x, 3), (2, 6, 3)),
}
PLAIN = {name: RESIZED[name] for name in ("nearest2d", "bilinear2d", "aligned2d", "bicubic2d")}
plain = Passages({**PLAIN, **SHUFFLED})
decomposed = Passages({name: RESIZED[name] for name in RESIZED if name not in PLAIN})


def passage(name: str) -> Passage:
    return (plain if name in plain.sketches else decomposed)(name)


@pytest.mark.parametrize("name", RESIZED)
def test_every_map_of_the_channels_passes_a_resizing(name: str) -> None:
    assert passage(name).up(ANY, axes=(1,)) == PASSES
    assert passage(name).down(ANY, axes=(1,)) == PASSES


@pytest.mark.parametrize("name", ["nearest1d", "bilinear2d"])
def test_a_map_that_varies_from_place_to_place_does_not(name: str) -> None:
    assert passage(name).up(SHIFT, axes=(2,)) == (
        "it varies from place to place of a resized value"
    )
    assert passage(name).down(SHIFT, axes=(1, 2)) == (
        "it varies from place to place of a value that is resized"
    )


@pytest.mark.parametrize("name", ["pixel_shuffle", "channel_shuffle", "channel_shuffle1d"])
def test_channels_are_mapped_where_a_shuffling_brings_them_from(name: str) -> None:
    assert passage(name).up(ANY) == PASSES


@pytest.mark.parametrize("name", ["pixel_unshuffle", "channel_shuffle", "channel_shuffle1d"])
def test_channels_are_mapped_where_a_shuffling_takes_them(name: str) -> None:
    assert passage(name).down(ANY) == PASSES


def test_channels_that_become_pixels_of_one_must_be_mapped_alike() -> None:
    refusal = "it varies between channels that become pixels of one"
    assert passage("pixel_shuffle").down(ANY) == refusal
    assert passage("pixel_unshuffle").up(ANY) == refusal


def test_channels_that_are_mapped_alike_may_become_pixels_of_one() -> None:
    change = ANY.on(passage("pixel_unshuffle").inputs[0], (1,))
    alike = change.each(lambda t: t.repeat_interleave(4, 1))
    assert passage("pixel_shuffle").down(alike) == PASSES
    assert passage("pixel_unshuffle").up(alike) == PASSES


@pytest.mark.parametrize("name", SHUFFLED)
def test_one_map_for_all_channels_passes_every_shuffling(name: str) -> None:
    assert passage(name).up(ANY, axes=()) == PASSES
    assert passage(name).down(ANY, axes=()) == PASSES


@pytest.mark.parametrize("name", SHUFFLED)
def test_a_map_along_another_axis_does_not_pass_a_shuffling(name: str) -> None:
    refusal = "it varies along another axis than the channels that are shuffled"
    assert passage(name).up(SHIFT, axes=(1, 2)) == refusal
    assert passage(name).down(SHIFT, axes=(2,)) == refusal
