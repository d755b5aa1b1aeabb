"""AnyIO: blocking functions in its worker threads."""

import threading

import anyio
from anyio import to_thread

from jobs import ROWS, save
from lab.scripts.common import say


async def main() -> None:
    async with anyio.create_task_group() as group:
        for _ in range(ROWS):
            group.start_soon(to_thread.run_sync, save)
    say(alive=threading.active_count() - 1)


anyio.run(main)
say(alive=0)
