from torch import fx

from bnconvert.errors import Refusal
from bnconvert.folding.outcome import Ledger, NormOutcome
from bnconvert.graphs.aten import NormCall

UP, DOWN = Refusal("other-consumers", "others read it"), Refusal("border", "padding with zeros")
GRAPH = fx.Graph()
CALL = NormCall(GRAPH.placeholder("norm"), "norm", 1, None, "norm", 4)


def test_a_call_that_no_fold_takes_stands_for_two_reasons() -> None:
    outcome = NormOutcome(CALL, upstream=UP, downstream=DOWN)
    assert (outcome.outcome, outcome.refusals) == ("standing", (UP, DOWN))
    assert outcome.reason == "others read it; downstream: padding with zeros"


def test_the_same_refusal_on_both_sides_is_one() -> None:
    outcome = NormOutcome(CALL, upstream=UP, downstream=UP)
    assert (outcome.refusals, outcome.reason) == ((UP,), "others read it")


def test_a_call_of_which_a_part_is_left_stands_and_says_where_the_other_went() -> None:
    outcome = NormOutcome(CALL, "split", "into conv (conv2d)", "addition", UP)
    assert outcome.outcome == "standing"
    assert outcome.reason == (
        "its multiplication is folded, into conv (conv2d); its addition stands: others read it"
    )


def test_a_folded_call_has_no_refusal_left() -> None:
    outcome = NormOutcome(CALL, "direct", "into conv (conv2d)", upstream=UP)
    assert (outcome.outcome, outcome.refusals) == ("folded", ())
    assert outcome.reason == "into conv (conv2d)"


def test_refusals_are_noted_for_the_successor_of_an_operator() -> None:
    ledger, successor = Ledger([NormOutcome(CALL)]), GRAPH.placeholder("successor")
    ledger.follow({CALL.node: successor})
    ledger.note_refusals(CALL.node, {"upstream": UP})
    assert ledger.outcomes == [NormOutcome(CALL)]
    ledger.note_refusals(successor, {"downstream": DOWN})
    assert ledger.outcomes == [NormOutcome(CALL, downstream=DOWN)]
