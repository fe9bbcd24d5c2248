from torch import nn

from bnconvert.integrations.training_modes import in_modes, modes_of


def test_modes_hold_inside_of_the_context_by_path_and_also_for_what_was_replaced() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    model[0].eval()
    modes = modes_of(model)
    model.eval()
    model[1] = nn.BatchNorm1d(2).eval()
    with in_modes(model, modes):
        assert [module.training for module in model.modules()] == [True, False, True]
    assert [module.training for module in model.modules()] == [False, False, False]
