"""A tiny Django, a series of two patches for it, and the eyes to see any change."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from overlay.series import Series, read_all
from overlay.wheel import build

GIT = shutil.which("git")
USER = {
    "GIT_AUTHOR_NAME": "Zoë User",
    "GIT_AUTHOR_EMAIL": "zoe@example.com",
    "GIT_COMMITTER_NAME": "Zoë User",
    "GIT_COMMITTER_EMAIL": "zoe@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
TRAILERS = """\
Upstream-Status: not sent
Ticket: https://code.djangoproject.com/ticket/9878
Drop-When: Django closes them itself
Overlay-Tests: {apps}
"""


@pytest.fixture(autouse=True, scope="session")
def _interruptible():
    """Don't hand on that a shell's background job, such as this one, ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def git(tree: Path, *args: str, stdin: str | None = None) -> str:
    """What the user's own git prints, whatever configuration a test sets up."""
    return subprocess.run(
        [GIT, "-C", tree, *args],
        check=True,
        capture_output=True,
        env=os.environ | USER,
        input=stdin,
        text=True,
    ).stdout.strip()


def commit(tree: Path, subject: str, *, body: str = "", apps: str = "") -> str:
    """Commit all but notes.txt as the user; with `apps`, as a patch of the series."""
    trailers = TRAILERS.format(apps=apps) if apps else ""
    git(tree, "add", "--all", "--", ".", ":!notes.txt")
    git(tree, "commit", "-q", "-F", "-", stdin=f"{subject}\n\n{body}\n\n{trailers}")
    return git(tree, "rev-parse", "HEAD")


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def snapshot(folder: Path) -> dict[str, object]:
    """Each file below `folder`, with .git but for git's (append-only) objects."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            None if path.is_dir() else path.read_bytes(),
        )
        for path in folder.rglob("*")
        if "objects" not in path.relative_to(folder).parts
    }


def files(tree: Path) -> dict[str, object]:
    """The part of a snapshot that is not in .git."""
    return {
        name: found
        for name, found in snapshot(tree).items()
        if not name.startswith(".git/") and name != ".git"
    }


def run_overlay(overlay: Path, *args: object, prefix: tuple = (), **options):
    """Run `python -m overlay` in a checkout of our repository, and return how it ended."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "overlay", *map(str, args)],
        check=False,
        capture_output=True,
        cwd=overlay,
        text=True,
        **options,
    )


def executable(file: Path, *lines: str) -> None:
    """Write a shell script."""
    write(file, "\n".join(["#!/bin/sh", *lines, ""]))
    file.chmod(0o755)


def pull(series: Series) -> None:
    """Make the series another one, as if a newer revision had been pulled."""
    edit(series.patches[0], "+line_9 = 'nine'", "+line_9 = 'IX'")
    edit(series.tests / "forks/tests.py", "True", "'newer'")
    commit(series.tests.parent, "A newer revision")


def write_django(tree: Path) -> None:
    body = "".join(f"line_{number} = {number}\n" for number in range(40))
    write(tree / "django/__init__.py", 'VERSION = (6, 1, 3, "final", 0)\n')
    write(tree / "django/db/utils.py", body)
    write(tree / "django/utils/connection.py", body)
    write(tree / "django/utils/obsolete.py", "obsolete = True\n")
    write(tree / "tests/basic/tests.py", "basic = True\n")
    write(tree / "docs/nonascii.txt", "Zoë\r\n")
    write(tree / ".gitignore", "*.egg-info\n__pycache__\n")
    write(tree / "Django.egg-info/PKG-INFO", "Name: Django\n")
    write(tree / "tests/runtests.py", "#!/usr/bin/env python\n")
    (tree / "tests/runtests.py").chmod(0o755)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    """Our repository, with a 6.1 series that plain git wrote."""
    overlay = tmp_path_factory.mktemp("pristine") / "overlay"
    package = Path(__file__).parent.parent / "overlay"
    shutil.copytree(
        package, overlay / "overlay", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(package.parent / "pyproject.toml", overlay)
    write(overlay / "django_tests/thread_connections/__init__.py", "")
    write(overlay / "django_tests/thread_connections/tests.py", "threads = True\n")
    write(overlay / "django_tests/forks/tests.py", "forks = True\n")

    tree = overlay.parent / "django"
    write_django(tree)
    git(tree, "init", "-q")
    base = commit(tree, "Base")
    edit(tree / "django/db/utils.py", "line_9 = 9\n", "line_9 = 'nine'\n")
    write(tree / "django/db/threads.py", "closed = True\n")
    commit(
        tree,
        "Fixed #9878 -- Closed connections of Zoë's ended threads.",
        body="They stayed open\nuntil the collector ran.",
        apps="thread_connections",
    )
    edit(tree / "django/utils/connection.py", "line_30 = 30\n", "line_30 = 'x'\n")
    (tree / "django/utils/obsolete.py").unlink()
    commit(
        tree,
        "[6.1.x] Discarded connections inherited by fork.",
        body="A child spoke on them.",
        apps="thread_connections forks",
    )
    directory = overlay / "patches/6.1"
    git(
        tree,
        "format-patch",
        "--full-index",
        "--no-renames",
        "--no-signature",
        "--no-numbered",
        "--zero-commit",
        "-o",
        str(directory),
        base,
    )
    first, second = sorted(directory.glob("*.patch"))
    first.rename(directory / "close-connections.patch")
    second.rename(directory / "discard-inherited.patch")
    write(
        directory / "series",
        "# The order matters.\nclose-connections.patch\n\n"
        "# Needs the first.\ndiscard-inherited.patch\n",
    )
    write(
        directory / "BASE",
        'release = "6.1.3"\nrequires_python = ">=3.11"\n'
        '[sha256]\n"6.1" = "00"\n"6.1.3" = "11"\n',
    )
    git(overlay, "init", "-q")
    commit(overlay, "The overlay")
    return overlay


@pytest.fixture
def overlay(pristine, tmp_path) -> Path:
    """A checkout of our repository, with a series of two patches for line 6.1."""
    return shutil.copytree(pristine, tmp_path / "overlay")


@pytest.fixture
def series(overlay) -> Series:
    return read_all(overlay)[0]


@pytest.fixture
def sdist(tmp_path) -> Path:
    """An unpacked source distribution of Django 6.1.3: no repository."""
    write_django(tmp_path / "Django-6.1.3")
    return tmp_path / "Django-6.1.3"


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A user's checkout of Django 6.1.3, with a file that is not tracked."""
    tree = tmp_path / "checkout"
    write_django(tree)
    git(tree, "init", "-q", "-b", "stable")
    commit(tree, "Bumped version for 6.1.3 release.")
    write(tree / "notes.txt", "mine\n")
    return tree


@pytest.fixture
def rebasing(checkout) -> Path:
    """The checkout, with a rebase of the user's that waits at a conflict."""
    git(checkout, "checkout", "-q", "-b", "mine", "stable")
    edit(checkout / "tests/basic/tests.py", "True", "'mine'")
    commit(checkout, "Mine")
    git(checkout, "checkout", "-q", "stable")
    edit(checkout / "tests/basic/tests.py", "True", "'theirs'")
    commit(checkout, "Theirs")
    with pytest.raises(subprocess.CalledProcessError):
        git(checkout, "rebase", "-q", "stable", "mine")
    return checkout


HOSTILE = """\
[am]
    keepcr = true
    messageId = true
    threeWay = true
[apply]
    whitespace = error-all
[color]
    diff = always
    ui = always
[commit]
    gpgSign = true
    template = /nonexistent
[core]
    abbrev = 4
    attributesFile = {folder}/attributes
    autocrlf = true
    commentChar = U
    excludesFile = {folder}/excludes
    fsmonitor = {folder}/hooks/fail
    hooksPath = {folder}/hooks
    quotePath = false
[diff]
    algorithm = patience
    context = 1
    external = {folder}/hooks/fail
    interHunkContext = 40
    mnemonicPrefix = true
    noprefix = true
    relative = true
    renames = copies
    statGraphWidth = 1
[format]
    attach = true
    coverLetter = true
    encodeEmailHeaders = false
    from = true
    headers = X-Hostile: yes
    notes = true
    numbered = true
    outputDirectory = /nonexistent
    pretty = oneline
    signature = hostile
    signOff = true
    subjectPrefix = HOSTILE
    thread = true
    to = hostile@example.com
    useAutoBase = true
[gpg]
    program = {folder}/hooks/fail
[grep]
    patternType = fixed
[i18n]
    commitEncoding = latin1
    logOutputEncoding = latin1
[init]
    defaultBranch = hostile
    templateDir = {folder}
[log]
    date = relative
    follow = true
    showSignature = true
[mailinfo]
    scissors = true
[status]
    showUntrackedFiles = all
[trailer]
    separators = "%"
[user]
    useConfigOnly = true
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> str:
    """Make the user's git configuration as unhelpful as can be, and return it."""
    folder = tmp_path / "hostile"
    for hook in (
        "applypatch-msg",
        "commit-msg",
        "fail",
        "post-checkout",
        "post-index-change",
        "pre-applypatch",
        "reference-transaction",
    ):
        write(folder / "hooks" / hook, "#!/bin/sh\nexit 1\n")
        (folder / "hooks" / hook).chmod(0o755)
    write(folder / "attributes", "*.py -diff eol=crlf\n")
    write(folder / "excludes", "*\n")
    config = HOSTILE.format(folder=folder)
    write(folder / ".gitconfig", config)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    return config


# A backend within the archive, as a real one would be downloaded. What it writes depends on
# the time and the umask, and the order is that of the file system.
BACKEND = """\
from pathlib import Path
from zipfile import ZipFile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "Django-6.1.3-py3-none-any.whl"
    info = "Django-6.1.3.dist-info"
    with ZipFile(Path(directory, name), "w") as wheel:
        wheel.writestr(f"{info}/RECORD", "outdated")
        wheel.writestr(f"{info}/METADATA", '''\\
Metadata-Version: 2.1
Name: Django
Version: 6.1.3
Requires-Python: >=99

Version: of the text
''')
        wheel.writestr(f"{info}/WHEEL", '''\\
Wheel-Version: 1.0
Generator: tests
Root-Is-Purelib: true
Tag: py3-none-any
''')
        for file in reversed(sorted(Path("django").rglob("*.*"))):
            wheel.write(file)
    return name
"""
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "Django"
version = "6.1.3"
"""


def pack(tree: Path, archive: Path, **options) -> str:
    """Make a source distribution of `tree`; return its sha256."""
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, tree.name, **options)
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def cache_release(overlay: Path, backend: str = BACKEND) -> Path:
    """Put the archive that BASE has the hash of then into a cache, and return that."""
    tree = overlay.parent / "Django-6.1.3"
    write_django(tree)
    write(tree / "backend.py", backend)
    write(tree / "pyproject.toml", PROJECT)
    write(tree / "django/conf/manage.py-tpl", "#!/usr/bin/env python\n")
    (tree / "django/conf/manage.py-tpl").chmod(0o700)
    archive = overlay / ".cache/django-6.1.3.tar.gz"

    def dated(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = 1_000_000_000 - (not member.name.endswith("utils.py"))
        return member

    digest = pack(tree, archive, filter=dated)
    edit(overlay / "patches/6.1/BASE", '"11"', f'"{digest}"')
    return archive.parent


@pytest.fixture(scope="session")
def home(pristine, tmp_path_factory) -> Path:
    """A checkout of our repository, with a Django in its cache."""
    overlay = tmp_path_factory.mktemp("home") / "overlay"
    shutil.copytree(pristine, overlay)
    cache_release(overlay)
    return overlay


@pytest.fixture(scope="session")
def wheel(home) -> Path:
    """A wheel of it, with the two patches."""
    (series,) = read_all(home)
    return build(series, "6.1.3", home.parent / "dist", home / ".cache")
