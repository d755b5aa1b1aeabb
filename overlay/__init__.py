"""The tool that keeps the patch series, and where it finds what it works on."""

from pathlib import Path

# The tool is run from a checkout of its repository.
ROOT = Path(__file__).resolve().parents[1]
PATCHES = ROOT / "patches"
TESTS = ROOT / "django_tests"
CACHE = ROOT / ".cache"
