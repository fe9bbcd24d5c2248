"""The findings, one family per file; each is derived from a survey and changes nothing."""

from collections.abc import Callable, Iterator

from bnconvert.diagnosis.findings.configuration import configuration_findings
from bnconvert.diagnosis.findings.finiteness import finiteness_findings
from bnconvert.diagnosis.findings.stored_tensors import stored_findings
from bnconvert.modules.site import Survey
from bnconvert.reporting.records import Finding

#: Every family of findings, in the order in which a report lists them.
FINDINGS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    configuration_findings,
    stored_findings,
    finiteness_findings,
)
