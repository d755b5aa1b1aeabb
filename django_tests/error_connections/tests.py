import asyncio
from concurrent.futures import ThreadPoolExecutor

from asgiref.testing import ApplicationCommunicator
from thread_connections.utils import ThreadConnectionsTestCase

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncRequestFactory, override_settings, tag

# Seconds after which a request is considered to hang.
TIMEOUT = 60

CONTENT = b"There are 0 groups."


class ErrorViewTestCase(ThreadConnectionsTestCase):
    available_apps = [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.staticfiles",
    ]


@tag("regression")
@override_settings(ROOT_URLCONF="error_connections.urls", STATIC_URL="/static/")
class ASGIHandlerTests(ErrorViewTestCase):
    """
    An error view's connection is closed at the end of the request, as the view
    is run in the thread of the request rather than in one of the event loop's,
    which live on.
    """

    async def request(self, handler, path):
        scope = AsyncRequestFactory()._base_scope(path=path)
        communicator = ApplicationCommunicator(handler, scope)
        await communicator.send_input({"type": "http.request"})
        start = await communicator.receive_output(timeout=TIMEOUT)
        body = await communicator.receive_output(timeout=TIMEOUT)
        await communicator.wait(timeout=TIMEOUT)
        return start["status"], body["body"]

    def check_handler(self, handler, path):
        async def main():
            responses = await asyncio.gather(
                *[self.request(handler, path) for _ in range(20)]
            )
            self.assertEqual(set(responses), {(404, CONTENT)})
            # The one that's open is that of the test. A thread of the event
            # loop wouldn't count its own.
            with ThreadPoolExecutor(max_workers=1) as executor:
                await asyncio.get_running_loop().run_in_executor(
                    executor, self.assertOpenConnections, 1
                )

        asyncio.run(main())

    def test_page_not_found(self):
        self.check_handler(ASGIHandler(), "/missing/")

    def test_static_file_not_found(self):
        handler = ASGIStaticFilesHandler(ASGIHandler())
        self.check_handler(handler, "/static/missing.css")
