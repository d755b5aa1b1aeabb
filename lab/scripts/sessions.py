"""Say what is set in new sessions, for each of several DATABASES and other settings."""

from itertools import product

from lab.scripts.common import database, say

# MySQL's session variables that differ between any two sessions.
OWN = {"last_gtid", "pseudo_thread_id", "rand_seed1", "rand_seed2", "timestamp"}
SERIALIZABLE = "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"
# Settings of the project and of a database; each with each of the OPTIONS.
SETTINGS = {
    "mysql": [
        ({}, {}),
        ({}, {"AUTOCOMMIT": False}),
        ({}, {"NAME": None}),
        ({"USE_TZ": True}, {"TIME_ZONE": "Europe/Paris"}),
    ],
    "postgresql": [
        ({}, {}),
        ({}, {"AUTOCOMMIT": False}),
        ({"TIME_ZONE": "UTC"}, {}),
        ({"USE_TZ": True}, {}),
        ({"USE_TZ": True}, {"AUTOCOMMIT": False, "TIME_ZONE": "Europe/Paris"}),
        ({"USE_TZ": True}, {"TIME_ZONE": "Etc/UTC"}),
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
            cursor.execute(
                "SELECT current_user, session_user, current_schemas(true)::text"
            )
            driver = [conn.connection.autocommit, str(conn.connection.isolation_level)]
            driver.append(str(conn.connection.info.transaction_status))
        more = [*cursor.fetchone(), *driver, conn.get_autocommit()]
    return {name: variables[name] for name in variables.keys() - OWN} | {"more": more}


def new_state(settings: dict, options: dict, *, asks_first: bool) -> dict[str, object]:
    """
    Return what is set in a new session with these settings of the database.

    With `asks_first`, as with the ORM, Django asks what the server can do before.
    """
    from django.db import connection

    conn = connection.copy()
    conn.settings_dict |= {**settings, "OPTIONS": options}
    if asks_first:
        conn.features.can_return_columns_from_insert  # noqa: B018 (it asks the server)
    try:
        return state(conn)
    finally:
        conn.close()
        if conn.vendor == "postgresql":
            conn.close_pool()


def main() -> None:
    with database():
        from django.db import connection
        from django.test import override_settings

        vendor = connection.vendor
        for (project, settings), options in product(SETTINGS[vendor], OPTIONS[vendor]):
            with override_settings(**project):
                # The second connection may know what the first one has asked.
                found = [
                    new_state(settings, options, asks_first=asks_first)
                    for asks_first in (True, False)
                ]
            say(case=str((project, settings, options)), found=found)
    say()


if __name__ == "__main__":
    main()
