"""A policy written for given paths: few rules, by whole modules where that is possible."""

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bnconvert.conversion.policy import Policy
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.norms.keep import Keep


def rules_for(
    wishes: Mapping[str, tuple[Rewrite, ...]],
    taken: Mapping[tuple[Rewrite, ...], set[Rewrite]],
) -> Policy:
    """Return the shortest policy by which each path gets its alternatives.

    The alternatives of most paths are the rule "*", or alone the policy.

    Args:
        wishes: path to alternatives.
        taken: alternatives to those of them that some norm takes, so that the others can be left
            out; all are taken where nothing is said.
    """
    wanted = {
        path: tuple(r for r in tried if r in taken.get(tried, tried))
        for path, tried in wishes.items()
    }
    common = Counter(wanted.values()).most_common()
    if len(common) <= 1:
        return Policy.of(Alternatives(common[0][0]) if common else Keep())
    rules: dict[str, Rewrite | Alternatives] = {}
    for tried, _ in reversed(common[1:]):
        own = [path for path, other in wanted.items() if other == tried]
        others = [path for path, other in wanted.items() if other != tried]
        rules |= dict.fromkeys(_patterns(own, others), Alternatives(tried))
    return Policy({**rules, "*": Alternatives(common[0][0])})


def _patterns(own: Iterable[str], others: Sequence[str]) -> Iterator[str]:
    """Yield patterns that match some paths and no others: whole modules where that is possible."""
    for path in own:
        names = path.split(".")
        folders = (".".join(names[:depth]) + "." for depth in range(1, len(names)))
        whole = next((f for f in folders if not any(p.startswith(f) for p in others)), None)
        yield glob.escape(path) if whole is None else f"{glob.escape(whole)}*"
