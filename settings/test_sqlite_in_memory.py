"""SQLite in memory, as Django's own tests expect it."""

from settings.common import *

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3"},
    "other": {"ENGINE": "django.db.backends.sqlite3"},
}
