"""An application for the server of ASGIServerTests."""

import gc
import json
import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

# What's left open stays open.
gc.disable()

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES=json.loads(os.environ["TEST_DATABASES"]),
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.staticfiles",
    ],
    ROOT_URLCONF="error_connections.urls",
    STATIC_URL="/static/",
)
application = ASGIStaticFilesHandler(get_asgi_application())
