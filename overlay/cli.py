"""The command line: each command is one function of the package."""

import dataclasses
import json
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from overlay import installed, sdist, wheel
from overlay.apply import apply, unapply
from overlay.carry import begun, carry_change, carry_series
from overlay.check import check, line_count, shared
from overlay.checkout import head
from overlay.contribute import (
    INVALID,
    NOT_ACCEPTED,
    contribute,
    run_changed_tests,
)
from overlay.differences import declare, undeclared
from overlay.errors import OverlayError
from overlay.export import export
from overlay.linters import complaints, require_linters
from overlay.rebase import Conflict
from overlay.releases import newer_releases, trials
from overlay.review import review
from overlay.series import (
    HOME,
    Series,
    UnknownVersionError,
    candidates,
    django_version,
    read_all,
    series_for,
)
from overlay.signals import ends_on_signals
from overlay.status import (
    APPLIED,
    CHANGED,
    HALF_APPLIED,
    NOT_APPLIED,
    OTHER_REVISION,
    status,
)

EXIT_CODES = {
    APPLIED: 0,
    NOT_APPLIED: 3,
    HALF_APPLIED: 4,
    CHANGED: 4,
    OTHER_REVISION: 5,
}

VERIFY_CODES = {
    installed.WHOLLY: 0,
    installed.PARTLY: 1,
    installed.OTHER_REVISION: 2,
    installed.NOT: 3,
}
CANT_TELL = 4

tree_argument = click.argument(
    "tree",
    metavar="PATH",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
)

without_extras_option = click.option(
    "--without-extras",
    is_flag=True,
    help="Leave out the patches at the end that only make Django faster.",
)


def own_version() -> str:
    """Return the version of the tool, which a checkout need not be installed for."""
    project = HOME / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    return version("django-overlay")


def show_version(context: click.Context, parameter: object, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        carried = ", ".join(f"{s.name} ({s.release})" for s in read_all())
        click.echo(f"django-overlay {own_version()}, series for {carried}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version of the tool and of the series that it carries.",
)
def main() -> None:
    """Keep a series of patches applied to Django source trees."""
    # So that `finally` and `with` clean up after a kill, too.
    click.get_current_context().with_resource(ends_on_signals())


@main.command("apply", short_help="Commit the series and its tests.")
@click.option(
    "--replace",
    is_flag=True,
    help="Take away first what an earlier run, with another revision, committed.",
)
@without_extras_option
@tree_argument
def apply_command(tree: Path, replace: bool, without_extras: bool) -> None:
    """
    Commit the series and its tests to the Django source in PATH.

    PATH is a git checkout of a tested Django release, or an unpacked source
    distribution; the latter becomes a git repository. Either all of the series is
    applied, or PATH is left as it was. A tree with uncommitted changes is refused.
    """
    series = series_for(django_version(tree), read_all())
    series = dataclasses.replace(series, extras=not without_extras)
    commit = apply(tree, series, replace=replace)
    click.echo(f"Applied the {series.name} series to {tree}, now at {commit[:10]}:")
    for patch in series.patches:
        click.echo(f"  {patch.stem}")
    for app in series.test_apps:
        click.echo(f"  tests/{app}")


@main.command("unapply", short_help="Take the series away again.")
@tree_argument
def unapply_command(tree: Path) -> None:
    """
    Take the commits of the series away from the Django source in PATH.

    It is refused if the branch has other commits on top of the series, if a commit
    of the series was changed, or if there are uncommitted changes. A repository that
    apply created stays, at its first commit.
    """
    series = series_for(django_version(tree), read_all())
    commit = unapply(tree, series)
    click.echo(
        f"Took the {series.name} series away from {tree}, now at {commit[:10]}; "
        "a repository that apply created stays."
    )


@main.command("status", short_help="Show what of the series is there.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option(
    "--base",
    "base_only",
    is_flag=True,
    help="Print only the commit below the series, as for `git rebase --interactive`.",
)
@tree_argument
def status_command(tree: Path, as_json: bool, base_only: bool) -> None:
    """
    Show which patches and tests are in the Django source in PATH.

    A patch is recognised by what it changes, whoever committed it. "changed" is a
    commit with the subject of a patch that changes something else.

    The exit code is 0 if all of the series is applied, 3 if nothing is or there is no
    series for that Django, 4 if some is or something in it is changed, and 5 if it is
    another revision of the series, whole.
    """
    release = django_version(tree)
    try:
        series = series_for(release, read_all())
    except UnknownVersionError as error:
        if as_json:
            click.echo(json.dumps({"django": release, "overall": "unknown version"}))
        else:
            click.echo(f"{tree}: unknown version. {error.message}")
        sys.exit(EXIT_CODES[NOT_APPLIED])
    found = status(tree, series)
    overall = found.overall
    if overall == APPLIED and found.changed:
        overall = CHANGED
    if base_only:
        click.echo(found.base)
        sys.exit(EXIT_CODES[overall])
    if as_json:
        facts = {
            "django": release,
            "series": series.name,
            "overall": overall,
            "base": found.base,
            "patches": found.patches,
            "tests": found.tests,
            "own_commits": [commit.id for commit in found.own],
            "unfinished": found.unfinished,
        }
        click.echo(json.dumps(facts, indent=2))
        sys.exit(EXIT_CODES[overall])
    table = Table("", "", box=None, show_header=False)
    for name, state in found.patches.items():
        table.add_row(name, state)
    for name, state in found.tests.items():
        table.add_row(f"tests/{name}", state)
    click.echo(f"{tree}: Django {release}, {series.name} series {overall}")
    Console(soft_wrap=True).print(table)
    for commit in found.own:
        click.echo(f"not of the series: {commit}")
    if found.unfinished:
        click.echo(f"a git {found.unfinished} is under way")
    sys.exit(EXIT_CODES[overall])


@main.command("export", short_help="Write the series back into patches/.")
@tree_argument
def export_command(tree: Path) -> None:
    """
    Write the commits of the series in PATH back into patches/ and django_tests/.

    This is how a patch is edited: apply the series, amend or add commits in PATH, and
    export. Each commit needs a reason and the trailers Upstream-Status, Ticket,
    Drop-When and Overlay-Tests. Files with contents that git does not have are not
    overwritten.
    """
    known = read_all()
    with begun(tree, known) as new:
        changed = export(tree, new or series_for(django_version(tree), known))
    for path in changed:
        verb = "wrote" if path.exists() else "removed"
        click.echo(f"{verb} {path.relative_to(HOME)}")
    if not changed:
        click.echo("Nothing changed.")


@main.command("check", short_help="Check each series, with Django's linters.")
@click.option(
    "--all-releases",
    is_flag=True,
    help="Also apply each series to every point release of its line; takes minutes.",
)
@click.option(
    "--declare",
    "write",
    is_flag=True,
    help="Write how the lines differ to patches/*/DIFFERENCES, which keep the reasons.",
)
def check_command(all_releases: bool, write: bool) -> None:
    """
    Check that each series is fit for Django, and that the lines say the same.

    Each is applied to the release that it is kept on, has to export to the same bytes
    and to please Django's linters. It needs black, isort, flake8 and sphinx-lint;
    `pip install 'django-overlay[lint]'` brings them.
    """
    require_linters()
    known = read_all()
    progress = Console(stderr=True)
    problems = []
    names = ", ".join(series.name for series in known)
    # What takes time are git and the linters, in processes of their own.
    with progress.status(f"Checking {names} …"), ThreadPoolExecutor() as executor:
        for series, found in zip(known, executor.map(check, known), strict=True):
            problems += [f"{series.name}: {problem}" for problem in found]
    for newer, older in pairwise(known):
        try:
            if write:
                declare(newer, older)
            problems += undeclared(newer, older)
        except OverlayError as error:
            problems.append(f"{older.name}: {error.message}")
    if all_releases:
        problems += _check_releases(known, progress)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    for series in known:
        click.echo(line_count(series))
        for path, names in shared(series).items():
            click.echo(f"  {path}: {', '.join(names)}")


def _check_releases(known: list[Series], progress: Console) -> list[str]:
    """Print a row for each release of `known`; return what is wrong in BASE."""
    row = "{:<6}{:<9}{:<9}{}"
    click.echo(row.format("Line", "Release", "In BASE", "Outcome"))
    problems = []
    for series in known:
        try:
            with progress.status(f"Applying the {series.name} series …"):
                for trial in trials(series):
                    in_base = "yes" if trial.in_base else "no"
                    facts = trial.line, trial.release, in_base, trial.outcome
                    click.echo(row.format(*facts))
                    if trial.problem:
                        problems.append(f"{series.name}: {trial.problem}")
        except OverlayError as error:
            problems.append(f"{series.name}: {error.message}")
    return problems


@main.command("newer", short_help="List the releases that no series is kept on.")
def newer_command() -> None:
    """
    List the releases of Django that no series is kept on yet, for `carry`.

    A row is a line and the release to take its series to: the last point release of
    each line, and the last release or pre-release of the lines after these.
    """
    for line, release in newer_releases(read_all()):
        click.echo(f"{line} {release}")


@main.command("carry", short_help="Take a series to another release or line.")
@click.argument("source", metavar="LINE")
@click.argument("target", metavar="RELEASE|LINE")
@click.argument(
    "tree", metavar="PATH", type=click.Path(resolve_path=True, path_type=Path)
)
@click.option(
    "--since",
    metavar="REVISION",
    default="HEAD",
    show_default=True,
    help="Of this repository: what has changed in LINE since then is taken to a LINE.",
)
def carry_command(source: str, target: str, tree: Path, since: str) -> None:
    """
    Take the series of LINE to another release, or what changed in it to another line.

    A RELEASE ("6.1.4") gets the whole series, also if it begins a new line; a LINE
    that has a series ("5.2") gets what changed in the other, patch by patch. PATH is a
    new folder: a repository in which git rebases the commits. Conflicts are left there,
    to be solved as in any rebase. Then `django-overlay export PATH` writes the result.
    """
    known = {series.name: series for series in read_all()}
    if source not in known:
        raise OverlayError(
            f"There is no {source} series; there are {', '.join(known)}."
        )
    then = f"Now look at it, and run `django-overlay export {tree}`."
    try:
        if target in known:
            carry_change(known[source], since, known[target], tree)
        else:
            carry_series(known[source], target, tree)
    except Conflict as conflict:
        raise OverlayError(f"{conflict.message}\n{then}") from None
    click.echo(f"{tree} has the {source} series for Django {target}. {then}")


@main.command("contribute", short_help="Make a branch for Django itself.")
@click.option("--ticket", type=click.IntRange(min=1), help="The ticket in Trac.")
@click.option(
    "--patch",
    "names",
    metavar="NAME",
    multiple=True,
    help="Only this one; may be repeated. Default: all that Django doesn't have.",
)
@click.option("--squash", is_flag=True, help="Make one commit of the patches.")
@click.option("--branch", help="Of the new branch. Default: ticket_N, for ticket N.")
@tree_argument
def contribute_command(
    tree: Path,
    ticket: int | None,
    names: tuple[str, ...],
    squash: bool,
    branch: str | None,
) -> None:
    """
    Make a branch of the newest series for a pull request to Django.

    PATH is a checkout of Django's main branch. On top of what is checked out there, each
    patch becomes a commit as Django has it: for the ticket, with the tests that can
    stand there, and with the version and the release notes of the next release. The
    branch is made in a worktree beside PATH, where git leaves conflicts to you; PATH
    itself, and what is not committed in it, stays as it is.
    """
    if not ticket:
        raise OverlayError(f"Name a ticket with --ticket. {NOT_ACCEPTED}.")
    branch = branch or f"ticket_{ticket}"
    folder = tree.with_name(f"{tree.name}-{branch.replace('/', '-')}")
    series = read_all()[0]
    try:
        subjects = contribute(
            tree, series, ticket, branch, folder, names, squash=squash
        )
    except Conflict as conflict:
        then = _what_then(tree, folder, ticket)
        raise OverlayError(f"{conflict.message}\n{then}") from None
    click.echo(f"{folder} has the branch {branch} of {tree}, with:")
    for subject in subjects:
        click.echo(f"  {subject}")
    click.echo(_what_then(tree, folder, ticket))


def _what_then(tree: Path, folder: Path, ticket: int) -> str:
    """Return what to do with a branch in `folder` that stands on HEAD of `tree`."""
    then = (
        f"Check each commit there with `git rebase {head(tree)[:10]} --exec "
        "'django-overlay check-commit .'`, and add its authors to AUTHORS. The branch "
        f"stays when you `git worktree remove {folder}`."
    )
    return f"{then}\n{NOT_ACCEPTED}." if ticket == INVALID else then


@main.command("check-commit", short_help="Check one commit of such a branch.")
@tree_argument
def check_commit_command(tree: Path) -> None:
    """
    Run Django's linters and the tests that HEAD of the repository in PATH changes.

    The linters have the configuration of PATH, the tests the settings that
    DJANGO_SETTINGS_MODULE names, or Django's own with SQLite in memory. It needs the
    linters, and what Django's own tests require.
    """
    require_linters()
    said = complaints(tree, "HEAD^")
    for complaint in said:
        click.echo(complaint, err=True)
    failed = run_changed_tests(tree)
    if said or failed:
        sys.exit(1)


@main.command("review", short_help="Show what a change of the patches does.")
@click.argument("revision", default="HEAD")
def review_command(revision: str) -> None:
    """
    Show what has changed in each series since REVISION of this repository.

    The series as they were and as they are now are applied, and compared by
    git range-diff. The default is HEAD: what is not committed yet.
    """
    with Console(stderr=True).status("Applying both revisions of each series …"):
        texts = review(revision, color=sys.stdout.isatty())
    if not texts:
        click.echo("No patch has changed.")
    elif sys.stdout.isatty():
        click.echo_via_pager(
            "\n".join(f"{name}:\n{text}" for name, text in texts.items())
        )
    else:
        click.echo("\n".join(f"{name}:\n{text}" for name, text in texts.items()))


@main.command("wheel", short_help="Build a wheel of patched Django.")
@click.option(
    "--django",
    metavar="LINE|RELEASE",
    help="6.1, or 6.1.3. Default: the newest line that this Python runs.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    default=".",
    help="Default: the current folder.",
)
@without_extras_option
def wheel_command(django: str | None, output: Path, without_extras: bool) -> None:
    """
    Build a wheel of patched Django, from the source distribution in BASE.

    It prints the path, and the line that pins the wheel in a requirements file. The
    local version in it, as in 6.1.3+conn.17, is a hash of the patches; the code has the
    version of the release. The same patches and setuptools give the same bytes.
    """
    series, release = candidates(django, read_all())[0]
    series = dataclasses.replace(series, extras=not without_extras)
    with Console(stderr=True).status(f"Building a wheel of Django {release} …"):
        path = wheel.build(series, release, output)
    click.echo(path)
    click.echo(
        f"django=={wheel.local_version(series, release)} "
        f"--hash=sha256:{sdist.hash_of(path)}"
    )


@main.command("verify-installed", short_help="Is the installed Django patched?")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def verify_installed_command(as_json: bool) -> None:
    """
    Say whether the Django that this Python imports carries the series.

    It looks at the files of the package, whether they come from a wheel, a source tree
    or an editable install. For all but an unchanged wheel it needs git.

    The exit code is 0 if it carries all of the series, 1 if some of the files that the
    series changes are as in the release, 2 if it carries another revision of the
    series, or an edited one, 3 if it doesn't carry it, and 4 if that can't be told, as
    without Django, or with one that there is no series for.
    """
    try:
        found = installed.verify(installed.find_django(), read_all())
    except OverlayError as error:
        if as_json:
            click.echo(json.dumps({"overall": None, "reason": error.message}))
        else:
            error.show()
        sys.exit(CANT_TELL)
    if as_json:
        facts = {**vars(found), "package": str(found.package)}
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(_verdict(found))
    sys.exit(VERIFY_CODES[found.overall])


def _verdict(found: installed.Installed) -> str:
    """Return what verify-installed says; of a mixture, which files are not ours."""
    start = f"Django {found.version} in {found.package}"
    series = f"the {found.series} series"
    if found.overall == installed.WHOLLY:
        return f"{start} carries {series}."
    if found.overall == installed.NOT:
        return (
            f"{start} does not carry {series}: of the {len(found.files)} files that it "
            "changes, none is as in the series."
        )
    if found.overall == installed.PARTLY:
        what = f"only a part of {series}"
    else:
        what = f"another revision of {series}, or an edited one"
    others = [
        f"\n  {name} is {state}"
        for name, state in found.files.items()
        if state != installed.SERIES
    ]
    return f"{start} carries {what}:{''.join(others)}"
