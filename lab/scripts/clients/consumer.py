"""Channels: an asynchronous consumer, as its documentation shows one."""

from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.routing import ProtocolTypeRouter

from jobs import save


class Consumer(AsyncHttpConsumer):
    async def handle(self, body):
        await database_sync_to_async(save)()
        await self.send_response(200, b"")


application = ProtocolTypeRouter({"http": Consumer.as_asgi()})
