"""APScheduler: jobs in the background of a program."""

from apscheduler.schedulers.background import BackgroundScheduler

from jobs import ROWS, save
from lab.scripts.common import say

scheduler = BackgroundScheduler()
scheduler.start()
for _ in range(ROWS):
    scheduler.add_job(save, misfire_grace_time=None)
say(alive=10)  # which is what its default executor has
scheduler.shutdown()
say(alive=0)
