"""A database for clients, and the number of rows in it, each time that is asked for."""

import sys

from common import database, report
from django.conf import settings


def main() -> None:
    with database(settings.INSTALLED_APPS) as name:
        from django.db import connection
        from thread_connections.models import Item

        report(database=name)
        for _ in sys.stdin:
            rows = Item.objects.count()
            connection.close()
            report(rows=rows)


if __name__ == "__main__":
    main()
