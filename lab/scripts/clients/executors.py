"""concurrent.futures: a pool for each few jobs."""

import threading
from concurrent.futures import ThreadPoolExecutor

from jobs import ROWS, save
from lab.scripts.common import say

for _ in range(ROWS // 4 - 1):
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(save)
with ThreadPoolExecutor(4) as pool:
    for _ in range(4):
        pool.submit(save)
    say(alive=threading.active_count() - 1)
say(alive=0)
