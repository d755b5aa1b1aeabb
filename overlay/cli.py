"""The command line: each command is one function of the package."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from overlay import CACHE, PATCHES, ROOT, TESTS, trees
from overlay import apply as series
from overlay import plot as figure
from overlay import prove as proof
from overlay import soak as soaking
from overlay.check import check as check_series
from overlay.errors import OverlayError
from overlay.export import export as export_series
from overlay.processes import ends_on_signals
from overlay.runner import DRIVERS, require_packages
from overlay.series import UnknownVersionError, django_version, line_for, lines

tree_argument = click.argument(
    "tree",
    metavar="PATH",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keep the patch series of this repository applied to Django source trees."""
    # So that `finally` and `with` clean up after a kill, too.
    click.get_current_context().with_resource(ends_on_signals())


@main.command()
@tree_argument
def apply(tree: Path) -> None:
    """
    Commit the series and its tests to the Django source in PATH.

    PATH is a git checkout of a tested Django release, or an unpacked source
    distribution; the latter becomes a git repository. Either all of the series is
    applied, or PATH is left as it was. A tree with uncommitted changes is refused.
    """
    line = line_for(django_version(tree), lines(PATCHES))
    commit = series.apply(tree, line, TESTS)
    click.echo(
        f"Applied the {line.name} series "
        f"({', '.join(patch.stem for patch in line.patches)}) and its tests "
        f"({', '.join(line.test_apps)}) to {tree}, now at {commit[:10]}."
    )


@main.command()
@tree_argument
def unapply(tree: Path) -> None:
    """
    Take the commits of the series away from the Django source in PATH.

    It is refused if the branch has other commits on top of the series, if a commit
    of the series was changed, or if there are uncommitted changes. A repository that
    apply created stays, at its first commit.
    """
    line = line_for(django_version(tree), lines(PATCHES))
    commit = series.unapply(tree, line, TESTS)
    click.echo(
        f"Took the {line.name} series away from {tree}, now at {commit[:10]}; "
        "a repository that apply created stays."
    )


@main.command()
@tree_argument
def status(tree: Path) -> None:
    """
    Show which patches and tests are in the Django source in PATH.

    A patch is recognised by what it changes, whoever committed it. "changed" is a
    commit with the subject of a patch that changes something else.
    """
    try:
        line = line_for(django_version(tree), lines(PATCHES))
    except UnknownVersionError as error:
        click.echo(f"{tree}: unknown version. {error.message}")
        return
    found = series.status(tree, line, TESTS)
    table = Table("", "", box=None, show_header=False)
    for name, state in found.patches.items():
        table.add_row(name, state)
    for name, state in found.tests.items():
        table.add_row(f"tests/{name}", state)
    click.echo(
        f"{tree}: Django {django_version(tree)}, {line.name} series {found.overall}"
    )
    Console(soft_wrap=True).print(table)
    for commit in found.own:
        click.echo(f"not of the series: {commit}")


@main.command()
@tree_argument
def export(tree: Path) -> None:
    """
    Write the commits of the series in PATH back into patches/ and django_tests/.

    This is how a patch is edited: apply the series, amend or add commits in PATH, and
    export. Each commit needs a reason and the trailers Upstream-Status, Ticket,
    Drop-When and Overlay-Tests. Files with contents that git does not have are not
    overwritten.
    """
    line = line_for(django_version(tree), lines(PATCHES))
    changed = export_series(tree, line, TESTS)
    for path in changed:
        verb = "wrote" if path.exists() else "removed"
        click.echo(f"{verb} {path.relative_to(ROOT)}")
    if not changed:
        click.echo("Nothing changed.")


@main.command()
def check() -> None:
    """
    Check each series: that it exports to the same bytes, and Django's linters.

    It needs black, isort, flake8 and sphinx-lint; `tox -e lint` brings them.
    """
    problems = []
    for line in lines(PATCHES):
        tree = trees.build(line, line.release, True, TESTS, CACHE)
        problems += check_series(tree, line, TESTS)
    if problems:
        raise OverlayError("\n".join(problems))
    click.echo("Nothing to say.")


django_option = click.option(
    "--django",
    metavar="LINE|RELEASE",
    help="6.1, or 6.1.3. Default: the newest line that runs on this Python.",
)
db_option = click.option(
    "--db", type=click.Choice(list(DRIVERS)), default="sqlite", show_default=True
)


@main.command()
@django_option
@db_option
@click.option("--threads", type=click.IntRange(min=1), default=200, show_default=True)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How often each Django has its turn; the one of median duration is shown.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the figures there.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Draw the open connections over time. Needs Matplotlib.",
)
def prove(
    django: str | None,
    db: str,
    threads: int,
    rounds: int,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """
    Run the script of the ticket on stock and on patched Django, and compare.

    Threads save one object each. How many connections are open is counted at the
    server (for SQLite: file descriptors), by another process. It fails if patched
    Django loses an object or leaves a connection open.
    """
    for file in (json_file, plot):
        if file and not file.parent.is_dir():
            raise OverlayError(f"There is no folder {file.parent} to write to.")
    require_packages(db)
    line, release = trees.choose(django, lines(PATCHES))
    sides = {
        side: trees.build(line, release, side == "patched", TESTS, CACHE)
        for side in ("stock", "patched")
    }
    runs = proof.compare(sides, db, threads, rounds, Console(stderr=True))
    results = {side: proof.median(done) for side, done in runs.items()}
    proof.show(results, f"Django {release}, {db}", Console())
    if json_file:
        figures = {side: result.figures() for side, result in results.items()}
        content = {"django": release, "db": db, **figures}
        json_file.write_text(json.dumps(content, indent=2) + "\n")
    if plot:
        figure.draw(results, f"{threads} threads, Django {release}, {db}", plot)
    if problem := proof.problem(runs["patched"]):
        raise OverlayError(f"Patched Django {problem}.")


@main.command()
@django_option
@db_option
@click.option(
    "--threads", type=click.IntRange(min=1), default=100_000, show_default=True
)
def soak(django: str | None, db: str, threads: int) -> None:
    """
    Run threads that end in every way, and forks, on patched Django for minutes.

    It fails if connections, file descriptors, threads or memory grow meanwhile, or
    if objects are lost.
    """
    require_packages(db)
    line, release = trees.choose(django, lines(PATCHES))
    tree = trees.build(line, release, True, TESTS, CACHE)
    result = soaking.run(tree, db, threads, Console(stderr=True))
    soaking.show(result, f"Django {release}, patched, {db}", Console())
    if result.problems:
        raise OverlayError(" ".join(result.problems))
