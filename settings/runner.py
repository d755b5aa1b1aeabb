"""
Django's test runner, for a part of the tests, or with a report, if that is asked for.

OVERLAY_PART is "2/4" for the second of four parts. They have the same number of tests,
give or take one, and each test is in one of them. OVERLAY_REPORT is a JUnit file.
"""

import os

from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases

if "OVERLAY_REPORT" in os.environ:
    from xmlrunner.extra.djangotestrunner import XMLTestRunner as DiscoverRunner


class Runner(DiscoverRunner):
    """Take every n-th test, as neighbours tend to be equally slow."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        part, parts = os.environ.get("OVERLAY_PART", "1/1").split("/")
        self.parts = int(parts)
        self.number = self.parts - int(part)

    def load_tests_for_label(self, label, discover_kwargs):
        tests = []
        for test in iter_test_cases(
            super().load_tests_for_label(label, discover_kwargs)
        ):
            self.number += 1
            if self.number % self.parts == 0:
                tests.append(test)
        return tests
