"""Compare how tests end on stock and on patched Django: regression tests, and others."""

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
    def different(self) -> bool:
        """Whether the test ends in another way when patched."""
        return self.stock.status != self.patched.status

    @property
    def right(self) -> bool:
        """Whether a claim is red, then green, and any other test green on both."""
        stock = FAILED if self.claim else PASSED
        return self.skipped or (self.stock.status, self.patched.status) == (
            stock,
            PASSED,
        )


def outcomes(report: Path, *, pytest: bool = False) -> dict[str, Outcome]:
    """
    Return the outcome of each test in a JUnit file of Django's runner, by its id.

    With `pytest` it is one of pytest's, where a name with spaces has no subtest. A test
    whose subtests have several outcomes has the worst of them.
    """
    worst_last = (PASSED, SKIPPED, FAILED)
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        # "test_name (i=1)", a subtest, or "setUpClass (app.tests.Case)"
        name, _, rest = case.get("name").partition("\n" if pytest else " ")
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


# Runs Django's runner on stock or on patched Django with words, labels and options, and
# has it write its JUnit file to the first path and all else that it says to the other.
Run = Callable[[bool, Sequence[str], Path, Path], object]


def prove(run: Run, words: Sequence[str], folder: Path) -> list[Verdict]:
    """
    Run the tests on stock and on patched Django, claims apart; return the verdicts.

    `words` are for `run`, whose files lie in `folder`. Raise OverlayError with the end
    of the output if a run does not end by itself or leaves no report.
    """
    return compare(
        _on_both(run, "claims", [*words, f"--tag={TAG}"], folder),
        _on_both(run, "other tests", [*words, f"--exclude-tag={TAG}"], folder),
    )


def compare_all(run: Run, words: Sequence[str], folder: Path) -> list[Verdict]:
    """Run the tests on stock and on patched Django; see prove(), but for the claims."""
    return compare(({}, {}), _on_both(run, "tests", words, folder))


def _on_both(
    run: Run, what: str, words: Sequence[str], folder: Path
) -> tuple[Outcomes, Outcomes]:
    stock, patched = (
        _collect(run, patched, what, words, folder) for patched in (False, True)
    )
    return stock, patched


def _collect(
    run: Run, patched: bool, what: str, words: Sequence[str], folder: Path
) -> Outcomes:
    side = "patched" if patched else "stock"
    report = folder / f"{side}-{what}.xml"
    output = folder / f"{side}-{what}.txt"
    with Console(stderr=True).status(f"Running the {what} on {side} Django …"):
        try:
            run(patched, words, report, output)
            return outcomes(report)
        except subprocess.TimeoutExpired as error:
            problem = f"did not end within {error.timeout:.0f} s"
        except (OSError, ElementTree.ParseError):
            problem = "left no report"
    tail = output.read_text(errors="replace").splitlines()[-30:]
    raise OverlayError(
        "\n".join([f"The run of the {what} on {side} Django {problem}:", *tail])
    )


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


def of_changed_files(verdicts: list[Verdict], stock: Path, patched: Path) -> set[str]:
    """
    Return the tests whose file is not the same in the trees `stock` and `patched`.

    A test that a patch changes is expected to end differently without it.
    """
    return {
        verdict.test
        for verdict in verdicts
        if _source(verdict.test, stock) != _source(verdict.test, patched)
    }


def _source(test: str, tree: Path) -> bytes | None:
    """Return the contents of the file of a test, "package.module.Class.test"."""
    path = tree.joinpath("tests", *test.split(".")[:-2]).with_suffix(".py")
    return path.read_bytes() if path.is_file() else None


def show_comparison(
    verdicts: list[Verdict], changed: set[str], console: Console
) -> None:
    """
    Print how many tests ended how, and each that ended differently.

    `changed` are those whose file a patch changes.
    """
    for side in ("stock", "patched"):
        statuses = Counter(getattr(verdict, side).status for verdict in verdicts)
        numbers = [f"{count:,} {status}" for status, count in statuses.most_common()]
        console.print(f"{side}: {', '.join(numbers)}", highlight=False)
    different = [verdict for verdict in verdicts if verdict.different]
    for verdict in different:
        note = "; a patch changes its file" if verdict.test in changed else ""
        console.print(
            f"{verdict.test}: {verdict.stock.status} on stock, "
            f"{verdict.patched.status} when patched{note}\n"
            f"    {verdict.patched.reason or verdict.stock.reason}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    console.print(f"{len(different)} ended differently, twice.", highlight=False)


def _count(verdicts: list[Verdict]) -> str:
    right = sum(v.right and not v.skipped for v in verdicts)
    skipped = sum(v.skipped for v in verdicts)
    return f"{right} of {len(verdicts) - skipped} ({skipped} skipped)"
