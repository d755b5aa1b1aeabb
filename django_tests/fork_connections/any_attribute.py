from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.dummy.base import DatabaseWrapper as DummyDatabaseWrapper


class AnyAttribute:
    """
    Answer like the clients of drivers that don't implement PEP 249, such as
    pymongo's: whatever attribute they're asked for is an object that can
    neither be called nor tested for truth.
    """

    def __getattr__(self, name):
        return AnyAttribute()

    def __bool__(self):
        raise NotImplementedError


class DatabaseWrapper(DummyDatabaseWrapper):
    ensure_connection = BaseDatabaseWrapper.ensure_connection

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.closed = []

    def get_connection_params(self):
        return {}

    def get_new_connection(self, conn_params):
        return AnyAttribute()

    def init_connection_state(self):
        # There's no server that has a version.
        pass

    def _set_autocommit(self, autocommit):
        pass

    def _close(self):
        self.closed.append(self.connection)
