"""asyncio: blocking functions in the threads of an event loop."""

import asyncio
import threading

from jobs import ROWS, save
from lab.scripts.common import say


async def main() -> None:
    await asyncio.gather(*[asyncio.to_thread(save) for _ in range(ROWS)])
    say(alive=threading.active_count() - 1)


asyncio.run(main())
say(alive=0)
