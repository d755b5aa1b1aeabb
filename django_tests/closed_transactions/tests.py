import unittest

from django.db import Error, connection, transaction
from django.test import TransactionTestCase
from django.test.utils import tag


@unittest.skipIf(
    connection.vendor == "sqlite" and connection.is_in_memory_db(),
    "close() doesn't close an in-memory database.",
)
class ClosedTransactionTests(TransactionTestCase):
    """A connection that's closed in an atomic block is usable after it."""

    available_apps = []

    def tearDown(self):
        # If a test fails, others aren't to fail with it.
        connection.in_atomic_block = False
        connection.close()

    def assertUsable(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            self.assertEqual(cursor.fetchone(), (1,))
        transaction.rollback()

    def close_in_atomic(self, *, depth=1):
        with transaction.atomic():
            if depth > 1:
                self.close_in_atomic(depth=depth - 1)
            else:
                connection.close()
            with self.assertRaises(Error):
                self.assertUsable()

    def test_autocommit(self):
        self.close_in_atomic()
        self.assertIs(connection.in_atomic_block, False)
        self.assertIs(connection.get_autocommit(), True)

    @tag("regression")
    def test_autocommit_disabled(self):
        for depth in [1, 2]:
            with self.subTest(depth=depth):
                transaction.set_autocommit(False)
                self.close_in_atomic(depth=depth)
                self.assertIs(connection.in_atomic_block, False)
                transaction.set_autocommit(False)
                self.assertUsable()
                transaction.set_autocommit(True)

    @tag("regression")
    def test_exception(self):
        transaction.set_autocommit(False)
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            connection.close()
            1 / 0
        transaction.set_autocommit(False)
        self.assertUsable()
