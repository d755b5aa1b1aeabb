"""Django's own linters, on what a series changes in a tree that it is applied to."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from overlay.checkout import DIFF_OPTIONS, enumeration, series_base
from overlay.errors import OverlayError
from overlay.git import git

# What is imported, by the name of what is installed: the extra `lint`.
MODULES = {
    "black": "black",
    "flake8": "flake8",
    "isort": "isort",
    "sphinx-lint": "sphinxlint",
}

# What Django's repository has in .flake8, which is not in source distributions. Those
# have the configuration of black and isort, in pyproject.toml.
FLAKE8 = (
    "--isolated",
    "--extend-ignore=E203",
    "--max-line-length=88",
    "--max-doc-length=79",
    "--per-file-ignores=django/core/cache/backends/*.py:W601,tests/cache/tests.py:W601",
)

# Django 5.2's own comments may be longer.
DOC_TOO_LONG = "W505"

# "path:line: what it is", as flake8 and sphinx-lint say it.
LOCATED = r"^(.+?):(\d+):.+$"


def require_linters() -> None:
    """Raise OverlayError if a linter is not installed."""
    missing = [name for name, module in MODULES.items() if not find_spec(module)]
    if missing:
        raise OverlayError(
            f"{enumeration(missing)} can't be imported: install Django's linters with "
            "`pip install 'django-overlay[lint]'`, or `pip install -e '.[lint]'` in a "
            "clone."
        )


def complaints(tree: Path, base: str | None = None) -> list[str]:
    """
    Return what Django's linters say of the series that is applied to `tree`.

    With `base`, a commit, it is about what has changed since then, and flake8 has the
    configuration of `tree`. Changed modules and tests are looked at as a whole. If
    Django's release has no linter for its documentation, or lets comments be longer,
    only lines count that are added.
    """
    tree = tree.resolve()
    added = added_lines(tree, base or series_base(tree))
    modules = [path for path in added if path.endswith(".py")]
    documents = [path for path in added if re.fullmatch(r"docs/.+\.txt", path)]
    options = () if base and (tree / ".flake8").is_file() else FLAKE8
    said: list[str] = []
    if modules:
        said += _run(tree, "black", ["--check", *modules], r"^would reformat .+$")
        said += _run(tree, "isort", ["--check-only", *modules], r"^ERROR: .+$")
        said += [
            complaint
            for complaint in _run(tree, "flake8", [*options, *modules], LOCATED)
            if DOC_TOO_LONG not in complaint or _is_added(complaint, added)
        ]
    if (tree / "docs/lint.py").is_file():
        said += _run(tree / "docs", tree / "docs/lint.py", [], LOCATED)
    elif documents:
        said += _documents_without_linter(tree, documents, added)
    return [complaint.replace(f"{tree}/", "") for complaint in said]


def added_lines(tree: Path, base: str) -> dict[str, set[int]]:
    """Return the numbers of the lines that are added since `base` to each file."""
    diff = git(tree, "diff", *DIFF_OPTIONS, "-U0", "--diff-filter=d", base, "HEAD")
    added: dict[str, set[int]] = {}
    for section in re.split(r"^diff --git ", diff, flags=re.MULTILINE)[1:]:
        path = section.splitlines()[0].partition(" b/")[2]
        hunks = re.findall(r"^@@ .+? \+(\d+)(?:,(\d+))? @@", section, re.MULTILINE)
        added[path] = {
            number
            for start, size in hunks
            for number in range(int(start), int(start) + int(size or 1))
        }
    return added


def _documents_without_linter(
    tree: Path, documents: Iterable[str], added: dict[str, set[int]]
) -> list[str]:
    """Return what sphinx-lint says of lines that the series adds to `documents`."""
    with TemporaryDirectory(prefix="django-overlay-") as folder:
        for document in documents:
            # It looks at the rules for reStructuredText in files of that name only.
            copy = Path(folder, f"{document}.rst")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / document, copy)
        # The options of docs/lint.py, except for its own rules.
        options = ["--enable=all", "--disable=line-too-long", "docs"]
        said = _run(Path(folder), "sphinxlint", options, LOCATED)
    said = [complaint.replace(".txt.rst:", ".txt:") for complaint in said]
    return [complaint for complaint in said if _is_added(complaint, added)]


def _is_added(complaint: str, added: dict[str, set[int]]) -> bool:
    """Return whether a complaint is about a line that the series adds."""
    located = re.match(LOCATED, complaint)
    return not located or int(located[2]) in added.get(located[1], ())


def _run(
    folder: Path, linter: str | Path, options: Iterable[str], complaint: str
) -> list[str]:
    """
    Return the lines that match `complaint` of what `linter`, a module or a script, says.

    If it fails and says no such thing, return the last line.
    """
    program = ["-m", linter] if isinstance(linter, str) else [linter]
    done = subprocess.run(
        [sys.executable, *program, *options],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if not done.returncode:
        return []
    said = f"{done.stdout}\n{done.stderr}".strip().splitlines()
    found = [line for line in said if re.match(complaint, line)]
    return [line.removeprefix("ERROR: ") for line in found] or [
        f"{Path(linter).name} failed: {''.join(said[-1:])}"
    ]
