"""The command line of the laboratory."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from lab import (
    ROOT,
    clients,
    debian,
    ecosystem,
    fleet,
    install,
    plot,
    prove,
    scratch,
    soak,
    trees,
)
from lab.clients import ROWS
from lab.runner import DRIVERS, require_packages
from overlay import wheel
from overlay.errors import OverlayError
from overlay.series import read_all
from overlay.signals import ends_on_signals


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run scripts on stock and on patched Django, and count their connections."""
    # So that `finally` and `with` clean up after a kill, too.
    click.get_current_context().with_resource(ends_on_signals())


django_option = click.option(
    "--django",
    metavar="LINE|RELEASE",
    help="6.1, or 6.1.3. Default: the newest line that runs on this Python.",
)
db_option = click.option(
    "--db", type=click.Choice(list(DRIVERS)), default="sqlite", show_default=True
)


def both_sides(django: str | None) -> tuple[str, dict[str, Path]]:
    """Return the release that `django` means, and its stock and its patched tree."""
    series, release = trees.choose(django, read_all())
    return release, {
        side: trees.build(series, release, side == "patched")
        for side in ("stock", "patched")
    }


def file_option(name: str, metavar: str, text: str):
    """Return an option for a file to write; `name` is "--json" for `json_file`."""
    return click.option(
        name,
        f"{name.removeprefix('--')}_file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar=metavar,
        help=text,
    )


def require_writable(*files: Path | None) -> None:
    """Raise OverlayError if one can't be written: not after all that was measured."""
    for file in filter(None, files):
        try:
            file.open("a").close()
        except OSError as error:
            raise OverlayError(f"{file} can't be written: {error.strerror}.") from None


@main.command("prove")
@django_option
@db_option
@click.option("--threads", type=click.IntRange(min=1), default=200, show_default=True)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How often each Django has its turn; the one of median duration is shown.",
)
@file_option("--json", "FILE", "Write the figures there.")
@file_option(
    "--plot", "FILE.svg", "Draw the open connections over time. Needs Matplotlib."
)
def prove_command(
    django: str | None,
    db: str,
    threads: int,
    rounds: int,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """
    Run the script of the ticket on stock and on patched Django, and compare.

    Threads save one object each. How many connections are open is counted at the
    server (for SQLite: file descriptors), by another process. It fails if patched
    Django loses an object or leaves a connection open.
    """
    require_writable(json_file, plot_file)
    require_packages(db)
    release, sides = both_sides(django)
    console = Console(stderr=True)
    console.print(prove.forecast(db, threads, rounds), highlight=False)
    runs = prove.compare(sides, db, threads, rounds, console)
    results = {side: prove.median(done) for side, done in runs.items()}
    prove.show(results, f"Django {release}, {db}", Console())
    if json_file:
        figures = {side: result.figures() for side, result in results.items()}
        content = {"django": release, "db": db, **figures}
        json_file.write_text(json.dumps(content, indent=2) + "\n")
    if plot_file:
        plot.draw(results, f"{threads} threads, Django {release}, {db}", plot_file)
    if problem := prove.problem(runs["patched"]):
        raise OverlayError(f"Patched Django {problem}.")


@main.command("soak")
@django_option
@db_option
@click.option(
    "--threads", type=click.IntRange(min=1), default=100_000, show_default=True
)
def soak_command(django: str | None, db: str, threads: int) -> None:
    """
    Run threads that end in every way, and forks, on patched Django for minutes.

    It fails if connections, file descriptors, threads or memory grow meanwhile, or
    if objects are lost.
    """
    require_packages(db)
    series, release = trees.choose(django, read_all())
    tree = trees.build(series, release, patched=True)
    result = soak.run(tree, db, threads, Console(stderr=True))
    soak.show(result, f"Django {release}, patched, {db}", Console())
    if result.problems:
        raise OverlayError(" ".join(result.problems))


@main.command("clients", epilog=f"NAMES: {', '.join(clients.CLIENTS)}.")
@django_option
@click.option(
    "--db", type=click.Choice(["mysql", "postgres"]), default="mysql", show_default=True
)
@file_option("--json", "FILE", "Write the figures there.")
@click.argument(
    "names", nargs=-1, type=click.Choice(list(clients.CLIENTS)), metavar="[NAMES]..."
)
def clients_command(
    django: str | None, db: str, json_file: Path | None, names: tuple[str]
) -> None:
    """
    Let servers, task queues and libraries save rows, on stock and on patched Django.

    NAMES are some of them; the default is all. Each runs in processes of its own, with
    CONN_MAX_AGE 0 and 600, and its connections are counted at the server: those that
    are kept while its threads live, and those that are left once they have ended. It
    fails if with patched Django one is left, none is kept where stock Django keeps some,
    a row is lost, or there is an error.
    """
    names = names or tuple(clients.CLIENTS)
    require_writable(json_file)
    require_packages(db)
    clients.require(names)
    release, sides = both_sides(django)
    outcomes, failures = clients.compare(names, sides, db, Console(stderr=True))
    clients.show(outcomes, f"Django {release}, {db}", Console())
    if json_file:
        content = {"django": release, "db": db, "clients": clients.figures(outcomes)}
        json_file.write_text(json.dumps(content, indent=2) + "\n")
    if problems := failures + clients.problems(outcomes):
        raise OverlayError("\n".join(problems))


@main.command("fleet")
@django_option
@click.option(
    "--threads",
    type=click.IntRange(min=ROWS),
    default=12_000,
    show_default=True,
    help="That save a row, in all processes together, of each load.",
)
@file_option("--json", "FILE", "Write the figures there.")
def fleet_command(django: str | None, threads: int, json_file: Path | None) -> None:
    """
    Let eight processes save rows from short-lived threads, and Celery's workers, too.

    They share a MariaDB with its default of 151 connections. How many tasks are
    served, and how many get "Too many connections", is compared: stock Django, patched
    Django without its extra patches, and with them. It fails if patched Django loses
    a row, has another error, or has "Too many connections" where there are enough.
    """
    require_writable(json_file)
    require_packages("mysql")
    clients.require(["celery-prefork"])
    fleet.require_private()
    series, release = trees.choose(django, read_all())
    djangos = trees.build_each(series, release)
    outcomes = fleet.compare(djangos, threads, Console(stderr=True))
    fleet.show(outcomes, f"Django {release}, mysql", Console())
    if json_file:
        content = {"django": release, "loads": fleet.figures(outcomes)}
        json_file.write_text(json.dumps(content, indent=2) + "\n")
    if problems := fleet.problems(outcomes):
        raise OverlayError("\n".join(problems))


@main.command("install")
@django_option
@click.option("--threads", type=click.IntRange(min=1), default=200, show_default=True)
@click.argument("packages", nargs=-1)
def install_command(django: str | None, threads: int, packages: tuple[str]) -> None:
    """
    Install a wheel of patched Django beside each of PACKAGES, and try it there.

    Each has a virtual environment of its own. It fails if `pip check` finds a conflict,
    if verify-installed doesn't find the series, or if the script of the ticket loses an
    object or leaves a connection open. The default is what many users of Django have.
    """
    series, release = trees.choose(django, read_all())
    packages = packages or install.PACKAGES
    outcomes, problems = [], []
    with (
        TemporaryDirectory(prefix="overlay-", dir=scratch.parent()) as name,
        Console(stderr=True).status(
            f"Building a wheel of Django {release} …"
        ) as status,
    ):
        folder = Path(name)
        wheels = [
            wheel.build(series, release, folder),
            wheel.pip_wheel(ROOT, folder / "tool"),
        ]
        for package in packages:
            status.update(f"Trying it with {package} …")
            with TemporaryDirectory(dir=folder) as own:
                try:
                    outcomes.append(
                        install.attempt(package, wheels, threads, Path(own))
                    )
                except OverlayError as error:
                    problems.append(error.message)
    install.show(outcomes, wheels[0].name, Console())
    if problems := problems + [o.problem for o in outcomes if o.problem]:
        raise OverlayError("\n".join(problems))


@main.command("ecosystem", epilog=f"NAMES: {', '.join(ecosystem.PROJECTS)}.")
@django_option
@click.argument(
    "names",
    nargs=-1,
    type=click.Choice(list(ecosystem.PROJECTS)),
    metavar="[NAMES]...",
)
def ecosystem_command(django: str | None, names: tuple[str]) -> None:
    """
    Run test suites of others on stock and on patched Django, and compare each test.

    NAMES are some of the projects; the default is all that have tests for this Django.
    Each has a virtual environment of its own. If a test ends differently, the suite is
    run up to three more times on both; a test that ends in several ways on one side is
    flaky. It fails if another one differs, or if a suite can't be run.
    """
    release, sides = both_sides(django)
    found, failures = {}, []
    with Console(stderr=True).status("") as status:
        for name in names or ecosystem.projects_for(release):
            with TemporaryDirectory(prefix="overlay-", dir=scratch.parent()) as folder:
                try:
                    found[name] = ecosystem.compare(
                        name, sides, release, Path(folder), status
                    )
                except OverlayError as error:  # the others take minutes
                    failures.append(error.message)
    ecosystem.show(found, f"Django {release}", Console())
    if problems := failures + ecosystem.problems(found):
        raise OverlayError("\n".join(problems))


@main.command("newest", context_settings={"allow_interspersed_args": False})
@click.argument("name", type=click.Choice(list(debian.PROGRAMS)))
@click.argument("command", nargs=-1, required=True)
def newest_command(name: str, command: tuple[str]) -> None:
    """
    Run COMMAND with a server or a Python of Debian's development suite.

    It comes first on COMMAND's PATH, a Python as `python`, in a virtual environment
    with the packages that our tests need.
    """
    path = os.pathsep.join([*map(str, debian.folders(name)), os.environ["PATH"]])
    try:
        os.execvpe(command[0], command, {**os.environ, "PATH": path})
    except OSError as error:
        raise OverlayError(f"{command[0]} can't be run: {error.strerror}.") from None
