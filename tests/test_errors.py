from pathlib import Path

from bnconvert import errors


def test_a_refusal_lists_every_norm_and_keeps_them_as_data() -> None:
    one = errors.RefusedError(["a: fact; remedy"])
    assert str(one) == "1 norm is refused; nothing was changed\n  a: fact; remedy"
    two = errors.RefusedError(["a: fact; remedy", "b: fact; remedy"])
    assert str(two).splitlines()[0] == "2 norms are refused; nothing was changed"
    assert two.refusals == ("a: fact; remedy", "b: fact; remedy")


def test_a_failed_verification_says_where_the_file_is_kept() -> None:
    failure = errors.VerificationError(["too far"], "report", Path("m.failed.onnx"))
    assert str(failure) == (
        "the numbers disagree\n  too far\n  the failing file is kept as m.failed.onnx"
    )
    assert (failure.report, failure.path) == ("report", Path("m.failed.onnx"))
    assert str(errors.VerificationError(["too far"], "report")).endswith("too far")


def test_a_folded_model_says_why_it_does_not_train_and_what_to_do() -> None:
    text = str(errors.FoldedTrainingError())
    assert "gradients" in text
    assert text.endswith(
        "fine-tune the unfolded model and fold it again, or put norms back by bnconvert.restore"
    )


def test_the_others_say_what_they_are_given() -> None:
    for error in (
        errors.UnsupportedModelError,
        errors.LoadError,
        errors.PolicyError,
        errors.CaptureError,
        errors.ExportError,
    ):
        assert str(error("path: fact; remedy")) == "path: fact; remedy"
        assert issubclass(error, errors.BnconvertError)
