"""MariaDB or MySQL, at the server that the environment names."""

from os import environ

from settings.common import *
from settings.common import aliases

DATABASES = aliases(
    ENGINE="django.db.backends.mysql",
    HOST=environ.get("MYSQL_UNIX_SOCKET") or environ.get("MYSQL_HOST", ""),
    PORT=environ.get("MYSQL_TCP_PORT", ""),
    USER=environ.get("MYSQL_USER", ""),
    PASSWORD=environ.get("MYSQL_PASSWORD", ""),
    OPTIONS={"charset": "utf8mb4"},
    TEST={"CHARSET": "utf8mb4"},
)
