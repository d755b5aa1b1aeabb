"""
Put PyMySQL in the place of mysqlclient before Django's backend imports that.

It's a backend of its own since processes that tests start know DATABASES only.
"""

import sys

import pymysql

# Django's runtests.py imports mysqlclient: don't mix the modules of the two.
for name in [name for name in sys.modules if name.partition(".")[0] == "MySQLdb"]:
    del sys.modules[name]
pymysql.install_as_MySQLdb()

from django.db.backends.mysql.base import *
