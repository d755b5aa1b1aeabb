"""What all clients do in their threads."""

import os

import django

django.setup()

from thread_connections.models import Item

ROWS = int(os.environ["ROWS"])


def save() -> None:
    Item.objects.create(name="item")
