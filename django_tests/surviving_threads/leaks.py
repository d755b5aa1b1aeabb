"""
This module becomes part of the projects.
"""

import gc
import threading

from app.models import Item

from django.db import connections, transaction

# What ended threads have left open isn't closed by chance.
gc.disable()

forever = threading.Event()


def start(target, daemon=True):
    """
    Start a thread that runs the target. Return once it calls its argument.
    """
    ready = threading.Event()
    thread = threading.Thread(
        target=target, args=[ready.set], name="leaking", daemon=daemon
    )
    thread.start()
    ready.wait(10)
    return thread


def leak(alias="default", alive=True, in_transaction=False, **kwargs):
    """Leave a connection open in a thread that goes on, or has ended."""

    def run(ready):
        connections[alias].ensure_connection()
        if in_transaction:
            transaction.atomic(using=alias).__enter__()
        Item.objects.using(alias).count()
        ready()
        if alive:
            forever.wait()

    thread = start(run, **kwargs)
    if not alive:
        thread.join()
