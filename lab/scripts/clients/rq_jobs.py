"""django-rq with Redis: jobs."""

import django_rq

from jobs import ROWS, save

for _ in range(ROWS):
    django_rq.enqueue(save)
