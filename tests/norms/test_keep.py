import bnconvert as bnc
from tests.zoo import build


def test_a_kept_norm_stays_the_same_object() -> None:
    model, _ = build("plain")
    norm = model.norm
    assert bnc.convert(model, bnc.Keep(), inplace=True) is model
    assert model.norm is norm


def test_every_norm_may_be_kept_also_one_that_no_rewrite_may_touch() -> None:
    model, _ = build("own_forward")
    assert bnc.plan(model, bnc.Keep()).refusals == ()
    assert bnc.plan(model, bnc.Keep()).decisions[0].outcome == "kept"
