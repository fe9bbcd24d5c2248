"""The lines of code that mend findings about single norms: convert them, or change each."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from bnconvert.modules.kinds import norms_in
from bnconvert.modules.rewrite import Rewrite
from bnconvert.modules.site import Site

#: The line that measures statistics anew; `batches` are training data.
RECOMPUTE = "bnc.recompute_statistics(model, batches)"


def converting(rewrite: Rewrite, source: str) -> Callable[[Sequence[Site]], str]:
    """Return what writes the line that converts the norms that were found, and no others.

    It writes "" where the conversion would be refused.

    Args:
        rewrite: what they are converted with.
        source: how a user writes it, such as "bnc.Frozen()".
    """

    def line(found: Sequence[Site]) -> str:
        if any(site.kind.unsupported or rewrite.why_not(site) for site in found):
            return ""
        patterns = patterns_of(found)
        rules = (
            f"{{{patterns[0]!r}: {source}}}"
            if len(patterns) == 1
            else f"dict.fromkeys({patterns!r}, {source})"
        )
        policy = source if patterns == ["*"] else f"bnc.Policy({rules})"
        return f"model = bnc.convert(model, {policy}, inplace=True)"

    return line


def for_each(action: str) -> Callable[[Sequence[Site]], str]:
    """Return what writes the line that does something with each norm that was found.

    Args:
        action: an expression of the norm `m`, such as "m.float()".
    """

    def line(found: Sequence[Site]) -> str:
        if not _are_registered(found):
            return ""
        paths = [site.path for site in found]
        return f"[{action} for m in map(model.get_submodule, {paths!r})]"

    return line


def patterns_of(found: Sequence[Site]) -> list[str]:
    """Return patterns of a policy that match the norms that were found, and no others.

    "*" stands for all, "layer1.*" for all of a child.
    """
    paths = {site.path for site in found}
    everywhere: dict[str, list[str]] = defaultdict(list)
    for path, _, _ in norms_in(found[0].model):
        everywhere[path.partition(".")[0]].append(path)
    if all(path in paths for of_child in everywhere.values() for path in of_child):
        return ["*"]
    patterns: list[str] = []
    for child, of_child in everywhere.items():
        whole = len(of_child) > 1 and paths.issuperset(of_child)
        patterns += [f"{child}.*"] if whole else [p for p in of_child if p in paths]
    return patterns


def _are_registered(found: Sequence[Site]) -> bool:
    """Tell whether the module tree holds the norms, so that their paths lead to them."""
    held = {path for path, _, _ in norms_in(found[0].model)}
    return all(site.path in held for site in found)
