#!/usr/bin/env python3
"""Run the regression tests, or Django's own, on patched or stock Django."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from lab import jobs, redgreen, trees
from lab.runner import DRIVERS, require_packages, run_tests
from lab.servers import VARIABLES, server
from overlay.errors import OverlayError
from overlay.series import Series, django_version, read_all, series_for
from overlay.signals import ends_on_signals

# The options of Django's runner whose value may be the next word.
TAKE_VALUES = {
    *("-k", "-v", "--bisect", "--durations", "--exclude-tag", "--external-host"),
    *("--pair", "--parallel", "--selenium", "--selenium-hub", "--settings"),
    *("--shuffle", "--start-after", "--start-at", "--tag", "--verbosity"),
}

# Those that ask questions, or are about all of the tests.
ONE_RUN = ("--pdb", "--bisect", "--pair", "--parallel")

# Folders in Django's tests/ that its runner doesn't take as labels, or only with GIS.
NOT_LABELS = {"gis_tests", "import_error_package", "test_runner_apps"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--django",
    metavar="LINE|RELEASE|PATH",
    help="6.1, or 6.1.3, or a checkout of yours with the tests in it, which is run as "
    "it is. Default: the newest line that runs on this Python.",
)
@click.option("--stock", is_flag=True, help="Leave the patches out.")
@click.option(
    "--db",
    type=click.Choice(list(DRIVERS)),
    default="sqlite",
    show_default=True,
    help="mysql and postgres are private servers, unless MYSQL_HOST or "
    "MYSQL_UNIX_SOCKET, or PGHOST, names one.",
)
@click.option("--all", "whole", is_flag=True, help="Run all of Django's own tests.")
@click.option(
    "--red-green",
    is_flag=True,
    help="Run the tests on stock and on patched Django. Fail unless each one that "
    "claims to be a regression test fails on stock, and all pass when patched.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Run the tests on stock and on patched Django. Fail if one ends differently, "
    "and so again when only such tests are run, unless a patch changes its file.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long each of the runs of --red-green and --compare may take.",
)
@click.option(
    "--jobs",
    "parts",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N parts of the tests side by side, each with a server of its own. "
    "Default: 4; 1 for labels with a dot, --all, a server that is named, and "
    f"{', '.join(ONE_RUN)}.",
)
@click.option("--part", metavar="I/N", hidden=True)  # one of the jobs
@click.option("--verdicts", type=click.Path(path_type=Path), hidden=True)
@click.argument("words", nargs=-1, metavar="[LABEL]... [-- OPTION...]")
def main(
    django: str | None,
    stock: bool,
    db: str,
    whole: bool,
    red_green: bool,
    compare: bool,
    timeout: float,
    parts: int | None,
    part: str | None,
    verdicts: Path | None,
    words: tuple[str, ...],
) -> None:
    """
    Run tests with Django's own runner.

    LABEL names tests as that runner wants it, ours or Django's: `backends`,
    `thread_connections.tests.EndedThreadsTests`. Default: all of ours. Each OPTION is
    handed to that runner; labels may follow it.
    """
    labels, options = split(words)
    if stock + red_green + compare > 1:
        raise OverlayError(
            "--stock, --red-green and --compare say which Django: choose one of them."
        )
    if whole and (labels or red_green):
        raise OverlayError("--all goes with neither labels nor --red-green.")
    known = read_all()
    tree = None
    if django and not django[0].isdigit():
        if stock or red_green or compare:
            raise OverlayError(
                "A checkout is run as it is: --stock, --red-green and --compare need a "
                "release."
            )
        tree = Path(django).resolve()
        series = series_for(django_version(tree), known)
        trees.require_python(series, series.release)
        missing = [
            app for app in series.test_apps if not (tree / "tests" / app).is_dir()
        ]
        if missing and not labels and not whole:
            raise OverlayError(
                f"{tree} lacks tests/{missing[0]}: "
                f"run `django-overlay apply {tree}` first."
            )
    else:
        series, release = trees.choose(django, known)
    labels = labels or ([] if whole else series.test_apps)
    require_packages(db, ours=any(is_ours(label, series) for label in labels))
    if part:
        os.environ["OVERLAY_PART"] = part
    parts = 1 if part else how_many(parts, db, labels, options)
    if not tree:
        build = partial(trees.build, series, release)
        if red_green or compare:
            both = {patched: build(patched=patched) for patched in (False, True)}
            if whole:
                labels = djangos_own(both[True], series)

            def run(labels: Sequence[str]) -> list[redgreen.Verdict]:
                judge = redgreen.prove if red_green else redgreen.compare_all
                groups = by_settings(db, labels, series)
                return run_on_both(judge, both, db, groups, options, timeout)

            found = verdicts_of_parts(parts) if parts > 1 else run(labels)
            if part:
                verdicts.write_text(json.dumps([astuple(verdict) for verdict in found]))
                return
            if compare:
                found = run_again(found, run)
            title = f"Django {release}, {db}:"
            sys.exit(conclude(found, title, both if compare else None))
        tree = build(patched=not stock)
    if whole:
        labels = djangos_own(tree, series)
    if parts > 1:
        codes = run_parts(parts)
    else:
        with server(db) as env:
            codes = [
                run_tests(tree, settings, group, options, env=env)
                for settings, group in by_settings(db, labels, series).items()
            ]
    code = next(filter(None, codes), 0)
    sys.exit(code if code >= 0 else 128 - code)  # as a shell does for a signal


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the labels among `words`, and the options with their values."""
    labels, options = [], []
    for previous, word in zip(("", *words), words, strict=False):
        is_option = word.startswith("-") or previous in TAKE_VALUES
        (options if is_option else labels).append(word)
    return labels, options


def by_settings(db: str, labels: Sequence[str], series: Series) -> dict[str, list[str]]:
    """
    Return the labels to run with each of the settings for `db`.

    Our tests count connections to SQLite by their files; Django's own are made for
    databases in memory, and some fail with files.
    """
    if db != "sqlite":
        return {db: list(labels)}
    groups: dict[str, list[str]] = {}
    for label in labels:
        settings = "sqlite" if is_ours(label, series) else "sqlite_in_memory"
        groups.setdefault(settings, []).append(label)
    return groups


def djangos_own(tree: Path, series: Series) -> list[str]:
    """Return labels for all tests in `tree` but those that `series` brings."""
    packages = {init.parent.name for init in tree.glob("tests/*/__init__.py")}
    return sorted(packages - NOT_LABELS - set(series.test_apps))


def is_ours(label: str, series: Series) -> bool:
    """Return whether a label names tests that `series` brings."""
    return label.partition(".")[0] in series.test_apps


def how_many(
    wanted: int | None, db: str, labels: Sequence[str], options: Sequence[str]
) -> int:
    """
    Return how many parts of the tests to run side by side.

    They need a server each, as our tests count all connections to theirs.
    """
    named = any(os.environ.get(name) for name in VARIABLES.get(db, [[]])[0])
    if named or any(option.startswith(ONE_RUN) for option in options):
        return 1
    # Without labels it's all tests, for which Django's runner has --parallel.
    return wanted or (1 if all("." in label for label in labels) else 4)


def run_parts(parts: int, folder: Path | None = None) -> list[int]:
    """
    Run this command for each part of the tests; return the exit codes.

    With `folder` each writes its verdicts to a file there.
    """

    def command(part: int) -> list[str]:
        files = [f"--verdicts={folder / str(part)}"] if folder else []
        # In front: after a "--" they would be options of Django's runner.
        return [
            *(sys.executable, __file__, f"--part={part}/{parts}", *files),
            *sys.argv[1:],
        ]

    with ends_on_signals():
        return jobs.run_parts(command, parts)


def verdicts_of_parts(parts: int) -> list[redgreen.Verdict]:
    """Prove each part of the tests in a run of its own; return all verdicts."""
    with tempfile.TemporaryDirectory(prefix="overlay-") as name:
        if any(codes := run_parts(parts, Path(name))):
            sys.exit(max(codes))  # it has said why
        return [
            redgreen.Verdict(*row[:2], *(redgreen.Outcome(*side) for side in row[2:]))
            for file in sorted(Path(name).iterdir())
            for row in json.loads(file.read_text())
        ]


def run_on_both(
    judge: Callable[[redgreen.Run, Sequence[str], Path], list[redgreen.Verdict]],
    both: dict[bool, Path],
    db: str,
    groups: Mapping[str, Sequence[str]],
    options: Sequence[str],
    timeout: float,
) -> list[redgreen.Verdict]:
    """
    Return the verdicts of `judge` on tests that run on stock and on patched Django.

    `both` are the trees: the patched one is `both[True]`. `groups` are labels by their
    settings.
    """

    def run(settings, patched, words, report, output) -> None:
        run_tests(
            both[patched],
            settings,
            words,
            options,
            env=env,
            report=report,
            output=output,
            timeout=timeout,
        )

    with server(db) as env, tempfile.TemporaryDirectory(prefix="overlay-") as folder:
        return [
            verdict
            for settings, labels in groups.items()
            for verdict in judge(partial(run, settings), labels, Path(folder))
        ]


def run_again(
    verdicts: list[redgreen.Verdict],
    run: Callable[[list[str]], list[redgreen.Verdict]],
) -> list[redgreen.Verdict]:
    """Return `verdicts`, with those of a second run for tests that ended differently."""
    # Not the tests themselves, as a class whose setUpClass() fails has none.
    doubtful = {v.test.rpartition(".")[0] for v in verdicts if v.different}
    again = {v.test: v for v in run(sorted(doubtful))} if doubtful else {}
    return [again.get(v.test, v) if v.different else v for v in verdicts]


def conclude(
    verdicts: list[redgreen.Verdict],
    title: str,
    compared: dict[bool, Path] | None = None,
) -> int:
    """
    Print the verdicts and return the exit code.

    `compared` are the trees, if the question was which tests end differently.
    """
    console = Console()
    console.print(title, highlight=False)
    verdicts = sorted(verdicts, key=lambda v: (not v.claim, v.test))
    if not compared:
        redgreen.show(verdicts, console)
        return 0 if redgreen.proven(verdicts) else 1
    changed = redgreen.of_changed_files(verdicts, compared[False], compared[True])
    redgreen.show_comparison(verdicts, changed, console)
    return int(any(v.different and v.test not in changed for v in verdicts))


if __name__ == "__main__":
    main()
