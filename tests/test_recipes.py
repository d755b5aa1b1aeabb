"""The recipes of CONTRIBUTING.md, run as they are written, on a tiny Django."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay.series import HOME, read_all

from .conftest import USER, commit, edit, executable, git, write
from .test_carry import cache, home, release, write_release  # noqa: F401

DOCUMENT = (HOME / "CONTRIBUTING.md").read_text()

# They need an index of packages, or Django's linters and tests, and have their own tests.
ELSEWHERE = re.compile(r"django-overlay (newer|check)\b|git rebase .* --exec|export ")

MESSAGE = """\
Counted them.

Nobody did.

Upstream-Status: Pending
Ticket: #9878
Drop-When: Django counts them.
Overlay-Tests: counts
"""


def recipe(title: str) -> list[str]:
    """Return the commands in a section of the document, without their comments."""
    section = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL
    )[1]
    commands = re.findall(r"^\$ (.+?)(?: +# .*)?$", section, re.MULTILINE)
    return [command for command in commands if not ELSEWHERE.match(command)]


class Maintainer:
    """Someone who has a clone of our repository, and Django in ~/src/django."""

    def __init__(self, overlay: Path, folder: Path) -> None:
        self.overlay, self.folder = overlay, folder
        self.django = folder / "src/django"
        executable(
            folder / "bin/django-overlay",
            f'PYTHONPATH={overlay} exec {sys.executable} -P -m overlay "$@"',
        )

    def follow(
        self,
        title: str,
        *,
        cwd: Path | None = None,
        before: dict[str, Callable[[], object]] | None = None,
        names: dict[str, str] | None = None,
        **env: str,
    ) -> str:
        """
        Run the recipe of a section, and return what it prints.

        Each function of `before` is called before the command that begins as its key
        says. `names` are replaced in the commands.
        """
        printed, cwd, steps = "", cwd or self.overlay, dict(before or {})
        for text in recipe(title):
            command = text.replace(" /tmp/", f" {self.folder}/")
            for old, new in (names or {}).items():
                command = command.replace(old, new)
            for start in [start for start in steps if command.startswith(start)]:
                steps.pop(start)()
            if command.startswith("cd "):
                cwd = self.folder / command.removeprefix("cd ~/")
                continue
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                check=False,
                cwd=cwd,
                env={
                    **os.environ,
                    **USER,
                    "HOME": str(self.folder),
                    "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                    "GIT_EDITOR": "true",
                    **env,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            printed += f"$ {command}\n{done.stdout}"
            # A commit to edit, or with a conflict, is one that git stops at.
            assert done.returncode == 0 or "git rebase --continue" in done.stdout, (
                printed
            )
        assert not steps, printed
        return printed

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run the tool."""
        return subprocess.run(
            [self.folder / "bin/django-overlay", *args],
            check=False,
            capture_output=True,
            cwd=self.overlay,
            text=True,
        )

    def patches(self, line: str = "6.1") -> dict[str, str]:
        (series,) = (s for s in read_all(self.overlay) if s.name == line)
        return {patch.stem: patch.read_text() for patch in series.patches}


@pytest.fixture
def maintainer(home, cache, tmp_path) -> Maintainer:  # noqa: F811
    shutil.copytree(
        HOME / "overlay",
        home / "overlay",
        ignore=shutil.ignore_patterns("__pycache__", "patches", "django_tests"),
    )
    shutil.copy(HOME / "pyproject.toml", home)
    shutil.copytree(cache, home / ".cache")
    write(home / ".gitignore", ".cache\n")
    commit(home, "The tool")
    found = Maintainer(home, tmp_path / "home")
    write_release(found.django, "6.1.3")
    git(found.django, "init", "-q", "-b", "main")
    commit(found.django, "Django 6.1.3")
    return found


@pytest.fixture
def applied(maintainer) -> Maintainer:
    assert maintainer.run("apply", str(maintainer.django)).returncode == 0
    return maintainer


@pytest.fixture
def older(maintainer, release) -> Maintainer:  # noqa: F811
    """With a line 6.0 as well."""
    release("6.0.10")
    shutil.copytree(
        maintainer.overlay.parent / "cache",
        maintainer.overlay / ".cache",
        dirs_exist_ok=True,
    )
    maintainer.follow("Begin a line", names={"6.2": "6.0", "6.1 6.0": "6.1 6.0.10"})
    commit(maintainer.overlay, "The 6.0 series")
    return maintainer


def test_each_recipe_is_run():
    tested = Path(__file__).read_text()
    titles = [t for t in re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE) if recipe(t)]
    # Those of runtests.py are in test_runtests.
    titles.remove("Write a test")
    assert len(titles) == 9
    assert [title for title in titles if f'"{title}"' not in tested] == []


def test_change(maintainer):
    utils = maintainer.django / "django/db/utils.py"
    printed = maintainer.follow(
        "Change a patch",
        before={"git commit": lambda: edit(utils, "'nine'", "'IX'")},
        GIT_SEQUENCE_EDITOR="sed -i '1s/^pick/edit/'",
    )
    closed, named = maintainer.patches().values()
    assert "+line_9 = 'IX'\n" in closed
    assert "IX" not in named
    assert "++line_9 = 'IX'\n" in printed  # by review


def test_add(applied):
    def work():
        write(applied.django / "tests/counts/tests.py", "counts = True\n")
        edit(applied.django / "django/db/utils.py", "line_20 = 20", "line_20 = 'XX'")
        git(applied.django, "add", "--all")

    message = applied.folder / "message"
    write(message, MESSAGE)
    applied.follow(
        "Add a patch",
        before={"git commit": work},
        GIT_EDITOR=f"cp {message}",
        # The commit of the tests is the third, ours the fourth.
        GIT_SEQUENCE_EDITOR="sed -i -e '3{h;d}' -e 4G",
    )
    assert [*applied.patches()] == ["closed-them", "named-them", "counted-them"]
    assert (applied.overlay / "django_tests/counts/tests.py").is_file()


def test_drop(applied):
    applied.follow("Drop a patch", GIT_SEQUENCE_EDITOR="sed -i '2s/^pick/drop/'")
    assert [*applied.patches()] == ["closed-them"]


def test_other_lines(older):
    patch = older.overlay / "patches/6.1/closed-them.patch"
    edit(patch, "+line_9 = 'nine'", "+line_9 = 'IX'")
    older.follow("Take a change to the other lines", names={"/6.0": "/change"})
    assert "+line_9 = 'IX'\n" in older.patches("6.0")["closed-them"]


def test_point_release(maintainer, release):  # noqa: F811
    release("6.1.4", line_39="3 * 13")
    shutil.copy(
        maintainer.overlay.parent / "cache/django-6.1.4.tar.gz",
        maintainer.overlay / ".cache",
    )
    maintainer.follow("Take the patches to a point release")
    (series,) = read_all(maintainer.overlay)
    assert series.release == "6.1.4"
    assert [*series.sha256] == ["6.1.3", "6.1.4"]


def test_conflict(maintainer, release):  # noqa: F811
    release("6.1.4", line_9="3 * 3")
    shutil.copy(
        maintainer.overlay.parent / "cache/django-6.1.4.tar.gz",
        maintainer.overlay / ".cache",
    )
    folder = maintainer.folder / "work"
    assert maintainer.run("carry", "6.1", "6.1.4", str(folder)).returncode == 1
    utils = folder / "django/db/utils.py"

    def solve():
        text = re.sub(
            r"<<<<<<<.*?>>>>>>> .*?\n",
            "line_9 = 'three'\n",
            utils.read_text(),
            flags=re.DOTALL,
        )
        write(utils, text)

    maintainer.follow("On a conflict", cwd=folder, before={"git add": solve})
    patch = maintainer.patches()["closed-them"]
    assert "-line_9 = 3 * 3\n+line_9 = 'three'\n" in patch


def test_retired_line(older):
    assert len(read_all(older.overlay)) == 2
    older.follow("Retire a line")
    (series,) = read_all(older.overlay)
    assert series.name == "6.1"


def test_upstream(maintainer):
    edit(
        maintainer.django / "django/__init__.py",
        "(6, 1, 3, 'final'",
        "(6, 2, 0, 'alpha'",
    )
    write(maintainer.django / "docs/releases/6.2.txt", "Title\n=====\n")
    commit(maintainer.django, "Bumped version.")
    printed = maintainer.follow(
        "Send upstream", names={"close-connections-of-ended-threads": "closed-them"}
    )
    assert "Fixed #36999 -- Closed them." in printed
