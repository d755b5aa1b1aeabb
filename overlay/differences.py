"""What the series of neighbouring Django lines do differently, and may."""

import re
from collections import Counter
from pathlib import Path

from overlay.errors import OverlayError
from overlay.git import decode
from overlay.series import Series, read_text

# In the folder of the older line: its differences from the next newer one.
FILE = "DIFFERENCES"
HEADER = """\
# What this series does otherwise than that of the next newer line of Django, and why:
# lines that are added (+) or removed (-) only there (<) or only here (>).
"""


def undeclared(newer: Series, older: Series) -> list[str]:
    """
    Return a problem for each difference that is not in DIFFERENCES of `older`.

    One that is declared and is none, or without a reason, is a problem, too. Patches of
    the same name are compared. Raise OverlayError if DIFFERENCES can't be read.
    """
    file = older.directory / FILE
    declared, reasons = _declared(file)
    actual = differences(newer, older)
    where = f"patches/{older.name}/{FILE}"
    problems = []
    for name in dict.fromkeys([*actual, *declared]):
        there, here = Counter(actual.get(name)), Counter(declared.get(name))
        problems += [
            f"{where} must say under [{name}]: {line}"
            for line in (there - here).elements()
        ]
        problems += [
            f"{where} must not say under [{name}], as it is no difference: {line}"
            for line in (here - there).elements()
        ]
        if here and name not in reasons:
            problems.append(f"{where} gives no reason under [{name}].")
    return problems


def differences(newer: Series, older: Series) -> dict[str, list[str]]:
    """
    Return the lines that only one of two series changes, by the name of the patch.

    They are written as in DIFFERENCES. Context, and the number of the line of Django in
    what is new in it, are no difference.
    """
    theirs = {patch.name: patch for patch in newer.patches}
    found = {}
    for patch in older.patches:
        if patch.name in theirs:
            there = _changes(theirs[patch.name], newer.name)
            here = _changes(patch, older.name)
            lines = [f"< {line}" for line in _without(there, here)]
            lines += [f"> {line}" for line in _without(here, there)]
            if lines:
                found[patch.stem] = lines
    return found


def declare(newer: Series, older: Series) -> None:
    """
    Write DIFFERENCES of `older`, with the reasons that it has already.

    Raise OverlayError if it can't be read.
    """
    file = older.directory / FILE
    _, reasons = _declared(file)
    sections = [
        "\n".join([f"[{name}]", *reasons.get(name, []), *lines, ""])
        for name, lines in differences(newer, older).items()
    ]
    if sections:
        file.write_text("\n".join([HEADER, *sections]), encoding="utf-8")
    else:
        file.unlink(missing_ok=True)


def _changes(patch: Path, line: str) -> list[str]:
    """Return the added and removed lines of a patch, with `line` in them as X.Y."""
    text = decode(patch.read_bytes())
    changes = []
    for section in re.split(r"^diff --git ", text, flags=re.MULTILINE)[1:]:
        hunks = section.partition("\n@@ ")[2].partition("\n")[2]
        changes += re.findall(r"^[+-].*$", hunks, re.MULTILINE)
    number = rf"(version(?:added|changed):: |releases/){re.escape(line)}\b"
    return [re.sub(number, r"\1X.Y", change) for change in changes]


def _without(lines: list[str], others: list[str]) -> list[str]:
    """Return `lines` less `others`, each as often as it is there, in order."""
    left = Counter(lines) - Counter(others)
    kept = []
    for line in lines:
        if left[line]:
            left[line] -= 1
            kept.append(line)
    return kept


def _declared(file: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the lines in DIFFERENCES by patch, and those that give the reasons."""
    declared: dict[str, list[str]] = {}
    reasons: dict[str, list[str]] = {}
    name = ""
    for line in read_text(file).splitlines() if file.is_file() else []:
        if heading := re.fullmatch(r"\[(.+)\]", line):
            name = heading[1]
        elif line.startswith("# ") and name:
            reasons.setdefault(name, []).append(line)
        elif line.startswith(("< ", "> ")) and name:
            declared.setdefault(name, []).append(line)
        elif line.strip() and not line.startswith("#"):
            raise OverlayError(f"{file} has a line that is not understood: {line}")
    return declared, reasons
