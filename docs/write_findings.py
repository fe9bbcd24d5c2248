"""Writes findings.md, and what a report's page explains, from `bnconvert.diagnosis.catalogue`.

Run `python docs/write_findings.py`; a test fails where they are not what this writes.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from bnconvert.diagnosis.catalogue import CATALOGUE
from bnconvert.reporting.page.explanations import FILE

PAGE = Path(__file__).parent / "findings.md"
#: By the first digits of its ids: what a family of findings is about.
FAMILIES = {
    "BN0": "Configuration and calls",
    "BN1": "Stored statistics and weights",
    "BN2": "Statistics against data",
    "BN3": "The training around the model",
    "BN4": "Folding and ONNX files",
}
#: What people ask for and no rule can know.
UNKNOWABLE = """\
## What no finding says

Some faults leave nothing in the model or file that a rule could see:

- *Quantization lost eps or momentum* (pytorch/ao#4107). A graph that PT2E or torchao made holds
  whatever number it was given, and not the one before. Compare with the model before the hand-over:
  `bnc.inspect(model).norms` has eps and momentum of each norm.
- *Two forwards in a step* look like accumulated gradients: BN302 is about both. That a second
  forward through DistributedDataParallel with `broadcast_buffers=True` fails in the backward pass
  (pytorch/pytorch#175024) shows only when it runs; `bnc.Sync()` or `broadcast_buffers=False`
  mends it.
- *Ranks differ*, in which layers they run or in `training`. One process sees its own model only.
"""
HEAD = """\
<!-- written by docs/write_findings.py; change the catalogue instead -->
# Findings

Reports name what is wrong by an id, such as BN202. This page says what each id means, by which
rule it is reported, why it matters and what to do. Ids are stable: programs may depend on them.
`bnc.explain("BN202")` and `bnconvert explain BN202` say the same, with an example; `bnconvert
rules` lists them.

An **error** is wrong in all likelihood, a **warning** often is, an **info** is worth knowing. On
the command line, `--fail-on error`, `warning` or `info` sets from which severity on the exit code
is 1.

In the rules, *sigma* is sqrt(running_var + eps) of a channel, and *momentum* is torch's: the share
of the new value.
"""


def page() -> str:
    """Return the page: a table of all findings, then a section for each."""
    return "\n".join([HEAD, *_table(), *_sections()])


def _table() -> Iterator[str]:
    yield "| id | severity | what it says |"
    yield "|---|---|---|"
    for entry in CATALOGUE:
        link = f"[{entry.id}](#{entry.id.lower()})"
        yield f"| {link} | {', '.join(entry.severities)} | {entry.title} |"
    yield ""


def _sections() -> Iterator[str]:
    for digits, title in FAMILIES.items():
        yield f"## {title}\n"
        yield from (entry.to_markdown() for entry in CATALOGUE if entry.id.startswith(digits))
    yield UNKNOWABLE


def explanations() -> str:
    """Return by id what a report's page says of a finding, as JSON."""
    shown = ("title", "rule", "why", "source")
    texts = {entry.id: {name: getattr(entry, name) for name in shown} for entry in CATALOGUE}
    return json.dumps(texts, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    FILE.write_text(explanations(), encoding="utf-8")
