"""Say what is set in new sessions, for each of several DATABASES and other settings."""

import sys
from collections.abc import Iterator
from itertools import product

from lab.scripts.common import database, say

# MySQL's session variables that differ between any two sessions.
OWN = {"last_gtid", "pseudo_thread_id", "rand_seed1", "rand_seed2", "timestamp"}
SERIALIZABLE = "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"
TIME_ZONES = [
    {},
    {"USE_TZ": True},
    {"USE_TZ": True, "TIME_ZONE": "Europe/Paris"},
    {"TIME_ZONE": "UTC"},
    {"TIME_ZONE": "Europe/Paris"},
]
SETTINGS = {
    "mysql": [
        {},
        {"AUTOCOMMIT": False},
        {"NAME": None},
        {"TIME_ZONE": "Europe/Paris"},
    ],
    "postgresql": [
        {},
        {"AUTOCOMMIT": False},
        {"TIME_ZONE": "Europe/Paris"},
        {"TIME_ZONE": "Etc/UTC"},
    ],
}
OPTIONS = {
    "mysql": [
        {},
        {"autocommit": False},
        {"charset": "latin1"},
        {"charset": "utf8mb4", "collation": "utf8mb4_bin"},
        {"init_command": "SET autocommit = 0"},
        {"init_command": "SET sql_auto_is_null = 1"},
        {"init_command": "SET sql_mode = 'ANSI'; SET wait_timeout = 60"},
        {"init_command": SERIALIZABLE},
        {"init_command": SERIALIZABLE, "isolation_level": None},
        {"isolation_level": None},
        {"isolation_level": "read uncommitted"},
        {"isolation_level": "REPEATABLE READ"},
        {"isolation_level": "serializable"},
        {"sql_mode": "TRADITIONAL"},
    ],
    "postgresql": [
        {},
        {"assume_role": "pg_monitor"},
        {"isolation_level": 4},  # psycopg.IsolationLevel.SERIALIZABLE
        {"options": "-c search_path=pg_catalog -c statement_timeout=60s"},
        {"options": "-c TimeZone=UTC"},
        {"options": "-c TimeZone=Etc/UTC"},
        {"options": "-c TimeZone=Asia/Tokyo"},
        {"pool": True},
        {"server_side_binding": True},
    ],
}


def matrix(vendor: str) -> Iterator[tuple[dict, dict, dict]]:
    """Yield settings of the project, of the database, and its OPTIONS."""
    for project, settings, options in product(
        TIME_ZONES, SETTINGS[vendor], OPTIONS[vendor]
    ):
        if settings.get("TIME_ZONE") and not project.get("USE_TZ"):
            continue  # Django refuses it
        yield project, settings, options


def state(conn) -> dict[str, object]:
    """Return what is set in the session of a connection, and what the driver knows."""
    with conn.cursor() as cursor:
        if conn.vendor == "mysql":
            cursor.execute("SHOW SESSION VARIABLES")
            variables = dict(cursor.fetchall())
            cursor.execute("SELECT DATABASE(), CURRENT_USER()")
            driver = [conn.connection.get_autocommit(), conn.connection.encoding]
        else:
            cursor.execute("SELECT name, setting FROM pg_settings")
            variables = dict(cursor.fetchall())
            cursor.execute("SELECT current_user, session_user, current_schemas(true)::text")
            driver = [conn.connection.autocommit, str(conn.connection.isolation_level)]
            driver.append(str(conn.connection.info.transaction_status))
        more = [*cursor.fetchone(), *driver, conn.get_autocommit()]
    return {name: variables[name] for name in variables.keys() - OWN} | {"more": more}


def main() -> None:
    with database():
        from django.db import connection
        from django.test import override_settings

        for project, settings, options in matrix(connection.vendor):
            found = []
            with override_settings(**project):
                # The second connection may know what the first one has asked.
                for asks_first in (True, False):
                    conn = connection.copy()
                    conn.settings_dict |= settings
                    conn.settings_dict["OPTIONS"] = options
                    if asks_first:
                        conn.features.can_return_columns_from_insert  # noqa: B018
                    try:
                        found.append(state(conn))
                    finally:
                        conn.close()
                        getattr(conn, "close_pool", lambda: None)()
            say(case=str((project, settings, options)), found=found)
    say()


if __name__ == "__main__":
    sys.exit(main())
