import functools
import weakref
from types import SimpleNamespace

import torch
from torch import nn

from bnconvert.modules.tracing.unregistered import unregistered_norms


def places(**attributes: object) -> list[str]:
    model = nn.Sequential(nn.ModuleDict({"block": nn.Identity()}))
    vars(model[0].block).update(attributes)
    return [place for _, place, _, _ in unregistered_norms(model)]


def test_norms_are_found_in_containers_functions_and_objects() -> None:
    norm = nn.BatchNorm1d(3)
    assert places(a=(1, [norm])) == ["0.block.a.1.0"]
    assert places(a={"x": nn.Sequential(nn.ReLU(), norm)}) == ["0.block.a.x.1"]
    assert places(a=functools.partial(norm.forward)) == ["0.block.a.0.forward"]
    assert places(a=SimpleNamespace(inner=norm)) == ["0.block.a.inner"]
    assert places(a=lambda x: norm(x)) == ["0.block.a.norm"]


def test_each_is_found_once_and_what_is_registered_never() -> None:
    norm = nn.BatchNorm1d(3)
    assert places(a=[norm, norm], b=norm.forward) == ["0.block.a.0"]
    model = nn.Sequential(norm)
    vars(model)["again"] = [norm]
    vars(model)["wrapped"] = [nn.DataParallel(model)]
    vars(model)["trainer"] = SimpleNamespace(model=weakref.proxy(model))
    assert list(unregistered_norms(model)) == []


def test_a_weak_proxy_is_what_it_stands_for() -> None:
    norm, gone = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    proxies = weakref.proxy(norm), weakref.proxy(gone)
    del gone
    assert places(a=proxies) == ["0.block.a.0"]


def test_data_and_circles_are_no_trouble() -> None:
    circle: list[object] = [torch.zeros(3), b"x" * 1000, range(10)]
    circle.append(circle)
    assert places(a=circle) == []
