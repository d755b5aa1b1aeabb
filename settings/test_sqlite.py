"""SQLite, in files: a connection to a file is a descriptor that tests can count."""

import tempfile
from pathlib import Path

from settings.common import *
from settings.common import aliases

# 200 threads that write at once wait for each other rather than fail.
DATABASES = aliases(ENGINE="django.db.backends.sqlite3", OPTIONS={"timeout": 60})

# In the temporary folder that Django's runner makes and removes.
for database in DATABASES.values():
    name = Path(tempfile.gettempdir(), database["NAME"])
    database["NAME"] = f"{name}.sqlite3"
    database["TEST"] = {"NAME": f"{name}_test.sqlite3"}
