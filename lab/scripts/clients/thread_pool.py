"""multiprocessing.pool: a pool of threads for each few jobs."""

from multiprocessing.pool import ThreadPool

from jobs import ROWS, save
from lab.scripts.common import say

for _ in range(ROWS // 4):
    pool = ThreadPool(4)
    pool.starmap(save, [()] * 4, chunksize=1)
    pool.close()
    pool.join()
say(alive=0)
