from bnconvert.measuring.order import Order


def test_nothing_is_assumed() -> None:
    order = Order()
    assert not order.precedes(0, 1)
    assert order.inseparable() == frozenset()
    assert order.first({2, 1}) == 1


def test_what_was_reached_before_is_learned_also_by_way_of_others() -> None:
    order = Order()
    assert order.learn([(0, 2), (2, 1)])
    assert not order.learn([(0, 2)])
    assert order.precedes(0, 1)
    assert not order.precedes(1, 0)
    assert order.first({1, 2}) == 2


def test_slots_that_come_before_themselves_are_inseparable() -> None:
    order = Order()
    order.learn([(0, 1, 2, 1, 3)])
    assert order.inseparable() == {1, 2}
    twice = Order()
    twice.learn([(5, 5)])
    assert twice.inseparable() == {5}
    across = Order()
    across.learn([(0, 1), (1, 0)])
    assert across.inseparable() == {0, 1}
