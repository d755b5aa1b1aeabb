"""Settings of a project that the clients work for. lab.clients has the environment."""

import os
from importlib import import_module, util

from settings.common import SECRET_KEY  # noqa: F401

DATABASES = {
    "default": {
        **import_module(f"settings.test_{os.environ['DB']}").DATABASES["default"],
        "NAME": os.environ.get("DATABASE", "overlay"),
        "CONN_MAX_AGE": int(os.environ["CONN_MAX_AGE"]),
    }
}
INSTALLED_APPS = ["thread_connections"]
INSTALLED_APPS += filter(util.find_spec, ["django_q", "django_rq"])
ROOT_URLCONF = "thread_connections.urls"
ALLOWED_HOSTS = ["127.0.0.1"]

redis = f"unix://{os.environ.get('REDIS_SOCKET')}"
Q_CLUSTER = {"redis": redis, "workers": 2, "timeout": 30, "retry": 60}
RQ_QUEUES = {"default": {"URL": redis}}
