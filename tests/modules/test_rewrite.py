import pytest

from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.group import Group
from bnconvert.norms.keep import Keep


def test_alternatives_keep_their_order() -> None:
    chain = Group(32) | Group(8) | Keep()
    assert chain.choices == (Group(32), Group(8), Keep())
    assert (Group(32) | (Group(8) | Keep())).choices == chain.choices
    assert repr(chain) == "Group(groups=32) | Group(groups=8) | Keep()"


def test_alternatives_are_values() -> None:
    assert (Group(2) | Keep()) == (Group(2) | Keep())
    assert len({Group(2) | Keep(), Group(2) | Keep(), Frozen() | Keep()}) == 2
    assert Alternatives((Keep(),)) != Keep()


def test_one_rewrite_is_one_choice() -> None:
    assert Frozen().choices == (Frozen(),)


def test_a_rewrite_must_say_when_it_is_illegal_and_what_it_builds() -> None:
    class Vague(Rewrite):
        preserves_eval = True

    with pytest.raises(TypeError, match=r"abstract methods '?edits'?, '?why_not'?"):
        Vague()  # type: ignore[abstract]
