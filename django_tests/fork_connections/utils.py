from django.db import connection


def get_session(conn=connection):
    """Return what identifies the session of a connection."""
    with conn.cursor() as cursor:
        if conn.vendor == "postgresql":
            cursor.execute("SELECT pg_backend_pid()")
        elif conn.vendor == "mysql":
            cursor.execute("SELECT CONNECTION_ID()")
        else:
            # Each connection has temporary tables of its own.
            cursor.execute(
                "CREATE TEMPORARY TABLE IF NOT EXISTS session AS SELECT RANDOM() AS id"
            )
            cursor.execute("SELECT id FROM session")
        return cursor.fetchone()[0]
