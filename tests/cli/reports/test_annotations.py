from bnconvert.cli.reports.annotations import annotations_of
from bnconvert.cli.reports.place import Place
from bnconvert.reporting.records import Contents, Finding

FOUND = (
    Finding("BN004", "info", ("bn:1", "bn,2"), "100%\nof it", "nothing"),
    Finding("BN201", "error", ("a",), "off", "recompute", "f(model)"),
)


def test_every_finding_is_a_command_and_the_verdict_is_last() -> None:
    lines = annotations_of(Contents("Net", findings=FOUND), Place("net.py", 3)).splitlines()
    assert lines == [
        "::error file=net.py,line=3,title=BN201 a::off; f(model)",
        "::notice file=net.py,line=3,title=BN004 bn%3A1%2C bn%2C2::100%25%0Aof it; nothing",
        "FAIL  Net, 1 error, 1 info; begin with BN201",
    ]


def test_a_model_of_a_package_has_no_file() -> None:
    lines = annotations_of(Contents("Net", findings=FOUND[1:]), None).splitlines()
    assert lines[0] == "::error title=BN201 a::off; f(model)"
