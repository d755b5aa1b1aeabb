"""Run git so that no configuration of the user's changes the result."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from overlay.errors import OverlayError

# The oldest git that knows GIT_CONFIG_GLOBAL (its release notes for 2.32): an
# older one would silently read the user's configuration.
MINIMUM = (2, 32)

NAME = "Django overlay"
EMAIL = "django-overlay@localhost"

# GIT_CONFIG_GLOBAL and GIT_CONFIG_SYSTEM switch off the user's and the machine's
# files; these switch off what a repository's own configuration can change.
PINNED = {
    "am.keepcr": "false",
    "am.messageId": "false",
    "am.threeWay": "false",
    "apply.ignoreWhitespace": "no",
    "apply.whitespace": "nowarn",
    "color.ui": "false",
    "commit.gpgSign": "false",
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    "core.commentChar": "#",
    "core.eol": "lf",
    "core.excludesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.quotePath": "true",
    "core.safecrlf": "false",
    "diff.algorithm": "histogram",
    "diff.context": "3",
    "diff.dstPrefix": "b/",
    "diff.indentHeuristic": "true",
    "diff.interHunkContext": "0",
    "diff.mnemonicPrefix": "false",
    "diff.noprefix": "false",
    "diff.orderFile": os.devnull,
    "diff.relative": "false",
    "diff.renames": "false",
    "diff.srcPrefix": "a/",
    "diff.submodule": "short",
    "diff.suppressBlankEmpty": "false",
    "format.forceInBodyFrom": "false",
    "format.mboxrd": "false",
    "format.noprefix": "false",
    "format.signOff": "false",
    "gc.auto": "0",
    "grep.patternType": "basic",
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
    "log.follow": "false",
    "log.showSignature": "false",
    "mailinfo.quotedCr": "nowarn",
    "mailinfo.scissors": "false",
    "maintenance.auto": "false",
    "rerere.enabled": "false",
    "submodule.recurse": "false",
    "trailer.separators": ":",
}


class GitError(OverlayError):
    """git ended with an error; `stderr` and `stdout` are all that it said."""

    def __init__(self, command: str, stderr: str, stdout: str = "") -> None:
        self.stderr, self.stdout = stderr, stdout
        said = [
            line.partition(": ")[2]
            for line in stderr.splitlines()
            if line.startswith(("fatal: ", "error: "))
        ]
        super().__init__(
            _in_our_words(stderr)
            or f"git {command} failed: {'; '.join(said) or stderr.strip()}"
        )


def _in_our_words(stderr: str) -> str | None:
    """Return a sentence for an error of git's that does not say what to do."""
    if lock := re.search(r"Unable to create '(.+\.lock)': File exists", stderr):
        return (
            f"{lock[1]} exists: another git is at work there. Try again once it has "
            "ended; if there is none, remove that file."
        )
    if moved := re.search(r"cannot lock ref '(.+)': is at \w+ but expected", stderr):
        return f"{moved[1]} has moved meanwhile: another git is at work there."
    if remedy := re.search(
        r"^\s*git config --global --add safe\..+$", stderr, re.MULTILINE
    ):
        return (
            "The repository belongs to another user; if you trust it, run "
            f"`{remedy[0].strip()}`."
        )
    return None


def git(
    tree: Path,
    *args: str,
    stdin: str = "",
    env: dict[str, str] | None = None,
    settings: Iterable[str] = (),
) -> str:
    """
    Return what `git -C tree args...` prints, under the pinned configuration.

    No byte is lost on the way: line ends are not translated, and what is not UTF-8
    is decoded by encode() and decode() alike. `env` is added to git's environment,
    `settings` ("name=value") to the configuration.

    Raise GitError if git fails, OverlayError if it is missing or too old.
    """
    program = _usable(shutil.which("git"))
    pinned = [f"{option}={value}" for option, value in PINNED.items()]
    pinned += [f"safe.directory={folder}" for folder in _safe_directories(program)]
    command = [program, "-C", str(tree)]
    for setting in [*pinned, *settings]:
        command += ["-c", setting]
    done = subprocess.run(
        [*command, *args],
        check=False,
        input=encode(stdin),
        capture_output=True,
        env=_environment() | (env or {}),
    )
    if done.returncode:
        raise GitError(args[0], decode(done.stderr), decode(done.stdout))
    return decode(done.stdout)


def identity(tree: Path) -> dict[str, str]:
    """
    Return the environment in which git commits in `tree` as the user.

    Raise OverlayError if the user's configuration doesn't say who that is.
    """
    program = _usable(shutil.which("git"))
    command = [program, "-C", str(tree), "var", "GIT_COMMITTER_IDENT"]
    said = subprocess.run(command, check=False, capture_output=True).stdout
    found = re.match(r"(.+) <(.+)> \d", decode(said))
    if not found:
        raise OverlayError(
            "git doesn't know who you are: set `git config --global user.name` and "
            "`user.email`."
        )
    return {"GIT_COMMITTER_NAME": found[1], "GIT_COMMITTER_EMAIL": found[2]}


def require(minimum: tuple[int, int]) -> None:
    """Raise OverlayError if git is missing, or older than `minimum`."""
    _usable(shutil.which("git"), minimum)


def decode(data: bytes) -> str:
    """Return `data` as text that encode() turns back into the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes that decode() made `text` of."""
    return text.encode("utf-8", "surrogateescape")


def _environment() -> dict[str, str]:
    # A GIT_DIR or GIT_INDEX_FILE of a hook that runs us would lead to another
    # repository. GIT_EXEC_PATH belongs to the installation.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name == "GIT_EXEC_PATH"
    }
    return kept | {
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_AUTHOR_NAME": NAME,
        "GIT_COMMITTER_EMAIL": EMAIL,
        "GIT_COMMITTER_NAME": NAME,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        # A look at a tree must not rewrite its index.
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


@cache
def _usable(program: str | None, minimum: tuple[int, int] = MINIMUM) -> str:
    """Return `program` if it is a git that is new enough."""
    needed = ".".join(map(str, minimum))
    if program is None:
        raise OverlayError(f"git is not on the PATH: install git {needed} or newer.")
    said = subprocess.run(
        [program, "version"], check=False, capture_output=True, text=True
    ).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    if not found or tuple(map(int, found[0].split("."))) < minimum:
        raise OverlayError(f"{program} is too old: git {needed} or newer is needed.")
    return program


@cache
def _safe_directories(program: str) -> tuple[str, ...]:
    """Return the trees of other owners that the user has told git to trust."""
    said = subprocess.run(
        [program, "-C", "/", "config", "--get-all", "safe.directory"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(said.splitlines())
