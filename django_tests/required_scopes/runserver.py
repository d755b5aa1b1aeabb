"""Run the development server for a view that uses the database in a thread."""

from thread_connections.processes import setup

from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connection, connections
from django.http import HttpResponse
from django.urls import path


def view(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return HttpResponse(str(*cursor.fetchone()))


urlpatterns = [path("", view)]


if __name__ == "__main__":
    setup()
    settings.DEBUG = True
    settings.ROOT_URLCONF = "required_scopes.runserver"
    connections.settings["default"]["CONN_SCOPE_REQUIRED"] = True
    # The reloader runs it again.
    execute_from_command_line(["runserver", "runserver", "127.0.0.1:0"])
