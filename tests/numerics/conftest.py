import pytest

from bnconvert.numerics import kernels


@pytest.fixture(params=["kernels", "elementary"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: torch's CPU kernels, and elementary operations as elsewhere."""
    if request.param == "elementary":
        monkeypatch.setattr(kernels, "has_kernels", lambda *_: False)
    kind: str = request.param
    return kind
