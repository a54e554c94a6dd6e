"""Settings of an Argus for tests on the loopback; up.sh says what is in the environment."""

import json
import os

from argus.site.settings.backend import *

STATE = os.environ["ARGUS_STATE"]

DEBUG = False
SECRET_KEY = "for-tests-only"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
FRONTEND_URL = os.environ.get("ARGUS_FRONTEND_URL", "")
# PostgreSQL listens on a socket in its folder only.
DATABASES = {"default": {"ENGINE": DATABASE_ENGINE, "NAME": "argus", "USER": "argus", "HOST": f"{STATE}/pg"}}
STATIC_ROOT = f"{STATE}/static"
STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"

# Nothing is sent anywhere. A user with an address needs the e-mail plugin, though.
SEND_NOTIFICATIONS = False
MEDIA_PLUGINS = ["argus.notificationprofile.media.email.EmailNotification"]
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
# Where Argus asks for its newest version: nobody listens there.
PYPI_URL = "http://127.0.0.1:9/"

# Passwords protect nothing here, so they may be checked quickly.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

TICKET_PLUGIN = "argus_ticket_host.TicketHostPlugin"
TICKET_ENDPOINT = os.environ.get("TICKET_ENDPOINT")
TICKET_AUTHENTICATION_SECRET = json.loads(os.environ.get("TICKET_AUTHENTICATION_SECRET") or "{}")
TICKET_INFORMATION = json.loads(os.environ.get("TICKET_INFORMATION") or "{}")
