"""The findings, one family per file; each is derived from a survey and changes nothing."""

from collections.abc import Callable, Iterator

from bnconvert.diagnosis.findings.calls import call_findings
from bnconvert.diagnosis.findings.channels import channel_findings
from bnconvert.diagnosis.findings.counters import counter_findings
from bnconvert.diagnosis.findings.finiteness import finiteness_findings
from bnconvert.diagnosis.findings.freezing import freezing_findings
from bnconvert.diagnosis.findings.settings import settings_findings
from bnconvert.diagnosis.findings.stored_tensors import stored_findings
from bnconvert.diagnosis.findings.unreached import unreached_findings
from bnconvert.diagnosis.findings.wrappers import wrapper_findings
from bnconvert.modules.site import Survey
from bnconvert.reporting.records import Finding

#: Every family of findings, in the order in which a report lists them.
FINDINGS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    freezing_findings,
    settings_findings,
    call_findings,
    unreached_findings,
    stored_findings,
    channel_findings,
    counter_findings,
    finiteness_findings,
    wrapper_findings,
)
