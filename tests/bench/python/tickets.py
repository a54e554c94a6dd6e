"""Creates tickets with one of Argus's own plugins, the way Argus calls it, and prints what that took.

tickets.py COUNT THREADS: the plugin and its settings stand in the environment (see settings.py), the incident comes
as JSON on standard input. Prints {"wall": s, "cpu": s, "rss": kB, "times": [ms, ...]}; a count of 1 is a cold start.
"""

import json
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django

django.setup()

from argus.incident.ticket.utils import get_autocreate_ticket_plugin


def main():
    count, threads = int(sys.argv[1]), int(sys.argv[2])
    incident = json.load(sys.stdin)
    plugin = get_autocreate_ticket_plugin()

    def create(number):
        started = time.perf_counter()
        url = plugin.create_ticket(incident | {"pk": number, "description": f"incident {number}"})
        assert url.startswith("http"), url
        return (time.perf_counter() - started) * 1000

    # Before the first ticket: what Python and Django took to start is told by the cold runs.
    before, started = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        times = list(pool.map(create, range(count)))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    json.dump(
        {
            "wall": time.perf_counter() - started,
            "cpu": time.process_time() - before,
            "rss": usage.ru_maxrss,
            "times": times,
        },
        sys.stdout,
    )


main()
