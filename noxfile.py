"""The everyday commands, each in an environment of its own: `nox -l` lists them."""

import re
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]

#: Which tests need nothing but torch and the core dependencies; `.ci/run` reads the same file.
CORE = "@.ci/core-tests.txt"


def oldest_torch() -> str:
    """Return the oldest supported release of torch, as pyproject.toml says."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    (found,) = filter(None, (re.match(r"torch>=([\d.]+)$", d) for d in project["dependencies"]))
    return found[1] + ".0" * (2 - found[1].count("."))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; `nox -s tests -- tests/norms` runs some."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def sweeps(session: nox.Session) -> None:
    """Run the slow sweeps over real architectures."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style and types."""
    session.install("-e", ".[test]", "nox")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy", "--strict")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site; a broken link fails."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
def newest(session: nox.Session) -> None:
    """Run the core tests with the newest release of torch."""
    session.install("-e", ".[check]", "--upgrade", "torch")
    session.run("pytest", CORE, *session.posargs)


@nox.session
def floor(session: nox.Session) -> None:
    """Run the core tests with the oldest supported release of torch."""
    session.install("-e", ".[check]", f"torch=={oldest_torch()}")
    session.run("pytest", CORE, *session.posargs)


@nox.session
def samples(session: nox.Session) -> None:
    """Run the samples into out/."""
    session.install("-e", ".[samples]")
    for path in sorted(Path("samples").glob("*.py")):
        text = path.read_text()
        if f"python samples/{path.name} --output out" in text:
            session.run("python", str(path), "--output", "out")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel into dist/, and use the wheel from where there is nothing else."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", "dist")
    (wheel,) = Path("dist").glob("*.whl")
    session.install(str(wheel.resolve()))
    session.chdir(session.create_tmp())
    session.run("bnconvert", "--help")
