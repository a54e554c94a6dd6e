"""Settings of the Argus that its own ticket plugins run in; no database is asked."""

import json
import os

from argus.site.settings.backend import *

DEBUG = False
SECRET_KEY = "for-benches-only"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
MEDIA_PLUGINS = ["argus.notificationprofile.media.email.EmailNotification"]
LOGGING = {"version": 1}

TICKET_PLUGIN = os.environ["TICKET_PLUGIN"]
TICKET_ENDPOINT = os.environ["TICKET_ENDPOINT"]
TICKET_AUTHENTICATION_SECRET = json.loads(os.environ["TICKET_AUTHENTICATION_SECRET"])
TICKET_INFORMATION = json.loads(os.environ["TICKET_INFORMATION"])
