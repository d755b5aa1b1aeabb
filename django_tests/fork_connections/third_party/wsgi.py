"""Applications for the server of PreloadTests: loading one connects."""

import gc
import json
import os
import threading

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from ..utils import get_session

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES=json.loads(os.environ["TEST_DATABASES"]),
    # A third-party database backend may import a model.
    INSTALLED_APPS=["django.contrib.contenttypes"],
    ROOT_URLCONF=__name__,
)

# Those of the process that loads the application.
sessions = []


def query(request):
    get_session()
    gc.collect()
    return JsonResponse(sessions, safe=False)


urlpatterns = [path("", query)]


def connect_in_main_thread():
    application = get_wsgi_application()
    sessions.append(get_session())
    return application


def connect_in_threads(number=4):
    def run():
        sessions.append(get_session())
        connected.wait(30)
        threading.Event().wait()

    application = get_wsgi_application()
    connected = threading.Barrier(number + 1)
    for _ in range(number):
        threading.Thread(target=run, daemon=True).start()
    connected.wait(30)
    return application
