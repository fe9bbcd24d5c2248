"""Presentation: which findings of a report count, how it is shown, and the exit code."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bnconvert.cli.reports.baseline import Baseline
from bnconvert.cli.reports.formats import formatted, save
from bnconvert.cli.reports.report_options import FailLevel, FormatName
from bnconvert.cli.reports.selection import Selection, hidden_note
from bnconvert.cli.reports.settings import project_settings
from bnconvert.cli.values import output_path
from bnconvert.errors import InconclusiveError, UsageError, VerificationError
from bnconvert.reporting.records import SEVERITIES
from bnconvert.reporting.terminal import print_report

if TYPE_CHECKING:
    from bnconvert.reporting.report import Report


@dataclass(frozen=True)
class Presentation:
    """How the report of a command is presented.

    Attributes:
        subject: command and model, "inspect net.py:factory": what a baseline knows findings by.
        selection: which findings count.
        fail_on: the lowest severity of a finding that makes the exit code 1.
        baseline: the file of known findings, if any.
        writes_baseline: whether this run's findings are written there, and fail nothing.
        format: how the report is printed.
        verbose: whether every row is printed.
        quiet: whether the verdict only is printed.
        report: the file for the report, if any.
        picture: the file for its plot, if any.
    """

    subject: str
    selection: Selection
    fail_on: FailLevel = FailLevel.error
    baseline: Path | None = None
    writes_baseline: bool = False
    format: FormatName = FormatName.text
    verbose: bool = False
    quiet: bool = False
    report: Path | None = None
    picture: Path | None = None

    @classmethod
    def of(cls, context: typer.Context) -> "Presentation":
        """Return what a command's options and the project's pyproject.toml say.

        Raises:
            UsageError: pyproject.toml is wrong, or the baseline cannot be read or written.
        """
        given, project = context.params, project_settings(Path.cwd())
        select, ignore = given["select"] or project.select, given["ignore"] or project.ignore
        presentation = cls(
            subject=f"{context.info_name} {given['model']}",
            selection=Selection(tuple(select), tuple(ignore)),
            fail_on=given["fail_on"] or project.fail_on or FailLevel.error,
            baseline=given["baseline"] or project.baseline,
            writes_baseline=given["write_baseline"],
            format=given["output_format"] or project.format or FormatName.text,
            verbose=given["verbose"],
            quiet=given["quiet"],
            report=given["report"],
            picture=given.get("plot"),
        )
        if presentation.writes_baseline and presentation.baseline is None:
            raise UsageError("--write-baseline: there is no file; give --baseline FILE too")
        if presentation.verbose and presentation.quiet:
            raise UsageError("--verbose and --quiet: give one of them")
        if presentation.writes_baseline:
            output_path(presentation.baseline)
        presentation._known()  # whether it can be read, before any work is done
        return presentation

    def show(self, report: "Report") -> "Report":
        """Print a report and write the files that the user named; return it as it was shown."""
        shown = self.counted(report)
        if self.format is FormatName.text:
            print_report(shown, verbose=self.verbose, quiet=self.quiet)
        else:
            typer.echo(formatted(shown, self.format, self.subject))
        save(shown, self.report, self.subject)
        if self.picture is not None:
            shown.plot(self.picture)
        return shown

    def tell(self, text: str) -> None:
        """Print a sentence after the report; on stderr where stdout is for a program."""
        if not self.quiet:
            typer.echo(text, err=self.format is not FormatName.text)

    def counted(self, report: "Report") -> "Report":
        """Return a report with the findings that count, and a note about the others."""
        selected = self.selection.of(report.findings)
        notes = hidden_note(report.findings, selected, "--select and --ignore")
        known = Baseline() if self.writes_baseline else self._known()
        new = known.new(self.subject, selected)
        notes += hidden_note(selected, new, f"the baseline {self.baseline}")
        return replace(report, findings=new, notes=(*report.notes, *notes))

    def finish(self, shown: "Report") -> None:
        """Write the baseline, or exit with 1 where a finding has the severity to fail.

        Args:
            shown: what `show` has returned.
        """
        if self.writes_baseline:
            assert self.baseline is not None
            old = Baseline.read(self.baseline) if self.baseline.exists() else Baseline()
            old.knowing(self.subject, shown.findings).write(self.baseline)
            count = len(shown.findings)
            self.tell(f"\nwrote {self.baseline}: {count} finding{'s' * (count != 1)} known now")
            return
        fails = SEVERITIES[: SEVERITIES.index(self.fail_on) + 1] if self.fail_on != "never" else ()
        if any(finding.severity in fails for finding in shown.findings):
            raise typer.Exit(1)

    @contextlib.contextmanager
    def saving_failures(self) -> Iterator[None]:
        """Write the report also where the verification inside fails, or proves nothing.

        For programs it is printed too; people get it with the error.
        """
        try:
            yield
        except (InconclusiveError, VerificationError) as failure:
            failed = self.counted(failure.report)
            if self.format is not FormatName.text:
                typer.echo(formatted(failed, self.format, self.subject))
            save(failed, self.report, self.subject)
            raise

    def _known(self) -> Baseline:
        """Return the baseline; an empty one where there is none, or where it is to be written."""
        if self.baseline is None or self.writes_baseline:
            return Baseline()
        return Baseline.read(self.baseline)
