from tests.cli.conftest import Run


def test_findings_are_explained_one_after_the_other(run: Run) -> None:
    result = run("explain", "BN202", "bn404")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("BN202: False overfitting\nerror; reported by diagnose\n")
    assert "\n\nBN404: The file computes something else than the model\n" in result.out


def test_an_unknown_id_is_a_usage_error_with_the_nearest_one(run: Run) -> None:
    result = run("explain", "BN2002")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: BN2002: no finding has this id; did you mean BN202?\n"
