"""
The laboratory: what runs Django's tests and scripts on real servers.

It works in a checkout of this repository only.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
