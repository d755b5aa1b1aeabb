import pytest

from .conftest import commit, edit, files, git, run_overlay, snapshot, write


@pytest.mark.parametrize("kind", ["checkout", "sdist"])
def test_a_tree_goes_through_all_commands(overlay, kind, request):
    tree = request.getfixturevalue(kind)
    before, ours = files(tree), files(overlay)
    for command, said, *code in [
        ("status", "6.1 series not applied", 3),
        ("apply", "and its tests: thread_connections, forks"),
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
