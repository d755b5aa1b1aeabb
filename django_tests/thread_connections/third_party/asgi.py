"""An application for the servers of ASGIServerTests."""

import gc
import json
import os

from django.conf import settings
from django.core.asgi import get_asgi_application

# What's left open stays open.
gc.disable()

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES=json.loads(os.environ["TEST_DATABASES"]),
    INSTALLED_APPS=["thread_connections"],
    ROOT_URLCONF="thread_connections.urls",
)
application = get_asgi_application()
