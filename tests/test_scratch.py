"""Scratch folders are in memory where there is room."""

from collections import namedtuple

import pytest

from lab import scratch

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def memory(monkeypatch, tmp_path):
    """A folder instead of the system's, with room."""
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(scratch, "MEMORY", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, scratch.ROOM + 1))
    return tmp_path


def test_scratch_folders_are_in_memory(memory):
    assert scratch.parent() == str(memory)


def test_a_user_may_choose_another_folder(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/var/tmp")  # noqa: S108
    assert scratch.parent() is None


def test_without_enough_room_they_are_on_disk(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, scratch.ROOM))
    assert scratch.parent() is None


def test_a_system_without_such_a_folder_has_them_on_disk(monkeypatch, memory):
    monkeypatch.setattr(scratch, "MEMORY", str(memory / "missing"))
    assert scratch.parent() is None
