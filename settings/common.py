"""What the settings for Django's runner have in common, whatever the database."""

import os
from copy import deepcopy

import django

SECRET_KEY = "django_tests_secret_key"  # noqa: S105 (which Django's tests expect)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast
USE_TZ = False
if django.VERSION < (6, 0):  # afterwards Django's own tests expect the default
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

# Django's own is the default.
if {"OVERLAY_PART", "OVERLAY_REPORT"} & os.environ.keys():
    TEST_RUNNER = "settings.runner.Runner"

# runtests.py --red-green reads each test's outcome from this JUnit file.
if report := os.environ.get("OVERLAY_REPORT"):
    from xmlrunner.result import _XMLTestResult

    # Python 3.12.1 doesn't start the tests that it skips, whose duration is reported.
    _XMLTestResult.start_time = 0.0
    TEST_OUTPUT_DIR, TEST_OUTPUT_FILE_NAME = os.path.split(report)


def aliases(**options):
    """
    Return DATABASES: two databases of one server, as Django's tests need.

    OVERLAY_ENGINE names another database backend than Django's own.
    """
    options["ENGINE"] = os.environ.get("OVERLAY_ENGINE") or options["ENGINE"]
    return {
        "default": {"NAME": "overlay", **deepcopy(options)},
        "other": {"NAME": "overlay_other", **deepcopy(options)},
    }
