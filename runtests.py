#!/usr/bin/env python3
"""Run the regression tests, or Django's own, on patched or stock Django."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from lab import redgreen, trees
from lab.runner import DRIVERS, require_packages, run_tests
from lab.servers import server
from overlay.errors import OverlayError
from overlay.series import Series, django_version, read_all, series_for

# The options of Django's runner whose value may be the next word.
TAKE_VALUES = {
    *("-k", "-v", "--bisect", "--durations", "--exclude-tag", "--external-host"),
    *("--pair", "--parallel", "--selenium", "--selenium-hub", "--settings"),
    *("--shuffle", "--start-after", "--start-at", "--tag", "--verbosity"),
}

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
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long each of the runs of --red-green may take.",
)
@click.argument("words", nargs=-1, metavar="[LABEL]... [-- OPTION...]")
def main(
    django: str | None,
    stock: bool,
    db: str,
    whole: bool,
    red_green: bool,
    timeout: float,
    words: tuple[str, ...],
) -> None:
    """
    Run tests with Django's own runner.

    LABEL names tests as that runner wants it, ours or Django's: `backends`,
    `thread_connections.tests.EndedThreadsTests`. Default: all of ours. Each OPTION is
    handed to that runner; labels may follow it.
    """
    labels, options = split(words)
    if red_green and stock:
        raise OverlayError("--red-green runs stock Django, too: leave --stock out.")
    if whole and (labels or red_green):
        raise OverlayError("--all goes with neither labels nor --red-green.")
    known = read_all()
    tree = None
    if django and not django[0].isdigit():
        if red_green or stock:
            raise OverlayError(
                "A checkout is run as it is: --red-green and --stock need a release."
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
    if not tree:
        build = partial(trees.build, series, release)
        if red_green:
            sys.exit(prove(build, db, labels, options, timeout))
        tree = build(patched=not stock)
    if whole:
        labels = djangos_own(tree, series)
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


def prove(
    build: Callable[..., Path],
    db: str,
    labels: Sequence[str],
    options: Sequence[str],
    timeout: float,
) -> int:
    """
    Print which regression tests are red on stock and green when patched.

    `build(patched=...)` returns a tree. Return the exit code: 0 if all of them are.
    """
    both = {patched: build(patched=patched) for patched in (False, True)}

    def run(patched: bool, tags: list[str], report: Path, output: Path) -> None:
        run_tests(
            both[patched],
            db,
            labels,
            [*options, *tags],
            env=env,
            report=report,
            output=output,
            timeout=timeout,
        )

    with (
        server(db) as env,
        tempfile.TemporaryDirectory(prefix="overlay-") as folder,
    ):
        verdicts = redgreen.run_both(run, Path(folder))
    console = Console()
    console.print(f"Django {django_version(both[True])}, {db}:", highlight=False)
    redgreen.show(verdicts, console)
    return 0 if redgreen.proven(verdicts) else 1


if __name__ == "__main__":
    main()
