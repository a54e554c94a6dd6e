"""What TicketHostPlugin does, against a stub of the service. Run in an environment that has Argus:

    python -m unittest discover -s host/argus/tests
"""

import json
import os
import socket
import sys
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

# What is tested is what stands beside the tests, not what is installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import django
from django.conf import settings

# The least with which argus.incident can be imported; there is no database.
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "argus.auth", "argus.incident"],
    AUTH_USER_MODEL="argus_auth.User",
    AUTH_TOKEN_EXPIRES_AFTER_DAYS=14,
    USE_TZ=True,
    LOGGING_CONFIG=None,
)
django.setup()

import argus_ticket_host
from argus.incident.ticket.base import (
    TicketClientException,
    TicketCreationException,
    TicketPluginException,
    TicketSettingsException,
)
from argus_ticket_host import TicketHostPlugin
from django.test import override_settings

TOKEN = "s3cret-token"
# As Argus 2.10.2 hands it over.
INCIDENT = {
    "pk": 16,
    "start_time": "2026-11-23T08:00:00+01:00",
    "end_time": "infinity",
    "source": {"pk": 2, "name": "nav", "type": {"name": "nav"}, "user": 3, "base_url": ""},
    "source_incident_id": "b-1",
    "details_url": "/x/1",
    "description": "Strøm borte \N{HIGH VOLTAGE SIGN}",
    "level": 3,
    "ticket_url": "",
    "metadata": {},
    "tags": [{"added_by": 3, "added_time": "2026-11-23T09:09:45.031469+01:00", "tag": "host=x"}],
    "stateful": True,
    "open": True,
    "acked": False,
    "argus_url": "http://127.0.0.1:8000/incidents/16",
    "user": "Ada Lovelåce",
}
CREATED = {"id": 17, "state": "created", "ticket": {"url": "https://rt.example.org/Ticket/Display.html?id=62"}}


class Stub:
    """A server on a free loopback port that answers each request alike and remembers it."""

    def __init__(self, status=201, answer=CREATED, headers=None, before=None, close_early=False):
        self.requests = []
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                stub.requests.append(SimpleNamespace(path=self.path, headers=self.headers, body=json.loads(sent)))
                if before:
                    before()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) + 10 * close_early))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except ConnectionError:
                    pass  # Whoever asked has read enough.

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # Not waited for: one of them may sleep on purpose.
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def problem(status, name, detail, **more):
    # As the service writes them, RFC 9457.
    return {
        "type": f"urn:ticket-host:problem:{name}",
        "title": "Title",
        "status": status,
        "detail": detail,
        **more,
    }


def configured(endpoint, authentication=None, information=None):
    return override_settings(
        TICKET_ENDPOINT=endpoint,
        TICKET_AUTHENTICATION_SECRET={"token": TOKEN} if authentication is None else authentication,
        TICKET_INFORMATION={} if information is None else information,
    )


class PluginTest(unittest.TestCase):
    def setUp(self):
        # Every error is logged once; that would clutter the tests' output.
        log = mock.patch.object(argus_ticket_host.LOG, "error")
        self.logged = log.start()
        self.addCleanup(log.stop)

    def create(self, stub, authentication=None, information=None, path=""):
        with configured(stub.url + path, authentication, information):
            return TicketHostPlugin.create_ticket(dict(INCIDENT))

    def refused(self, kind, *args, **kwargs):
        """The message of the exception, which is of that very kind."""
        with self.assertRaises(TicketPluginException) as caught:
            self.create(*args, **kwargs)
        self.assertIs(type(caught.exception), kind, caught.exception)
        self.assertNotIn(TOKEN, str(caught.exception))
        return str(caught.exception)


class Asking(PluginTest):
    def test_the_url_of_a_new_ticket_and_of_an_existing_one_is_returned(self):
        for status in (201, 200):
            with self.subTest(status), Stub(status) as stub:
                self.assertEqual(self.create(stub), CREATED["ticket"]["url"])

    def test_the_incident_is_sent_as_argus_hands_it_over(self):
        with Stub() as stub:
            self.create(stub, information={"backend": "noc-rt", "timeout": 1.5})
        [request] = stub.requests
        self.assertEqual(request.body, {"incident": INCIDENT, "backend": "noc-rt", "wait_ms": 1500})
        self.assertEqual(request.headers["Content-Type"], "application/json")

    def test_without_a_backend_the_service_chooses_and_waits_30_seconds(self):
        with Stub() as stub:
            self.create(stub)
        self.assertEqual(stub.requests[0].body, {"incident": INCIDENT, "wait_ms": 30000})

    def test_the_token_is_sent_as_a_bearer_token(self):
        with Stub() as stub:
            self.create(stub)
        self.assertEqual(stub.requests[0].headers["Authorization"], f"Bearer {TOKEN}")

    def test_without_a_token_there_is_no_authorization(self):
        with Stub() as stub:
            self.create(stub, authentication={})
        self.assertNotIn("Authorization", stub.requests[0].headers)

    def test_the_endpoint_may_have_a_path_and_trailing_slashes(self):
        for path, asked in {"": "", "/": "", "/tickets": "/tickets", "/a/b//": "/a/b"}.items():
            with self.subTest(path), Stub() as stub:
                self.create(stub, path=path)
                self.assertEqual(stub.requests[0].path, f"{asked}/v1/tickets")

    def test_proxies_of_the_environment_are_not_used_for_loopback_endpoints(self):
        with Stub() as stub, Stub() as proxy, mock.patch.dict(os.environ, {"http_proxy": proxy.url, "no_proxy": ""}):
            self.create(stub)
            self.assertEqual((len(stub.requests), len(proxy.requests)), (1, 0))

    def test_proxies_of_the_environment_are_used_for_other_endpoints(self):
        with Stub() as proxy, mock.patch.dict(os.environ, {"http_proxy": proxy.url, "no_proxy": ""}):
            self.create(SimpleNamespace(url="http://tickets.example.org"))
        self.assertEqual(proxy.requests[0].path, "http://tickets.example.org/v1/tickets")

    def test_redirects_are_not_followed(self):
        with Stub() as elsewhere:
            for status in (301, 302, 303, 307, 308):
                with self.subTest(status), Stub(status, b"", {"Location": f"{elsewhere.url}/?{TOKEN}"}) as stub:
                    message = self.refused(TicketSettingsException, stub)
                    self.assertIn(elsewhere.url, message)
                    self.assertIn("Set TICKET_ENDPOINT", message)
            self.assertEqual(elsewhere.requests, [])


class Queued(PluginTest):
    def test_a_queued_ticket_is_a_client_exception_with_its_job(self):
        with Stub(202, {"id": 17, "state": "queued", "error": None}) as stub:
            message = self.refused(TicketClientException, stub)
        self.assertIn("job 17 of ticket-host, queued", message)
        self.assertIn("if the host watches this Argus", message)
        self.assertIn("URL will be written to the incident", message)

    def test_a_queued_ticket_tells_the_last_error_and_its_help(self):
        error = {"kind": "client", "message": f"RT is down, {TOKEN}", "help": "wait for it."}
        with Stub(202, {"id": 17, "state": "queued", "error": error}) as stub:
            message = self.refused(TicketClientException, stub)
        self.assertIn("queued, since RT is down, ***; wait for it. Nothing", message)


class Refused(PluginTest):
    def test_each_kind_is_its_exception_whatever_the_status(self):
        kinds = {
            "settings": TicketSettingsException,
            "client": TicketClientException,
            "creation": TicketCreationException,
            "plugin": TicketPluginException,
            "import": TicketPluginException,
            "usage": TicketSettingsException,
        }
        for kind, exception in kinds.items():
            with self.subTest(kind), Stub(418, problem(418, kind, "It failed.", kind=kind)) as stub:
                self.assertEqual(self.refused(exception, stub), "ticket-host: It failed.")

    def test_without_a_kind_the_status_tells_the_exception(self):
        statuses = {
            400: TicketSettingsException,
            403: TicketCreationException,
            408: TicketClientException,
            409: TicketCreationException,
            413: TicketCreationException,
            415: TicketPluginException,
            429: TicketClientException,
            500: TicketPluginException,
            502: TicketClientException,
            503: TicketClientException,
            504: TicketClientException,
        }
        for status, exception in statuses.items():
            for answer in (problem(status, "some", "It failed"), b"<html>", b"", b"[1]", b"[" * 100_000):
                with self.subTest(status, answer=answer[:9] if isinstance(answer, bytes) else answer):
                    with Stub(status, answer) as stub:
                        message = self.refused(exception, stub)
                    self.assertIn("It failed." if isinstance(answer, dict) else f"answered {status}", message)

    def test_a_problem_tells_its_detail_its_help_and_its_job(self):
        answer = problem(403, "creation", "no rights in queue NOC", kind="creation", help="ask RT's admin", job=17)
        with Stub(403, answer) as stub:
            message = self.refused(TicketCreationException, stub)
        self.assertEqual(message, "ticket-host: no rights in queue NOC; ask RT's admin. (job 17)")

    def test_a_wrong_token_is_a_settings_exception(self):
        for status, name in {401: "unauthorized", 403: "forbidden"}.items():
            with self.subTest(status), Stub(status, problem(status, name, "the token is unknown")) as stub:
                message = self.refused(TicketSettingsException, stub)
                self.assertIn("the token is unknown. Set TICKET_AUTHENTICATION_SECRET", message)

    def test_a_place_without_tickets_is_a_settings_exception(self):
        for status in (404, 405):
            with self.subTest(status), Stub(status, b"<html>") as stub:
                self.assertIn("Set TICKET_ENDPOINT", self.refused(TicketSettingsException, stub))

    def test_success_without_a_ticket_is_a_plugin_exception(self):
        for answer in (b"<html>", b"\xff", [], {"ticket": None}, {"ticket": {"url": ""}}, {"ticket": {"url": 5}}):
            with self.subTest(answer), Stub(201, answer) as stub:
                self.assertIn("without a ticket", self.refused(TicketPluginException, stub))

    def test_a_token_in_an_answer_is_not_shown(self):
        with Stub(500, problem(500, "plugin", f"broke on {TOKEN}", kind="plugin", help=f"see {TOKEN}")) as stub:
            self.assertEqual(self.refused(TicketPluginException, stub), "ticket-host: broke on ***; see ***.")

    def test_a_long_message_is_cut(self):
        with Stub(500, problem(500, "plugin", "x" * 100_000)) as stub:
            self.assertEqual(len(self.refused(TicketPluginException, stub)), 2000)

    def test_an_error_is_logged_once(self):
        with Stub(500, problem(500, "plugin", "broke")) as stub:
            self.refused(TicketPluginException, stub)
        self.logged.assert_called_once()


class Unreachable(PluginTest):
    def test_a_refused_connection_is_a_client_exception_that_says_what_to_do(self):
        with socket.socket() as bound:
            # Bound but not listened on: nobody else gets the port, and nobody answers.
            bound.bind(("127.0.0.1", 0))
            stub = SimpleNamespace(url=f"http://127.0.0.1:{bound.getsockname()[1]}")
            message = self.refused(TicketClientException, stub)
        self.assertIn("refused", message)
        self.assertIn("whether the service runs and TICKET_ENDPOINT is its address", message)

    def test_no_answer_in_time_is_a_client_exception(self):
        with mock.patch.object(argus_ticket_host, "GRACE", 0), Stub(before=lambda: time.sleep(1)) as stub:
            began = time.monotonic()
            message = self.refused(TicketClientException, stub, information={"timeout": 0.2})
            self.assertLess(time.monotonic() - began, 0.9)
        self.assertIn("did not answer within 0.2 s", message)
        self.assertIn("no second ticket", message)

    def test_the_service_has_5_seconds_more_than_it_may_wait(self):
        with Stub() as stub, mock.patch.object(socket, "create_connection", wraps=socket.create_connection) as connect:
            self.create(stub, information={"timeout": 7})
        self.assertEqual(connect.call_args.args[1], 12)

    def test_an_answer_that_trickles_ends_in_time(self):
        trickle = iter([b"x"] * 50)
        answer = mock.Mock(length=None, read1=lambda _: time.sleep(0.01) or next(trickle, b""))
        client = argus_ticket_host.Client("http://127.0.0.1:1")
        with self.assertRaises(TimeoutError):
            client._read(answer, time.monotonic() + 0.1)

    def test_an_answer_that_breaks_off_is_a_client_exception(self):
        with Stub(close_early=True) as stub:
            self.assertIn("broke off", self.refused(TicketClientException, stub))

    def test_an_answer_that_is_not_http_is_a_client_exception(self):
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer():
                with server.accept()[0] as connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"SSH-2.0-stub\r\n\r\n")

            threading.Thread(target=answer, daemon=True).start()
            stub = SimpleNamespace(url=f"http://127.0.0.1:{server.getsockname()[1]}")
            self.refused(TicketClientException, stub)

    def test_an_answer_without_end_is_not_read_to_its_end(self):
        with Stub(201, b" " * (8 << 20)) as stub:
            self.assertIn("more than 1048576 bytes", self.refused(TicketPluginException, stub))


class Settings(PluginTest):
    def wrong(self, setting, endpoint="http://127.0.0.1:1", authentication=None, information=None):
        """The message of the exception, which names the setting."""
        message = self.refused(TicketSettingsException, SimpleNamespace(url=endpoint), authentication, information)
        self.assertIn(setting, message)
        return message

    def test_a_missing_endpoint_is_named(self):
        with override_settings(), self.assertRaisesRegex(TicketSettingsException, "TICKET_ENDPOINT is not set"):
            if hasattr(settings, "TICKET_ENDPOINT"):
                del settings.TICKET_ENDPOINT
            TicketHostPlugin.create_ticket(INCIDENT)

    def test_an_endpoint_that_is_no_base_url_is_named(self):
        for endpoint in (
            "127.0.0.1:8620",
            "ftp://host/",
            "http://",
            "http://host:port/",
            "http://host:99999/",
            "http://[::1/",
            "http://a b/",
            "http://a\r\nX: y/",
            "http://åse/",
            "http://host/?a=b",
            "http://host/#a",
            "http://" + 70 * "a" + ".example.org/",
        ):
            with self.subTest(endpoint):
                self.wrong("TICKET_ENDPOINT", endpoint)

    def test_a_password_in_the_endpoint_is_refused_and_not_shown(self):
        for endpoint in (f"http://argus:{TOKEN}@host/", f"http://{TOKEN} @host/"):
            self.wrong("TICKET_ENDPOINT", endpoint)

    def test_an_authentication_that_is_none_is_named(self):
        for authentication in ("token", [], {"token": ""}, {"token": None}, {"token": 5}, {"token": "a\nb"}):
            with self.subTest(authentication):
                self.wrong("TICKET_AUTHENTICATION_SECRET", authentication=authentication)

    def test_a_token_that_cannot_be_sent_is_not_shown(self):
        for token in (f"{TOKEN}\n", f"{TOKEN}å"):
            self.wrong("TICKET_AUTHENTICATION_SECRET", authentication={"token": token})

    def test_another_plugins_secret_is_named_and_not_shown(self):
        message = self.wrong("TICKET_AUTHENTICATION_SECRET", authentication={"username": "a", "password": TOKEN})
        self.assertIn("'username', 'password'", message)

    def test_information_that_is_none_is_named(self):
        for information in ("x", [1], {"backend": ""}, {"backend": 5}, {"bakend": "a"}):
            with self.subTest(information):
                self.wrong("TICKET_INFORMATION", information=information)
        for timeout in (0, -1, 301, "30", True, float("nan"), float("inf"), None):
            with self.subTest(timeout=timeout):
                self.wrong("TICKET_INFORMATION", information={"timeout": timeout})

    def test_settings_but_the_endpoint_may_be_missing(self):
        with Stub() as stub, override_settings(TICKET_ENDPOINT=stub.url):
            self.assertEqual(TicketHostPlugin.create_ticket(INCIDENT), CREATED["ticket"]["url"])


class Identifier(unittest.TestCase):
    def test_a_ticket_is_called_by_its_number_or_key(self):
        for url, identifier in {
            "https://rt.example.org/Ticket/Display.html?id=62": "62",
            "https://github.com/o/r/issues/7": "7",
            "https://gitlab.example.org/o/r/-/work_items/7/": "7",
            "https://gitlab.example.org/groups/g/-/epics/3": "3",
            "https://jira.example.org/browse/NOC-12": "NOC-12",
            "https://other.example.org/x/12": "https://other.example.org/x/12",
            "": "",
        }.items():
            with self.subTest(url):
                self.assertEqual(TicketHostPlugin.get_ticket_identifier(SimpleNamespace(ticket_url=url)), identifier)


if __name__ == "__main__":
    unittest.main()
