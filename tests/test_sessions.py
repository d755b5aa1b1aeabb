"""What is set in the sessions of connections is the same on stock and patched Django."""

from contextlib import ExitStack

import pytest

from lab import ROOT, trees
from lab.script import Script
from lab.servers import server
from overlay.series import read_all

SCRIPT = ROOT / "lab/scripts/sessions.py"
# Two names of a time zone: patched Django leaves a server that has the second alone.
UTC = {"TimeZone": "UTC"}


@pytest.mark.parametrize("db", ["mysql", "postgres"])
def test_sessions_are_the_same_on_stock_and_patched_django(db):
    series, release = trees.choose(None, read_all())
    with ExitStack() as stack:
        environment = stack.enter_context(server(db))
        sides = []
        for patched in (False, True):
            tree = trees.build(series, release, patched)
            with Script(SCRIPT, tree, db, environment) as script:
                found = {}
                while facts := script.hear():
                    found[facts["case"]] = [
                        {**state, **UTC}
                        if state.get("TimeZone") == "Etc/UTC"
                        else state
                        for state in facts["found"]
                    ]
                    script.go_on()
            sides.append(found)
    stock, patched = sides
    assert len(stock) > 50
    assert patched == stock
