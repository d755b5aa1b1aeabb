"""Say which time zone connections have that are open and used in turn, round by round."""

from django.db import connection

import jobs  # noqa: F401 (it sets Django up)
from lab.scripts.common import say

ROUNDS = 3
ZONES = ["UTC", "Europe/Paris", "Asia/Tokyo"]


def main() -> None:
    connections = [connection.copy() for _ in ZONES]
    for each, zone in zip(connections, ZONES, strict=True):
        each.settings_dict["TIME_ZONE"] = zone
    found = []
    for _ in range(ROUNDS):
        for each in connections:
            with each.cursor() as cursor:
                cursor.execute("SELECT current_setting('TimeZone'), pg_backend_pid()")
                found.append(cursor.fetchone())
    say(found=found)
    for each in connections:
        each.close()


if __name__ == "__main__":
    main()
