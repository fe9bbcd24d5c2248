"""Paths of modules, collapsed for people: layer{1-4}.* (52)."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from bnconvert.reporting.records import Contents
from bnconvert.reporting.table import listed

_FEW = 3  # paths that are listed as they are
_NUMBER = re.compile(r"((?<!\d)(?:0|[1-9]\d*)(?!\d))")
#: A path in parts: texts, and between them the numbers that stand at that place.
_Pattern = tuple[str | frozenset[int], ...]


def norm_paths(report: Contents) -> list[str]:
    """Return the paths of all norms that a report has rows of."""
    norms = [row.path for row in report.norms]
    return norms + [row.path for row in report.statistics]


def collapsed(paths: Sequence[str], among: Collection[str] = ()) -> str:
    """Return paths in a few words, and how many there are where they are not all listed.

    Args:
        paths: of modules; "" is the root.
        among: the paths of all norms, where they are known: a module of which every norm is meant
            is written as `module.*`.
    """
    names = list(dict.fromkeys(path or "(root)" for path in paths))
    if len(names) <= _FEW:
        return ", ".join(names)
    if {path or "(root)" for path in among} == {*names}:
        return f"every norm ({len(names)})"
    texts = [_text(found) for found in _merged([_pattern(n) for n in _subtrees(names, among)])]
    return listed(texts) + (f" ({len(names)})" if len(texts) < len(names) else "")


def _subtrees(names: Sequence[str], among: Collection[str]) -> list[str]:
    """Replace the paths of all norms inside of a module by one with a star."""
    known = {*among}
    counts = Counter(head for name in names for head in _heads(name))
    partial = {head for name in known - {*names} for head in _heads(name)}
    kept: dict[str, None] = {}
    for name in names:
        heads = _heads(name) if name in known else ()
        whole = (head for head in heads if counts[head] > 1 and head not in partial)
        kept[next((f"{head}*" for head in whole), name)] = None
    return list(kept)


def _heads(name: str) -> list[str]:
    """Return what a path begins with, up to each of its dots, the shortest first."""
    parts = name.split(".")
    return [".".join(parts[:depth]) + "." for depth in range(1, len(parts))]


def _pattern(name: str) -> _Pattern:
    parts = _NUMBER.split(name)
    return tuple(frozenset({int(part)}) if i % 2 else part for i, part in enumerate(parts))


def _merged(patterns: Sequence[_Pattern]) -> list[_Pattern]:
    """Merge patterns that differ in the numbers at one place, from the last place to the first."""
    for place in range(max(map(len, patterns)) - 2, 0, -2):  # numbers stand at odd places
        groups: dict[_Pattern, frozenset[int]] = {}
        for pattern in patterns:
            numbers = pattern[place] if place < len(pattern) else frozenset[int]()
            assert isinstance(numbers, frozenset)
            others = (*pattern[:place], frozenset[int](), *pattern[place + 1 :])
            key = others if place < len(pattern) else pattern
            groups[key] = groups.get(key, frozenset()) | numbers
        patterns = [
            (*key[:place], numbers, *key[place + 1 :]) if numbers else key
            for key, numbers in groups.items()
        ]
    return list(patterns)


def _text(pattern: _Pattern) -> str:
    return "".join(part if isinstance(part, str) else _numbers(sorted(part)) for part in pattern)


def _numbers(numbers: Sequence[int]) -> str:
    """Return numbers as 3, {1,4} or {1-4}."""
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return "{" + ",".join(texts) + "}"
