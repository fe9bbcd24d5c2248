from pathlib import Path

import pytest

import bnconvert as bnc
from bnconvert.conversion.notation import parse_rewrite, read_rules, rewrite_names
from bnconvert.norms import NORMS
from bnconvert.norms.virtual import Virtual

WRITTEN = [
    bnc.Keep(),
    bnc.Frozen(affine="trainable"),
    bnc.Sync(),
    bnc.Ghost(8),
    bnc.Renorm(2.0, 1.0, 100),
    bnc.Renorm(float("inf"), float("inf")),
    bnc.Separate(("a", "b"), "separate", bnc.Ghost(4)),
    bnc.Separate("calls"),
    bnc.Adaptive(0.5, "stream"),
    bnc.Group(4),
    bnc.Instance(),
]


@pytest.mark.parametrize("rewrite", WRITTEN, ids=repr)
def test_the_repr_of_a_rewrite_is_read_back(rewrite: bnc.Keep) -> None:
    assert parse_rewrite(repr(rewrite)) == rewrite
    assert parse_rewrite(f"{rewrite!r} | Keep()") == rewrite | bnc.Keep()


def test_every_rewrite_that_can_be_written_is_tried_here() -> None:
    assert {type(rewrite) for rewrite in WRITTEN} == set(NORMS) - {Virtual}
    assert "Sync(), Ghost()" in rewrite_names()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Group(", "is not a rewrite; write it as Keep"),
        ("Grup(4)", r"Grup is not a rewrite that bnconvert knows; did you mean Group\(\)?"),
        ("Group", "is not a rewrite; write it as"),
        ("Group(0)", "groups is 0; use a positive number"),
        ("Group(size=3)", "unexpected keyword argument 'size'"),
        ("Ghost(open('x'))", r"open\('x'\) is not a literal"),
        ("Separate(each=Group(4))", "each is Group"),
        ("Virtual('x')", "reference is not a batch; give a tensor"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(source: str, said: str) -> None:
    with pytest.raises(bnc.PolicyError, match=said):
        parse_rewrite(source)


TOML = """
"backbone.*" = {norm = "frozen", affine = "trainable"}
"head.*" = [{norm = "group", groups = 32}, {norm = "keep"}]
"*" = {norm = "separate", domains = ["clean", "noisy"], each = {norm = "ghost", size = 4}}
"""


def test_a_toml_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(TOML)
    assert list(read_rules(path).items()) == [
        ("backbone.*", bnc.Frozen(affine="trainable")),
        ("head.*", bnc.Group(32) | bnc.Keep()),
        ("*", bnc.Separate(("clean", "noisy"), each=bnc.Ghost(4))),
    ]
    policy = bnc.Policy.parse([str(path)])
    assert [rule.pattern for rule in policy.rules] == ["backbone.*", "head.*", "*"]
    assert not policy.is_bare


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'has no rule; write one as "head'),
        ("x = = 3", "is not TOML"),
        ('"*" = "frozen"', r"policy\.toml: '\*': is not a rewrite; write {norm"),
        ('head.norm = {norm = "keep"}', "put patterns in quotes"),
        ('"*" = []', "or a list of such tables"),
        (
            '"*" = {norm = "frosen"}',
            r"Frosen is not a rewrite that bnconvert knows; did you mean Frozen\(\)",
        ),
        ('"*" = {norm = "ghost", size = 0}', "size is 0; use a positive number of samples"),
        ('"*" = {norm = "ghost", groups = 2}', "unexpected keyword argument 'groups'"),
    ],
)
def test_what_a_file_says_wrongly_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(bnc.PolicyError, match=said):
        read_rules(path)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(bnc.PolicyError, match=r"none\.toml: cannot be read \(No such file"):
        bnc.Policy.parse([str(tmp_path / "none.toml")])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('exploded')",
        "Ghost(__import__('os').mkdir('exploded'))",
        "Ghost(size=(lambda: 3)())",
        "Ghost(size=[x for x in (1,)])",
        "Ghost(**{'size': 3})",
        "Ghost(*[3])",
        "Ghost.__init__(3)",
        "Ghost(" + "(" * 500 + "3" + ")" * 500 + ")",
        "Keep()" + " | Keep()" * 5000,
        "Keep(\0)",
        "-" * 5000,
    ],
    ids=range(11),
)
def test_code_is_a_sentence_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(bnc.PolicyError) as error:
        bnc.Policy.parse([text])
    assert len(str(error.value)) < 1000
    with pytest.raises(bnc.PolicyError):
        bnc.Policy.parse(["*=" + text])
    (tmp_path / "p.toml").write_text(f'"*" = {{norm = {text.replace(chr(0), "")!r}}}')
    with pytest.raises(bnc.PolicyError):
        bnc.Policy.parse(["p.toml"])
    assert not (tmp_path / "exploded").exists()
