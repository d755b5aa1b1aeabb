"""Prove that regression tests fail without the patches and pass with them."""

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from overlay.errors import OverlayError

TAG = "regression"  # of django.test.tag: "this test claims to be a regression test"
PASSED, FAILED, SKIPPED, NOT_RUN = "passed", "failed", "skipped", "not run"


@dataclass(frozen=True)
class Outcome:
    """How a test ended; `reason` is the first line of its failure, or why skipped."""

    status: str
    reason: str = ""


Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True)
class Verdict:
    """A test's outcomes on stock and on patched Django, and whether they are right."""

    test: str
    claim: bool
    stock: Outcome
    patched: Outcome

    @property
    def skipped(self) -> bool:
        """Whether the test is not for this database: skipped alike on both sides."""
        return self.stock == self.patched and self.stock.status == SKIPPED

    @property
    def right(self) -> bool:
        """Whether a claim is red, then green, and any other test green on both."""
        stock = FAILED if self.claim else PASSED
        return self.skipped or (self.stock.status, self.patched.status) == (
            stock,
            PASSED,
        )


def outcomes(report: Path) -> dict[str, Outcome]:
    """
    Return the outcome of each test in a JUnit file of Django's runner, by its id.

    A test whose subtests have several outcomes has the worst of them.
    """
    worst_last = (PASSED, SKIPPED, FAILED)
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        # "test_name (i=1)", a subtest, or "setUpClass (app.tests.Case)"
        name, _, rest = case.get("name").partition(" ")
        name = f"{case.get('classname') or rest.strip('()')}.{name}"
        outcome = _outcome(case)
        known = found.setdefault(name, outcome)
        if worst_last.index(outcome.status) > worst_last.index(known.status):
            found[name] = outcome
    return found


def _outcome(case: ElementTree.Element) -> Outcome:
    for element in case:
        if element.tag in ("failure", "error"):
            return Outcome(FAILED, _first_line(element))
        # An expected failure is reported as skipped, too.
        if element.tag == "skipped" and element.get("type") != "XFAIL":
            return Outcome(SKIPPED, element.get("message", ""))
    return Outcome(PASSED)


def _first_line(failure: ElementTree.Element) -> str:
    """
    Return the first line of an exception's message.

    It is looked up in the traceback: the attribute has lost its line ends where Python
    is older than 3.13.
    """
    name, message = failure.get("type", ""), failure.get("message", "")
    for line in reversed((failure.text or "").splitlines()):
        if re.match(rf"[\w.]*\b{name}\b", line):
            return line
    return f"{name}: {message}"


def compare(claims: tuple[Outcomes, Outcomes], others: tuple[Outcomes, Outcomes]):
    """
    Return the Verdict on each test, given its outcomes on stock and on patched.

    `claims` are those of the tests with the tag, `others` those of the rest.
    """
    return [
        Verdict(
            test,
            claim,
            stock.get(test, Outcome(NOT_RUN)),
            patched.get(test, Outcome(NOT_RUN)),
        )
        for claim, (stock, patched) in ((True, claims), (False, others))
        for test in sorted(stock | patched)
    ]


def proven(verdicts: list[Verdict]) -> bool:
    """Return whether all is as it should be, and a claim was put to the test at all."""
    return all(verdict.right for verdict in verdicts) and any(
        verdict.claim and not verdict.skipped for verdict in verdicts
    )


def run_both(
    run: Callable[[bool, list[str], Path, Path], int], folder: Path
) -> list[Verdict]:
    """
    Run the tests on stock and on patched Django, and return the verdicts.

    `run(patched, options, report, output)` runs Django's runner with its `options`, and
    has it write its JUnit file to `report` and the rest to `output`. Both lie in
    `folder`. Raise OverlayError with the end of the output if a run does not end by
    itself or leaves no report.
    """

    def collect(patched: bool, option: str) -> dict[str, Outcome]:
        side = "patched" if patched else "stock"
        what = "claims" if option == "--tag" else "other tests"
        report = folder / f"{side}-{what}.xml"
        output = folder / f"{side}-{what}.txt"
        with Console(stderr=True).status(f"Running the {what} on {side} Django …"):
            try:
                run(patched, [f"{option}={TAG}"], report, output)
                return outcomes(report)
            except subprocess.TimeoutExpired as error:
                problem = f"did not end within {error.timeout:.0f} s"
            except (OSError, ElementTree.ParseError):
                problem = "left no report"
        tail = output.read_text(errors="replace").splitlines()[-30:]
        raise OverlayError(
            "\n".join([f"The run of the {what} on {side} Django {problem}:", *tail])
        )

    claims, others = (
        (collect(False, option), collect(True, option))
        for option in ("--tag", "--exclude-tag")
    )
    return compare(claims, others)


def show(verdicts: list[Verdict], console: Console) -> None:
    """Print every claim, and whatever else is wrong, with both outcomes and why."""
    table = Table(box=box.SIMPLE if console.is_terminal else None)
    for heading in ("test", "stock", "patched", "verdict"):
        table.add_column(heading)
    shown = [v for v in verdicts if v.claim or not v.right]
    for case, group in groupby(shown, lambda v: v.test.rpartition(".")[0]):
        table.add_row(case)
        for verdict in group:
            stock, patched = verdict.stock, verdict.patched
            word = "skipped" if verdict.skipped else "ok" if verdict.right else "WRONG"
            why = patched.reason if patched.status != PASSED else stock.reason
            table.add_row(
                f"  {verdict.test.rpartition('.')[2]}",
                stock.status,
                patched.status,
                word,
            )
            table.add_row(Padding(escape(why), (0, 0, 0, 4)))
    console.print(table)
    claims = [v for v in verdicts if v.claim]
    others = [v for v in verdicts if not v.claim]
    console.print(
        f"{_count(claims)} claims are red on stock and green when patched; "
        f"{_count(others)} other tests are green on both.",
        highlight=False,
        soft_wrap=True,
    )


def _count(verdicts: list[Verdict]) -> str:
    right = sum(v.right and not v.skipped for v in verdicts)
    skipped = sum(v.skipped for v in verdicts)
    return f"{right} of {len(verdicts) - skipped} ({skipped} skipped)"
