"""
Settings for Django's runner, as `--settings=settings.test_mysql`.

By their full name only: Django's tests have a test_sqlite module of their own.
"""
