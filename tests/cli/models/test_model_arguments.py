import pytest

from bnconvert.cli.models.model_arguments import model_arguments
from bnconvert.errors import UsageError


def test_a_value_is_what_it_means_in_json_or_python_else_a_text() -> None:
    texts = ["a=10", "b=0.5", "c=true", "d=None", "e=[1, 2]", "f=relu", 'g="3"', "h=x=y"]
    assert model_arguments(texts) == {
        "a": 10,
        "b": 0.5,
        "c": True,
        "d": None,
        "e": [1, 2],
        "f": "relu",
        "g": "3",
        "h": "x=y",
    }
    assert model_arguments(['{"num_classes": 10, "act": null}', "b=2"]) == {
        "num_classes": 10,
        "act": None,
        "b": 2,
    }


@pytest.mark.parametrize("text", ["10", "=10", "num classes=10", '{"a": }', "{a=1}"])
def test_what_is_neither_is_refused_with_both_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"write num_classes=10, or JSON as \{.num_classes.: 10\}"):
        model_arguments([text])


def test_an_argument_is_given_once() -> None:
    with pytest.raises(UsageError, match="--model-kwargs a: is given twice"):
        model_arguments(["a=1", '{"a": 2}'])
