"""Argus's tickets, made by a ticket-host service: Argus hands an incident over, the service does the rest.

Errors are those that Argus tells apart. A token is never part of one.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import time
from http.client import HTTPException
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPErrorProcessor, ProxyHandler, Request, build_opener

from argus.incident.models import Incident
from argus.incident.ticket.base import (
    TicketClientException,
    TicketCreationException,
    TicketPlugin,
    TicketPluginException,
    TicketSettingsException,
)
from django.conf import settings
from rest_framework.utils.encoders import JSONEncoder

LOG = logging.getLogger(__name__)

__version__ = "0.1.0"
__all__ = ["TicketHostPlugin"]

DEFAULT_TIMEOUT = 30
# The service waits no longer.
LONGEST_TIMEOUT = 300
# Seconds between the end of the service's waiting and the end of ours.
GRACE = 5
# Bytes of an answer.
LARGEST_ANSWER = 1 << 20
# Characters of an error's message: Argus's pages carry it in a cookie.
LONGEST_MESSAGE = 2000

BY_KIND = {
    "settings": TicketSettingsException,
    "client": TicketClientException,
    "creation": TicketCreationException,
    "plugin": TicketPluginException,
    # Argus 2.10 breaks on its own exception for imports.
    "import": TicketPluginException,
    # A backend that isn't in the host's config, most likely: Argus's incidents are sound.
    "usage": TicketSettingsException,
}
# Answers without a kind: of the service's door, or of a proxy before it.
BY_STATUS = {
    400: TicketSettingsException,
    401: TicketSettingsException,
    403: TicketCreationException,
    408: TicketClientException,
    # A person cancelled the ticket.
    409: TicketCreationException,
    # The incident has more bytes than the service takes.
    413: TicketCreationException,
    429: TicketClientException,
    502: TicketClientException,
    503: TicketClientException,
    504: TicketClientException,
}


class TicketHostPlugin(TicketPlugin):
    @classmethod
    def import_settings(cls):
        """Returns the endpoint, the authentication and the ticket information, all of them valid.

        Argus's own version refuses an empty authentication, with which a service on the loopback is content.
        """
        return (
            _endpoint(getattr(settings, "TICKET_ENDPOINT", None)),
            _authentication(getattr(settings, "TICKET_AUTHENTICATION_SECRET", None)),
            _information(getattr(settings, "TICKET_INFORMATION", None)),
        )

    @staticmethod
    def create_client(endpoint, authentication):
        return Client(endpoint, authentication.get("token"))

    @classmethod
    def create_ticket(cls, serialized_incident: dict):
        """Returns the URL of the incident's ticket, of which there is one however often this is called."""
        try:
            endpoint, authentication, information = cls.import_settings()
            client = cls.create_client(endpoint, authentication)
            return client.create(serialized_incident, information["backend"], information["timeout"])
        except TicketPluginException as error:
            # Argus shows it to the user who asked, and to nobody else.
            LOG.error("%s", error)
            raise

    @staticmethod
    def get_ticket_identifier(incident: Incident):
        """The number or key at the end of the ticket's URL, where it's known to be one."""
        found = re.search(r"(?:/issues/|/work_items/|/epics/|/browse/|[?&]id=)([\w-]+)/?$", incident.ticket_url)
        return found[1] if found else incident.ticket_url


def _endpoint(endpoint) -> str:
    mend = "Set TICKET_ENDPOINT to the ticket-host service's base URL, like 'http://127.0.0.1:8620/'."
    if not endpoint:
        raise TicketSettingsException(f"TICKET_ENDPOINT is not set. {mend}")
    # Its value is not shown: there may be a password in it.
    if not isinstance(endpoint, str) or not re.fullmatch(r"[!-~]+", endpoint):
        raise TicketSettingsException(f"TICKET_ENDPOINT is not a text of plain characters without spaces. {mend}")
    try:
        parts = urlsplit(endpoint)
        # Raises if it is no number, or none that a port may have.
        parts.port  # noqa: B018
    except ValueError:
        raise TicketSettingsException(f"TICKET_ENDPOINT is no URL. {mend}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TicketSettingsException(f"TICKET_ENDPOINT is no http:// or https:// URL with a host. {mend}")
    if "@" in parts.netloc:
        raise TicketSettingsException(
            "TICKET_ENDPOINT holds a user name or password. Remove it: "
            "the service takes a token, in TICKET_AUTHENTICATION_SECRET."
        )
    if "?" in endpoint or "#" in endpoint:
        raise TicketSettingsException(f"TICKET_ENDPOINT has a query or a fragment. {mend}")
    return endpoint.rstrip("/")


def _authentication(authentication) -> dict:
    mend = """Set TICKET_AUTHENTICATION_SECRET to {"token": "..."}, or to {} if the service runs without tokens."""
    given = _members("TICKET_AUTHENTICATION_SECRET", authentication, ("token",), mend)
    token = given.get("token")
    # Anything else can't be in a header; http.client's own error would show it.
    if "token" in given and not (isinstance(token, str) and re.fullmatch(r"[!-~]+", token)):
        raise TicketSettingsException(
            "TICKET_AUTHENTICATION_SECRET: the token is empty, or not a text of plain characters "
            f"without spaces and line ends. {mend}"
        )
    return given


def _information(information) -> dict:
    mend = """Set TICKET_INFORMATION to {"backend": "NAME", "timeout": SECONDS}, or leave out either or both."""
    given = _members("TICKET_INFORMATION", information, ("backend", "timeout"), mend)
    backend = given.get("backend")
    if backend is not None and not (isinstance(backend, str) and backend):
        raise TicketSettingsException(f"TICKET_INFORMATION: the backend is no name. {mend}")
    timeout = given.get("timeout", DEFAULT_TIMEOUT)
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
        # False for NaN, too.
        or not 0 < timeout <= LONGEST_TIMEOUT
    ):
        raise TicketSettingsException(
            f"TICKET_INFORMATION: the timeout is no number of seconds up to {LONGEST_TIMEOUT}. {mend}"
        )
    return {"backend": backend, "timeout": timeout}


def _members(setting: str, value, known: tuple[str, ...], mend: str) -> dict:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TicketSettingsException(f"{setting} is no dictionary. {mend}")
    # Names only: a value may be a secret.
    unknown = ", ".join(repr(name) for name in value if name not in known)
    if unknown:
        raise TicketSettingsException(
            f"{setting} has {unknown}, which means nothing here. {mend} "
            "What a ticket system needs to be told is in ticket-host's own config."
        )
    return value


class Client:
    """A ticket-host service."""

    def __init__(self, endpoint: str, token: str | None = None):
        self.url = f"{endpoint}/v1/tickets"
        self.token = token
        proxies = ProxyHandler({}) if _is_loopback(urlsplit(endpoint).hostname) else ProxyHandler()
        self.opener = build_opener(proxies, EveryAnswer)

    def create(self, incident: dict, backend: str | None, timeout: float) -> str:
        """Returns the ticket's URL.

        `timeout`: how many seconds the service may take to make the ticket.
        """
        asked = {"incident": incident, "wait_ms": round(timeout * 1000)}
        if backend is not None:
            asked["backend"] = backend
        status, answer, location = self._exchange(asked, timeout + GRACE)
        try:
            answer = json.loads(answer)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        if status in (200, 201):
            ticket = answer.get("ticket")
            url = ticket.get("url") if isinstance(ticket, dict) else None
            if not url or not isinstance(url, str):
                raise self._error(
                    TicketPluginException,
                    f"{self.url} answered {status} without a ticket. Is TICKET_ENDPOINT a ticket-host service?",
                )
            return url
        if status == 202:
            raise self._queued(answer)
        raise self._refused(status, answer, location)

    def _exchange(self, asked: dict, timeout: float) -> tuple[int, bytes, str | None]:
        """The answer's status, body and Location."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"argus-ticket-host/{__version__}",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        # With the encoder of Argus's own API: an incident holds whatever Argus's serializer makes.
        body = json.dumps(asked, cls=JSONEncoder).encode()
        deadline = time.monotonic() + timeout
        try:
            request = Request(self.url, data=body, headers=headers, method="POST")
            with self.opener.open(request, timeout=timeout) as response:
                return response.status, self._read(response, deadline), response.headers.get("Location")
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                what = f"did not answer within {timeout:g} s"
            else:
                what = f"can't be reached: {str(reason).strip() or type(reason).__name__}"
            raise self._error(
                TicketClientException,
                f"{self.url} {what}. Look whether the service runs and TICKET_ENDPOINT is its address, "
                "then try again: an incident that was accepted all the same gets no second ticket.",
            ) from error
        except ValueError as error:
            # A host's name that can't be one.
            raise self._error(TicketSettingsException, f"TICKET_ENDPOINT can't be used: {error}") from error

    def _read(self, response, deadline: float) -> bytes:
        answer = b""
        while chunk := response.read1(1 << 16):
            answer += chunk
            if len(answer) > LARGEST_ANSWER:
                raise self._error(
                    TicketPluginException,
                    f"{self.url} answered more than {LARGEST_ANSWER} bytes. "
                    "Is TICKET_ENDPOINT a ticket-host service?",
                )
            # The socket's own time-out begins anew with each byte.
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.length:
            raise ConnectionError("the answer broke off")
        return answer

    def _queued(self, job: dict) -> TicketPluginException:
        what = f"the ticket is not made yet: it is job {job.get('id')} of ticket-host, {job.get('state')}"
        error = job.get("error")
        if isinstance(error, dict):
            what += f", since {_sentence(error.get('message'), error.get('help'))}"
        return self._error(
            TicketClientException,
            f"{what.rstrip('.')}. Nothing needs to be done for it; if the host watches this Argus "
            "([argus] in its config), the ticket's URL will be written to the incident when it's there. "
            "Asking again is safe.",
        )

    def _refused(self, status: int, problem: dict, location: str | None) -> TicketPluginException:
        name = str(problem.get("type", "")).rpartition(":")[2]
        detail = problem.get("detail") or problem.get("title")
        kind = BY_KIND.get(str(problem.get("kind")))
        if kind is None and (status == 401 or name in ("unauthorized", "forbidden")):
            return self._error(
                TicketSettingsException,
                f"the service refused the token ({status}): {_sentence(detail, None)} "
                "Set TICKET_AUTHENTICATION_SECRET to "
                """{"token": "..."} with a token of [serve.tokens] in ticket-host's config that has the scope "create".""",
            )
        if kind is None and (300 <= status < 400 or status in (404, 405)):
            elsewhere = f" to {location}, which is not followed" if location else ""
            return self._error(
                TicketSettingsException,
                f"{self.url} answered {status}{elsewhere}. "
                "Set TICKET_ENDPOINT to the base URL of the ticket-host service itself.",
            )
        kind = kind or BY_STATUS.get(status, TicketPluginException)
        if detail:
            message = _sentence(detail, problem.get("help"))
        else:
            message = f"{self.url} answered {status} and nothing that explains it. Look at its log."
        job = problem.get("job")
        return self._error(kind, message if job is None else f"{message} (job {job})")

    def _error(self, kind: type[TicketPluginException], message: str) -> TicketPluginException:
        # Whoever answered was told the token and may tell it again.
        if self.token:
            message = message.replace(self.token, "***")
        return kind(f"ticket-host: {message}"[:LONGEST_MESSAGE])


class EveryAnswer(HTTPErrorProcessor):
    """No status is an error of urllib's, and no redirect is followed: the token would go elsewhere."""

    def http_response(self, request, response):
        return response

    https_response = http_response


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _sentence(message, help_) -> str:
    """What failed and what to do about it, as a text that others can follow."""
    parts = [str(part).strip().rstrip(".") for part in (message, help_) if part]
    return f"{'; '.join(parts) or 'it does not say why'}."
