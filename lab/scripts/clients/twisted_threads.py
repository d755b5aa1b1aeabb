"""Twisted: blocking functions in the threads of a reactor."""

import threading

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from jobs import ROWS, save
from lab.scripts.common import say


def end(results: list) -> None:
    say(alive=threading.active_count() - 1)
    reactor.stop()


gatherResults([deferToThread(save) for _ in range(ROWS)]).addCallback(end)
reactor.run()
say(alive=0)
