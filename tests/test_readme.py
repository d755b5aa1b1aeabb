"""What the README tells to ask a database server, asked."""

import re
from contextlib import closing

import MySQLdb
import psycopg
import pytest

from lab.servers import server
from overlay.series import HOME

QUERIES = re.findall(
    r"^```sql\n(.*?)^```$", (HOME / "README.md").read_text(), re.MULTILINE | re.DOTALL
)


def connect(db: str, env: dict[str, str]):
    if db == "mysql":
        return MySQLdb.connect(
            unix_socket=env["MYSQL_UNIX_SOCKET"], user=env["MYSQL_USER"], db="mysql"
        )
    return psycopg.connect(
        host=env["PGHOST"],
        port=env["PGPORT"],
        user=env["PGUSER"],
        dbname="postgres",
        autocommit=True,
    )


@pytest.mark.parametrize(
    ("db", "query"), [*zip(["mysql", "postgres"], QUERIES, strict=True)]
)
def test_idle_connections_are_found(db, query):
    with (
        server(db) as env,
        closing(connect(db, env)) as connection,
        closing(connect(db, env)) as idle,
        closing(idle.cursor()) as idle_cursor,
        closing(connection.cursor()) as cursor,
    ):
        idle_cursor.execute("SELECT 1")
        idle_cursor.fetchall()
        cursor.execute(query)
        [(user, database, number, _)] = cursor.fetchall()
    expected = ("root", "mysql") if db == "mysql" else ("postgres", "postgres")
    assert (user, database, number) == (*expected, 1)
