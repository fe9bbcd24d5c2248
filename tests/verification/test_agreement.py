import torch
from torch import Tensor

from bnconvert.graphs.example import Example
from bnconvert.verification.agreement import agreement, cosine
from bnconvert.verification.cases import Case
from bnconvert.verification.tolerance import Answers


def facts_of(true: Tensor, mine: Tensor) -> dict[str, str]:
    case = Case("given", Example((true,), {}), tuple(range(len(true))), True)
    answers = {case: Answers([true.double()], [true])}
    return agreement(["y"], answers, {case: [mine]})


def test_the_share_of_rows_with_the_same_best_classes() -> None:
    true = torch.eye(12)[:4] + torch.arange(12) * 1e-3
    mine = true.clone()
    mine[0, 11] = 5.0  # another best class; the best five of the row differ too
    facts = facts_of(true, mine)
    assert facts["top-1 agreement"] == "75.0% of 4 rows"
    assert facts["top-5 agreement"] == "100.0% of 4 rows"
    mine[1, 0] = 7.0
    assert facts_of(true, mine)["top-5 agreement"] == "75.0% of 4 rows"


def test_few_classes_have_no_top_five_and_images_no_classes() -> None:
    assert set(facts_of(torch.randn(3, 4), torch.randn(3, 4))) == {
        "top-1 agreement",
        "cosine similarity",
    }
    assert set(facts_of(torch.ones(2, 3, 4), torch.ones(2, 3, 4))) == {"cosine similarity"}


def test_the_cosine_of_directions() -> None:
    x = torch.tensor([1.0, 0.0])
    assert cosine(x, 3 * x) == 1
    assert cosine(x, -x) == -1
    assert cosine(x, torch.tensor([0.0, 2.0])) == 0
    assert cosine(torch.zeros(2), torch.zeros(2)) == 1
