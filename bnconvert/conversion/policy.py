"""Policy: rules that say which rewrite the norm at a path gets; the first match wins."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from bnconvert.conversion.notation import parse_rewrite, read_rules, rewrite_names
from bnconvert.errors import PolicyError
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.modules.site import Site
from bnconvert.norms.keep import Keep
from bnconvert.reporting.table import listed


@dataclass(frozen=True)
class PolicyRule:
    """One rule of a policy: a pattern over paths, and alternatives for the norms it matches.

    Attributes:
        pattern: a shell-style glob over the dotted path: `*`, `?`, `[...]`; `*` spans dots.
        choices: rewrites, tried left to right.
    """

    pattern: str
    choices: tuple[Rewrite, ...]

    def matches(self, path: str) -> bool:
        """Tell whether the rule is for the norm at `path`."""
        return fnmatchcase(path, self.pattern)


class Policy:
    """An ordered set of rules; a norm that no rule matches is kept.

    `Policy({"backbone.*": Frozen(), "heads.*": Group(32) | Group(8) | Keep()})`

    Examples:
        >>> net = nn.Sequential(nn.BatchNorm2d(8), nn.BatchNorm2d(6))
        >>> policy = bnc.Policy({"1": bnc.Group(4) | bnc.Keep(), "*": bnc.Frozen()})
        >>> [decision.outcome for decision in bnc.plan(net, policy).decisions]
        ["Frozen(affine='frozen')", 'kept']
    """

    def __init__(self, rules: Mapping[str, Rewrite | Alternatives]) -> None:
        """Read the rules in the mapping's order.

        Raises:
            PolicyError: a value is not a rewrite, or an alternative can never be reached.
        """
        for pattern, rewrite in rules.items():
            if not isinstance(rewrite, Rewrite | Alternatives):
                raise PolicyError(
                    f"rule {pattern!r}: {rewrite!r} is not a rewrite; "
                    f"use {rewrite_names()}, or a | b"
                )
            _require_reachable(pattern, rewrite.choices)
        self.rules = tuple(
            PolicyRule(pattern, rewrite.choices) for pattern, rewrite in rules.items()
        )
        #: Whether it was given as a bare rewrite, which may meet a model without any norm.
        self.is_bare = False

    @classmethod
    def of(cls, policy: "Policy | Rewrite | Alternatives") -> "Policy":
        """Return a policy for what the user gave: a bare rewrite means every norm.

        Raises:
            PolicyError: it is neither a policy nor a rewrite.

        Examples:
            >>> bnc.Policy.of(bnc.Frozen()).choices_for("layer1.0.bn1")
            (Frozen(affine='frozen'),)
        """
        if isinstance(policy, Policy):
            return policy
        if isinstance(policy, type) and issubclass(policy, Rewrite):
            raise PolicyError(f"{policy.__name__} is a class; use {policy.__name__}()")
        if not isinstance(policy, Rewrite | Alternatives):
            raise PolicyError(
                f"{policy!r} is not a policy; use {rewrite_names()}, or Policy({{pattern: …}})"
            )
        bare = cls({"*": policy})
        bare.is_bare = True
        return bare

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Policy":
        """Read rules from text: `PATTERN=REWRITE`, `REWRITE` alone, or the path of a TOML file.

        A rewrite is written as in Python, `Group(8) | Keep()`, and is never evaluated as code.
        Alone it means every norm. A file's rules keep their order; `notation` describes both.

        Raises:
            PolicyError: the text is not a rule, or names an unknown rewrite.

        Examples:
            >>> bnc.Policy.parse(["backbone.*=Frozen()", "head.*=Group(8) | Keep()"])
            Policy({'backbone.*': Frozen(affine='frozen'), 'head.*': Group(groups=8...) | Keep()})
        """
        rules: dict[str, Rewrite | Alternatives] = {}
        bare = True
        for text in texts:
            if text.endswith(".toml"):
                read = read_rules(Path(text))
                if twice := [pattern for pattern in read if pattern in rules]:
                    raise PolicyError(f"rule {twice[0]!r}: is given twice; remove one of them")
                rules |= read
                bare = False
                continue
            pattern, equals, source = text.partition("=")
            if not equals or "(" in pattern:  # the = of an argument, as in Frozen(affine="frozen")
                pattern, source = "*", text
            else:
                bare = False
            if pattern.strip() in rules:
                raise PolicyError(f"rule {pattern.strip()!r}: is given twice; remove one of them")
            rules[pattern.strip()] = parse_rewrite(source.strip())
        policy = cls(rules)
        policy.is_bare = bare
        return policy

    def choices_for(self, path: str) -> tuple[Rewrite, ...]:
        """Return the alternatives for the norm at `path`: the first matching rule's, or Keep."""
        for rule in self.rules:
            if rule.matches(path):
                return rule.choices
        return (Keep(),)

    def require_used(self, sites: Sequence[Site], further: Sequence[str] = ()) -> None:
        """Raise unless every rule is the first that matches some norm.

        A last rule "*" need not be: it says what any other norm would get.

        Args:
            sites: the norms.
            further: paths of modules with norms in their forward, which a rule may match too.

        Raises:
            PolicyError: lists every rule that matches none, with the nearest path, and every one
                whose norms all have an earlier rule.
        """
        paths = [*(path for site in sites for path in site.paths), *further]
        if self.is_bare:
            return
        taken: dict[int, list[str]] = defaultdict(list)
        for path in paths:
            first = next((i for i, rule in enumerate(self.rules) if rule.matches(path)), None)
            if first is not None:
                taken[first].append(path)
        if paths and self.rules[-1].pattern == "*":
            taken.setdefault(len(self.rules) - 1, [])
        idle = [rule for place, rule in enumerate(self.rules) if place not in taken]
        if idle:
            first_norms = {self.rules[place].pattern: norms for place, norms in taken.items()}
            order = [rule.pattern for rule in self.rules]
            raise PolicyError("\n".join(_why_idle(r, paths, first_norms, order) for r in idle))

    def __repr__(self) -> str:
        """Return the source code."""
        if self.is_bare and len(self.rules) == 1:
            return repr(Alternatives(self.rules[0].choices))
        rules = (f"{rule.pattern!r}: {Alternatives(rule.choices)!r}" for rule in self.rules)
        return f"Policy({{{', '.join(rules)}}})"


def _require_reachable(pattern: str, choices: Sequence[Rewrite]) -> None:
    """Raise where an alternative stands after one that is never refused."""
    for choice, later in pairwise(choices):
        if not choice.replaces:
            raise PolicyError(
                f"rule {pattern!r}: {later!r} stands after {choice!r}, which is never refused; "
                f"put {choice!r} last"
            )


def _why_idle(
    rule: PolicyRule,
    paths: Sequence[str],
    first_norms: Mapping[str, Sequence[str]],
    order: Sequence[str],
) -> str:
    """Return the error message for a rule that no norm gets.

    Args:
        rule: the rule.
        paths: those of all norms.
        first_norms: the norms that each other rule is the first to match, by its pattern.
        order: the patterns of all rules.
    """
    matched = {path for path in paths if rule.matches(path)}
    if not matched:
        return _hint(rule.pattern, paths)
    takers = {pattern: {*norms} for pattern, norms in first_norms.items() if matched & {*norms}}
    names = list(map(repr, takers))
    others = [pattern for pattern in order if pattern != rule.pattern]
    optional = {others[-1]} & {"*"}  # see `Policy.require_used`
    leaves_some = all(norms - matched or name in optional for name, norms in takers.items())
    remedy = f"move it before {names[0]}" if leaves_some else "remove it"
    return (
        f"rule {rule.pattern!r}: every norm that it matches has an earlier rule, {listed(names)}; "
        f"{remedy}"
    )


def _hint(pattern: str, paths: Sequence[str]) -> str:
    """Return the error message for a pattern that matches no norm, with the nearest path."""
    if not paths:
        return f"rule {pattern!r}: the model has no batch norm; remove the rule"
    if [*paths] == [""]:
        return f"rule {pattern!r}: the model is itself the only norm; write '*'"
    if any(path.startswith(f"{pattern}.") for path in paths):
        return f"rule {pattern!r}: matches no norm, but a module that holds some; use '{pattern}.*'"
    prefixes = {path.rsplit(".", n)[0] for path in paths for n in range(path.count(".") + 1)}
    stem = pattern.rstrip(".*?")
    near = difflib.get_close_matches(stem, sorted(prefixes), n=1, cutoff=0.5)
    if not near:
        remedy = f"write paths like '{paths[0]}'"
    else:
        remedy = f"did you mean '{near[0]}{'' if near[0] in paths else '.*'}'?"
    return f"rule {pattern!r}: matches none of {len(paths)} norms; {remedy}"
