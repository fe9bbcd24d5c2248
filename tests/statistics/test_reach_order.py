from bnconvert.statistics.reach_order import ReachOrder


def test_nothing_is_assumed() -> None:
    order = ReachOrder()
    assert not order.precedes(0, 1)
    assert order.inseparable() == frozenset()
    assert order.next_to_finish({2, 1}) == 1


def test_what_was_reached_before_is_learned_also_by_way_of_others() -> None:
    order = ReachOrder()
    assert order.learn([(0, 2), (2, 1)])
    assert not order.learn([(0, 2)])
    assert order.precedes(0, 1)
    assert not order.precedes(1, 0)
    assert order.next_to_finish({1, 2}) == 2


def test_targets_that_come_before_themselves_are_inseparable() -> None:
    order = ReachOrder()
    order.learn([(0, 1, 2, 1, 3)])
    assert order.inseparable() == {1, 2}
    twice = ReachOrder()
    twice.learn([(5, 5)])
    assert twice.inseparable() == {5}
    across = ReachOrder()
    across.learn([(0, 1), (1, 0)])
    assert across.inseparable() == {0, 1}
