import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from overlay.series import read_all

from .conftest import (
    USER,
    commit,
    edit,
    files,
    git,
    pull,
    run_overlay,
    snapshot,
    write,
    write_django,
)

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_tree_goes_through_all_commands(overlay, kind, request):
    tree = request.getfixturevalue(kind)
    before, ours = files(tree), files(overlay)
    for command, said, *code in [
        ("status", "6.1 series not applied", 3),
        ("apply", "  tests/thread_connections\n  tests/forks\n"),
        ("status", "6.1 series applied"),
        ("export", "Nothing changed."),
        ("unapply", "Took the 6.1 series away"),
        ("status", "6.1 series not applied", 3),
    ]:
        result = run_overlay(overlay, command, tree)
        assert (result.returncode, result.stderr) == (*(code or [0]), "")
        assert said in result.stdout
    assert files(tree) == before
    assert {n: f for n, f in files(overlay).items() if "__pycache__" not in n} == ours


@pytest.mark.parametrize("command", ["apply", "unapply", "export"])
def test_a_refusal_is_one_sentence_and_exit_code_1(overlay, checkout, command):
    edit(checkout / "django/__init__.py", '3, "final"', '4, "alpha"')
    commit(checkout, "Post-release version bump.")
    before = snapshot(checkout)
    result = run_overlay(overlay, command, checkout)
    assert result.returncode == 1
    assert result.stderr == (
        "Error: No patch series was tested on Django 6.1.4a0; "
        "there are series for 6.1, 6.1.3.\n"
    )
    assert snapshot(checkout) == before


def test_status_shows_each_patch_and_each_test_app(overlay, checkout):
    git(checkout, "am", "-q", str(overlay / "patches/6.1/close-connections.patch"))
    write(checkout / "mine.py", "")
    commit(checkout, "Mine")
    result = run_overlay(overlay, "status", checkout)
    assert result.returncode == 4
    assert [line.split() for line in result.stdout.splitlines()[1:-1]] == [
        ["close-connections.patch", "applied"],
        ["discard-inherited.patch", "not", "applied"],
        ["tests/thread_connections", "not", "applied"],
        ["tests/forks", "not", "applied"],
    ]
    assert "half applied" in result.stdout.splitlines()[0]
    assert "(Mine)" in result.stdout.splitlines()[-1]


def test_status_of_an_unknown_version_is_an_answer(overlay, checkout):
    edit(checkout / "django/__init__.py", "6, 1", "7, 0")
    result = run_overlay(overlay, "status", checkout)
    assert result.returncode == 3
    assert "unknown version" in result.stdout


def test_export_names_the_files_that_it_wrote(overlay, checkout):
    run_overlay(overlay, "apply", checkout)
    write(checkout / "tests/forks/more.py", "more = True\n")
    git(checkout, "rm", "-q", "tests/forks/tests.py")
    commit(checkout, "More tests")
    result = run_overlay(overlay, "export", checkout)
    assert result.stdout.splitlines() == [
        "wrote django_tests/forks/more.py",
        "removed django_tests/forks/tests.py",
    ]


def test_every_command_explains_itself(overlay):
    result = run_overlay(overlay, "--help")
    assert result.returncode == 0
    for command in ("apply", "unapply", "status", "export"):
        assert command in result.stdout
        assert run_overlay(overlay, command, "--help").returncode == 0
    assert "…" not in result.stdout
    assert "..." not in result.stdout.replace("COMMAND [ARGS]...", "")


def test_the_version_is_that_of_the_tool_and_of_each_series(overlay):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert run_overlay(overlay, "--version").stdout == (
        f"django-overlay {project['version']}, series for 6.1 (6.1.3)\n"
    )


def test_no_line_about_our_series_is_too_long(overlay, checkout):
    result = run_overlay(overlay, "apply", checkout)
    assert result.stdout.splitlines()[1:] == [
        "  close-connections",
        "  discard-inherited",
        "  tests/thread_connections",
        "  tests/forks",
    ]
    for series in read_all():
        names = [patch.name for patch in series.patches] + series.test_apps
        assert max(map(len, names)) < 90


def test_status_as_json_says_the_same(overlay, checkout):
    base = git(checkout, "rev-parse", "HEAD")
    run_overlay(overlay, "apply", checkout)
    write(checkout / "mine.py", "")
    mine = commit(checkout, "Mine")
    result = run_overlay(overlay, "status", "--json", checkout)
    assert json.loads(result.stdout) == {
        "django": "6.1.3",
        "series": "6.1",
        "overall": "applied",
        "base": base,
        "patches": {
            "close-connections.patch": "applied",
            "discard-inherited.patch": "applied",
        },
        "tests": {"thread_connections": "applied", "forks": "applied"},
        "own_commits": [mine],
        "unfinished": None,
    }
    result = run_overlay(overlay, "status", "--base", checkout)
    assert (result.returncode, result.stdout) == (0, f"{base}\n")
    edit(checkout / "django/__init__.py", "6, 1", "7, 0")
    result = run_overlay(overlay, "status", "--json", checkout)
    assert result.returncode == 3
    assert json.loads(result.stdout) == {
        "django": "7.0.3",
        "overall": "unknown version",
    }


def test_the_exit_code_of_status_tells_what_is_there(overlay, checkout, series):
    def code():
        plain = run_overlay(overlay, "status", checkout).returncode
        assert run_overlay(overlay, "status", "--json", checkout).returncode == plain
        return plain

    assert code() == 3
    run_overlay(overlay, "apply", checkout)
    assert code() == 0
    pull(series)
    assert code() == 5
    git(checkout, "reset", "-q", "--keep", "HEAD~2")
    assert code() == 4
    git(checkout, "reset", "-q", "--keep", "HEAD~")
    run_overlay(overlay, "apply", checkout)
    edit(checkout / "tests/forks/tests.py", "newer", "mine")
    commit(checkout, "Mine")
    assert code() == 4


def test_status_says_what_is_under_way(overlay, rebasing):
    result = run_overlay(overlay, "status", rebasing)
    assert result.returncode == 3
    assert "6.1 series not applied" in result.stdout.splitlines()[0]
    assert result.stdout.splitlines()[-1] == "a git rebase is under way"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("BASE", b"\xff\n", "BASE can't be read: it is not UTF-8."),
        ("BASE", None, "BASE can't be read: No such file or directory."),
        ("series", b"\xff\n", "series can't be read: it is not UTF-8."),
        ("series", None, "series can't be read: No such file or directory."),
    ],
)
@pytest.mark.parametrize("command", ["apply", "status"])
def test_a_broken_series_is_one_sentence(
    overlay, checkout, command, name, content, why
):
    file = overlay / "patches/6.1" / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    result = run_overlay(overlay, command, checkout)
    assert (result.returncode, result.stderr) == (1, f"Error: {file.parent}/{why}\n")


def test_the_way_with_plain_git_that_readme_gives(overlay, tmp_path, series):
    # In an order that is not the alphabetical one.
    first, second = series.patches
    first.rename(first.with_name("z.patch"))
    second.rename(second.with_name("a.patch"))
    write(series.order, "# Note.\nz.patch\n\n# Note.\na.patch\n")
    django = tmp_path / "src/django"
    write_django(django)
    git(django, "init", "-q")
    commit(django, "Base")
    (command,) = re.findall(
        r"^\$ (.+git .+ am.*)$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    environment = {**USER, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run(command, check=True, cwd=overlay, env=environment, shell=True)
    result = run_overlay(overlay, "status", django)
    assert [line.split() for line in result.stdout.splitlines()[1:3]] == [
        ["z.patch", "applied"],
        ["a.patch", "applied"],
    ]
