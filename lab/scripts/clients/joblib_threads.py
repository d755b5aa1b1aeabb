"""joblib: a parallel loop in threads, run again and again."""

from joblib import Parallel, delayed

from jobs import ROWS, save
from lab.scripts.common import say

for _ in range(ROWS // 4):
    Parallel(n_jobs=4, backend="threading")(delayed(save)() for _ in range(4))
say(alive=0)
