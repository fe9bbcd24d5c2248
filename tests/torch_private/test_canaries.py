"""The installed torch has every private name that bnconvert uses.

Run as a script, it prints the table and what is missing:
`python -m tests.torch_private.test_canaries`.
"""

import pytest

from tests.private_names import Use, uses_of_package
from tests.torch_private.canaries import CANARIES, Canary


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_torch_has(canary: Canary) -> None:
    complaint = canary.complaint()
    assert complaint is None, complaint


@pytest.mark.parametrize(
    "name",
    [
        "torch._C._no_such_binding",
        "torch._no_such_module.verifier.Error",
        "torch.nn.Module._no_such_hooks",
        "torch.ops.aten._no_such_operator.default",
    ],
)
def test_a_missing_name_says_where_to_look(name: str) -> None:
    complaint = Canary(name, "torch_private/silence.py", "to be quiet", "high").complaint()
    assert complaint is not None
    assert complaint.startswith("torch 2.")
    assert complaint.endswith(
        f"has no {name}: look at bnconvert/torch_private/silence.py, which uses it to be quiet"
    )


def _is_about(canary: Canary, file: str, use: Use) -> bool:
    return canary.file in ("", file) and (use.is_of(canary.name) or use.leads_to(canary.name))


def test_every_private_name_in_use_has_a_canary() -> None:
    without = [
        f"bnconvert/{file}:{use.line}: {use.name} has no canary; add one to canaries.py"
        for file, use in uses_of_package()
        if use.name != "._replace"  # of named tuples
        and not any(_is_about(canary, file, use) for canary in CANARIES)
    ]
    assert without == []


def test_every_canary_stands_for_a_name_in_use() -> None:
    uses = list(uses_of_package())
    unused = [
        canary.name
        for canary in CANARIES
        if not any(_is_about(canary, file, use) for file, use in uses)
    ]
    assert unused == []


if __name__ == "__main__":
    print("| name | file | risk |\n|---|---|---|")
    for row in CANARIES:
        print(f"| `{row.name}` | {row.file or 'anywhere'} | {row.risk} |")
    for row in CANARIES:
        if missing := row.complaint():
            print(missing)
