"""django-q2 with Redis: tasks."""

import django

django.setup()

from django_q.tasks import async_task

from jobs import ROWS

for _ in range(ROWS):
    async_task("jobs.save")
