"""Each problem that check finds, in a tiny Django with real git and real linters."""

import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from overlay import linters
from overlay.apply import apply
from overlay.check import check, line_count, malformed, on_release, shared, unnamed
from overlay.cli import main
from overlay.differences import declare, differences, undeclared
from overlay.errors import OverlayError
from overlay.export import exported
from overlay.linters import complaints, require_linters
from overlay.releases import trials
from overlay.sdist import hash_of
from overlay.series import Series, read_all

from .conftest import commit, edit, pack, write, write_django

PATCH = "close-connections.patch"
LONG = f"#{' long' * 16}.\n"


@pytest.fixture
def cache(overlay, tmp_path) -> Path:
    """The source distribution of Django 6.1.3, whose hash the series knows."""
    write_django(tmp_path / "source")
    sha256 = pack(tmp_path / "source", tmp_path / "cache" / "django-6.1.3.tar.gz")
    edit(overlay / "patches/6.1/BASE", '"6.1.3" = "11"', f'"6.1.3" = "{sha256}"')
    for patch in (overlay / "patches/6.1").glob("*.patch"):
        edit(patch, "Upstream-Status: not sent", "Upstream-Status: Pending")
    return tmp_path / "cache"


@pytest.fixture
def series(overlay, cache) -> Series:
    return read_all(overlay)[0]


@pytest.fixture
def patch(series) -> Path:
    return series.directory / PATCH


def patched(tree: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        write(tree / name, content)
    commit(tree, "Refs #9878 -- Did it.", body="A reason.", apps="forks")
    return tree


def test_a_sound_series_has_no_problem(series, cache):
    edit(series.directory / PATCH, "line_9 = 'nine'", 'line_9 = "nine"')
    edit(series.directory / "discard-inherited.patch", "'x'", '"x"')
    canonical(series)
    assert check(series, cache) == []


def test_a_patch_that_series_does_not_name_is_a_problem(series, cache):
    write(series.directory / "stray.patch", "")
    assert unnamed(series) == [f"stray.patch is not named in {series.order}."]
    assert unnamed(series)[0] in check(series, cache)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "They stayed open\n",
            f"They {'x' * 70}\n",
            f"a line of the message is 75 long, not 72 at most: They {'x' * 70}",
        ),
        ("They stayed open\nuntil the collector ran.\n", "", "there is no reason"),
        ("Ticket: https://code.djangoproject.com/ticket/9878\n", "", "Ticket lacks"),
        ("Drop-When: Django closes them itself\n", "", "Drop-When lacks"),
        ("Upstream-Status: Pending\n", "", "Upstream-Status lacks"),
        ("Overlay-Tests: thread_connections\n", "", "Overlay-Tests lacks"),
        ("Status: Pending", "Status: Submitted", "Upstream-Status is 'Submitted'"),
        ("Status: Pending", "Status: Pending soon", "Upstream-Status is 'Pending s"),
        ("Tests: thread", "Tests: gone thread", "names gone, which is not in django_t"),
    ],
)
def test_a_malformed_patch_is_a_problem(series, cache, patch, old, new, problem):
    edit(patch, old, new)
    (found,) = malformed(patch, series.tests)
    assert found.startswith(f"{PATCH}: ")
    assert problem in found
    assert found in check(series, cache)


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("Did it", "the subject does not end with a full stop"),
        (f"Did{' it' * 23}.", "a line of the message is 73 long"),
    ],
)
def test_a_wrong_subject_is_a_problem(series, patch, subject, problem):
    pattern = r"Subject: .*\n( .*\n)*"
    patch.write_text(
        re.sub(pattern, f"Subject: [PATCH] {subject}\n", patch.read_text())
    )
    (found,) = malformed(patch, series.tests)
    assert problem in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("They stayed", f"https://example.com/{'x' * 60}\nThey stayed"),
        ("Status: Pending", "Status: Submitted https://example.com/1"),
        ("Status: Pending", "Status: Accepted 0123456"),
        ("Status: Pending", "Status: Inappropriate because of it"),
    ],
)
def test_what_a_patch_may_say_is_no_problem(series, patch, old, new):
    edit(patch, old, new)
    assert malformed(patch, series.tests) == []


def test_a_patch_that_is_not_utf8_is_a_problem(series, patch):
    patch.write_bytes(patch.read_bytes().replace(b"They", b"Th\xe9y"))
    assert malformed(patch, series.tests) == [f"{PATCH} is not UTF-8."]


def test_what_cannot_be_applied_is_a_problem(series, cache, patch):
    edit(patch, "-line_9 = 9\n", "-line_9 = 8\n")
    (problem,) = check(series, cache)
    assert problem == f"{PATCH} does not apply: it conflicts in django/db/utils.py."


def test_what_export_writes_otherwise_is_a_problem(series, cache, patch):
    canonical(series)
    edit(patch, "[PATCH]", "[PATCH 1/2]")
    problem = on_release(series, cache)[0]
    assert problem == f"{patch} is not as django-overlay export writes it."


def test_files_that_several_patches_touch_are_listed(series):
    assert shared(series) == {}
    text = "diff --git a/django/db/utils.py b/django/db/utils.py\n"
    notes = "diff --git a/docs/releases/6.1.txt b/docs/releases/6.1.txt\n"
    for file in series.patches:
        file.write_text(file.read_text() + text * (file.name != PATCH) + notes)
    assert shared(series) == {
        "django/db/utils.py": ["close-connections", "discard-inherited"]
    }


def test_a_line_is_summarised(series):
    assert line_count(series) == "6.1: 2 patches, 2 releases"
    assert line_count(replace(series, sha256={"6.1": "00"})).endswith(", 1 release")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 'y'\n", "would reformat tests/forks/tests.py"),
        ("import sys\nimport os\n\nprint(os, sys)\n", "Imports are incorrectly sorted"),
        ("import os\n", "tests/forks/tests.py:1:1: F401 'os' imported but unused"),
        (LONG, "W505 doc line too long (82 > 79 characters)"),
        (f'x = "{"x" * 90}"\n', "E501 line too long (96 > 88 characters)"),
    ],
)
def test_what_djangos_linters_say_is_a_problem(checkout, code, said):
    tree = patched(checkout, {"tests/forks/tests.py": code})
    assert any(said in complaint for complaint in complaints(tree))
    assert not any(str(tree) in complaint for complaint in complaints(tree))


def test_linters_have_the_configuration_of_djangos_repository(checkout):
    code = "x = [1, 2, 3]\nprint(x[len(x) - 1 :])\n"  # as black writes it: E203
    assert complaints(patched(checkout, {"tests/forks/tests.py": code})) == []


def test_a_long_comment_of_djangos_own_is_no_problem(checkout):
    write(checkout / "django/db/utils.py", LONG)
    commit(checkout, "Theirs.")
    tree = patched(checkout, {"django/db/utils.py": f"{LONG}y = 2\n"})
    assert complaints(tree) == []


def test_what_a_patch_makes_of_djangos_own_lines_is_a_problem(checkout):
    write(checkout / "django/db/utils.py", "import os\n\nprint(os)\n")
    commit(checkout, "Theirs.")
    tree = patched(checkout, {"django/db/utils.py": "import os\n"})
    assert any("F401" in complaint for complaint in complaints(tree))


def test_a_configuration_of_flake8_in_the_tree_is_not_used(checkout):
    write(checkout / ".flake8", "[flake8]\nextend-exclude = tests.py\n")
    tree = patched(checkout, {"tests/forks/tests.py": "import os\n"})
    assert any("F401" in complaint for complaint in complaints(tree))


def test_a_commit_is_looked_at_with_the_configuration_of_its_tree(checkout):
    tree = patched(checkout, {"tests/forks/tests.py": "import os\n"})
    assert any("F401" in complaint for complaint in complaints(tree, "HEAD^"))
    write(checkout / ".flake8", "[flake8]\nextend-ignore = F401\n")
    assert complaints(tree, "HEAD^") == []
    assert complaints(tree, "HEAD") == []


def test_check_runs_the_linters(series, cache):
    canonical(series)  # it has a string in single quotes
    assert "would reformat django/db/utils.py" in check(series, cache)


def test_removed_files_are_not_linted(checkout):
    (checkout / "django/utils/obsolete.py").unlink()
    assert complaints(patched(checkout, {"tests/forks/tests.py": ""})) == []


def test_documents_are_linted_without_a_linter_in_the_tree(checkout):
    bad = "Trailing \n"
    write(checkout / "docs/ref.txt", bad)
    commit(checkout, "Theirs.")
    tree = patched(checkout, {"docs/ref.txt": f"{bad}\nfine\n\nbad \n"})
    (said,) = complaints(tree)
    assert said.startswith("docs/ref.txt:5: ")


def test_documents_are_linted_by_the_linter_of_the_tree(checkout):
    lint = "import sys\n\nprint('docs/ref.txt:1: wrong')\nsys.exit(1)\n"
    write(checkout / "docs/lint.py", lint)
    commit(checkout, "Theirs.")
    tree = patched(checkout, {"docs/ref.txt": "fine\n"})
    assert complaints(tree) == ["docs/ref.txt:1: wrong"]


def test_a_linter_that_breaks_is_a_problem(checkout):
    write(checkout / "docs/lint.py", "raise ValueError('broken')\n")
    commit(checkout, "Theirs.")
    tree = patched(checkout, {"docs/ref.txt": "fine\n"})
    assert complaints(tree) == ["lint.py failed: ValueError: broken"]


def test_a_missing_linter_is_one_sentence(monkeypatch):
    require_linters()
    monkeypatch.setitem(linters.MODULES, "black", "no_such_black")
    with pytest.raises(OverlayError, match=r"^black can't be .*\[lint\]") as error:
        require_linters()
    assert "\n" not in error.value.message


# Between lines.


@pytest.fixture
def lines(series) -> tuple[Series, Series]:
    """Two lines, 6.1 and 6.0, with the same patches."""
    older = replace(series, name="6.0", directory=series.directory.parent / "6.0")
    older.directory.mkdir()
    for path in series.directory.iterdir():
        write(older.directory / path.name, path.read_text())
    return series, older


def test_lines_that_say_the_same_have_no_differences(lines):
    newer, older = lines
    old, new = ("closed = True", ".. versionadded:: {}\n+:doc:`/releases/{}`")
    edit(newer.directory / PATCH, old, new.format("6.1", "6.1"))
    edit(older.directory / PATCH, old, new.format("6.0", "6.0"))
    edit(older.directory / PATCH, " line_7 = 7\n", " line_7 = seven\n")
    edit(older.directory / PATCH, "@@ -7,7 +7,7 @@", "@@ -8,7 +8,7 @@ class A")
    assert undeclared(newer, older) == []


def test_a_patch_of_one_line_alone_is_not_compared(lines):
    newer, older = lines
    write(older.order, "only.patch\n")
    (older.directory / PATCH).rename(older.directory / "only.patch")
    assert differences(newer, older) == {}


def test_an_undeclared_difference_is_a_problem(lines):
    newer, older = lines
    edit(older.directory / PATCH, "+closed = True\n", "+closed = False\n")
    where = "patches/6.0/DIFFERENCES must say under [close-connections]: "
    problems = [f"{where}< +closed = True", f"{where}> +closed = False"]
    assert undeclared(newer, older) == problems
    declare(newer, older)
    assert undeclared(newer, older) == [
        "patches/6.0/DIFFERENCES gives no reason under [close-connections]."
    ]
    file = older.directory / "DIFFERENCES"
    edit(
        file, "[close-connections]\n", "[close-connections]\n# Why,\n# in two lines.\n"
    )
    text = file.read_text()
    assert undeclared(newer, older) == []
    declare(newer, older)
    assert file.read_text() == text


def test_a_declaration_without_differences_goes(lines):
    newer, older = lines
    write(older.directory / "DIFFERENCES", "[close-connections]\n# Why.\n> +gone\n")
    declare(newer, older)
    declare(newer, older)
    assert not (older.directory / "DIFFERENCES").exists()


def test_a_line_counts_as_often_as_it_is_there(lines):
    newer, older = lines
    edit(older.directory / PATCH, "+closed = True\n", "+closed = True\n" * 3)
    found = {"close-connections": ["> +closed = True"] * 2}
    assert differences(newer, older) == found


def test_a_declared_difference_that_is_none_is_a_problem(lines):
    newer, older = lines
    text = "[close-connections]\n# Why.\n\n> +gone\n"
    write(older.directory / "DIFFERENCES", text)
    (problem,) = undeclared(newer, older)
    assert problem.endswith("as it is no difference: > +gone")


@pytest.mark.parametrize("text", ["[a]\nnonsense\n", "> +before a heading\n"])
def test_a_declaration_that_is_not_understood_is_refused(lines, text):
    newer, older = lines
    write(older.directory / "DIFFERENCES", text)
    with pytest.raises(OverlayError, match="has a line that is not understood"):
        undeclared(newer, older)


def test_our_own_lines_declare_their_differences():
    known = read_all()
    for newer, older in pairwise(known):
        assert undeclared(newer, older) == []


# All releases.


@pytest.fixture
def listed(series, cache, tmp_path, monkeypatch) -> list[str]:
    """6.1.3 applies and is in BASE; 6.1.2 applies, 6.1.1 doesn't, neither is there."""
    source = tmp_path / "source"
    pack(source, cache / "django-6.1.2.tar.gz")
    edit(source / "django/db/utils.py", "line_9 = 9\n", "line_9 = 8\n")
    pack(source, cache / "django-6.1.1.tar.gz")
    found = ["6.1.1", "6.1.2", "6.1.3"]
    monkeypatch.setattr("overlay.releases.releases", lambda name: found)
    return found


def test_each_release_is_tried(series, cache, listed):
    listed.append("6.1.4rc1")
    known = replace(series, sha256={"6.1.3": series.sha256["6.1.3"]})
    conflict = f"{PATCH} does not apply: it conflicts in django/db/utils.py."
    found = list(trials(known, cache))
    assert [(t.line, t.release, t.outcome, t.in_base) for t in found] == [
        ("6.1", "6.1.1", conflict, False),
        ("6.1", "6.1.2", "applies", False),
        ("6.1", "6.1.3", "applies", True),
    ]
    assert [trial.problem for trial in found] == [
        None,
        "the series applies to 6.1.2, which BASE does not name.",
        None,
    ]


def test_a_release_in_base_that_conflicts_is_a_problem(series, cache, listed):
    sha256 = hash_of(cache / "django-6.1.1.tar.gz")
    listed.clear()  # an index that lacks it is no way out
    (trial,) = trials(replace(series, sha256={"6.1.1": sha256}), cache)
    assert trial.problem == (
        f"BASE names 6.1.1: {PATCH} does not apply: it conflicts in django/db/utils.py."
    )


# The command.


@pytest.fixture
def command(series, cache, listed, monkeypatch):
    """Run check in this process, on our tiny repository alone; linters say nothing."""
    home = series.directory.parent.parent
    monkeypatch.setattr("overlay.cli.read_all", lambda: read_all(home))
    monkeypatch.setattr("overlay.cli.check", lambda series: check(series, cache))
    monkeypatch.setattr("overlay.cli.trials", lambda series: trials(series, cache))
    monkeypatch.setattr("overlay.check.complaints", lambda tree: [])
    return lambda *options: CliRunner(env={"COLUMNS": "200"}).invoke(
        main, ["check", *options]
    )


def test_a_green_check_is_a_summary(command, series):
    edit(series.directory / "BASE", '"6.1" = "00"\n', "")
    canonical(series)
    done = command()
    assert (done.exit_code, done.output) == (0, "6.1: 2 patches, 1 release\n")


def test_each_problem_is_a_line_and_all_lines_are_checked(command, series):
    canonical(series)
    for line in ("6.0", "5.2"):
        shutil.copytree(series.directory, series.directory.parent / line)
        edit(series.directory.parent / line / PATCH, "+closed", f"+closed_{line[0]}")
    write(series.directory.parent / "6.0/DIFFERENCES", "nonsense\n")
    write(series.directory.parent / "5.2/series", "gone.patch\n")
    write(series.directory / "stray.patch", "")
    done = command()
    assert done.exit_code == 1
    assert done.stdout == ""
    said = done.stderr.splitlines()
    assert said[0].startswith("6.1: stray.patch is not named in ")
    assert any(
        re.match(r"5\.2: .+ names gone.patch, which is missing\.", p) for p in said
    )
    assert any(re.match(r"6\.0: .+ is not understood: nonsense", p) for p in said)


def test_an_undeclared_difference_fails_the_check(command, series):
    canonical(series)
    shutil.copytree(series.directory, series.directory.parent / "6.0")
    edit(series.directory.parent / "6.0" / PATCH, "+closed", "+ended")
    done = command()
    assert done.exit_code == 1
    assert "6.0/DIFFERENCES must say under" in done.stderr
    done = command("--declare")
    assert "6.0/DIFFERENCES gives no reason under" in done.stderr


def test_all_releases_are_rows(command, series):
    canonical(series)
    edit(series.directory / "BASE", '"6.1" = "00"\n', "")
    done = command("--all-releases")
    assert done.exit_code == 1
    assert [line.split()[:4] for line in done.stdout.splitlines()[1:]] == [
        ["6.1", "6.1.1", "no", PATCH],
        ["6.1", "6.1.2", "no", "applies"],
        ["6.1", "6.1.3", "yes", "applies"],
    ]
    (problem,) = done.stderr.splitlines()
    assert problem == "6.1: the series applies to 6.1.2, which BASE does not name."


def test_an_index_that_is_out_of_reach_is_a_problem(command, monkeypatch):
    def unreachable(name: str) -> list[str]:
        raise OverlayError("pip could not list the releases of Django: gone")

    monkeypatch.setattr("overlay.releases.releases", unreachable)
    done = command("--all-releases")
    assert done.exit_code == 1
    assert "6.1: pip could not list the releases of Django: gone" in done.stderr


def test_a_missing_linter_stops_check_before_anything_runs(command, monkeypatch):
    monkeypatch.setitem(linters.MODULES, "black", "no_such_black")
    monkeypatch.setattr("overlay.cli.check", lambda series: pytest.fail("it ran"))
    done = command()
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: black can't be imported: .+\n", done.stderr)


def canonical(series: Series) -> None:
    """Write the patches of `series` as an export does."""
    with TemporaryDirectory() as folder:
        tree = Path(folder, "Django")
        write_django(tree)
        apply(tree, series)
        for path, content in exported(tree, series).items():
            path.write_bytes(content)


def test_a_failure_without_a_line_is_kept():
    assert linters._is_added("sphinxlint failed: broken", {})
