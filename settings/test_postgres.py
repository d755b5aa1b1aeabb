"""PostgreSQL with psycopg 3, at the server that the environment names."""

from os import environ

from settings.common import *
from settings.common import aliases

DATABASES = aliases(
    ENGINE="django.db.backends.postgresql",
    HOST=environ.get("PGHOST", ""),
    PORT=environ.get("PGPORT", ""),
    USER=environ.get("PGUSER", ""),
    PASSWORD=environ.get("PGPASSWORD", ""),
)
