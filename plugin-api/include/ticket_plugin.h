/* SPDX-License-Identifier: MIT-0 */
/*
 * ticket_plugin.h - how a ticket host and a ticket plugin talk, ABI version 1.
 *
 * A ticket plugin is a shared library (.so, .dll, .dylib) that exports ONE
 * symbol, `ticket_plugin_entry`. It creates tickets (issues, cases) in one kind
 * of ticket system. The host finds it in a plugin directory, gives it its
 * settings (endpoint, secret, information) as JSON, and asks it for tickets.
 *
 *   entry(abi) -> table --open(settings)--> instance --create(request)--> reply {"url": ...}
 *                                              |  check / find / find_many / update / state / receive / changes
 *                                              +--close
 *
 * The rules, all of them:
 *
 *  R1 Memory. Every pointer that crosses is BORROWED and valid until the function
 *     it was passed to returns. Nobody frees what the other side allocated. What a
 *     plugin has to say, it says with call->reply(), and the host copies it there.
 *  R2 Text. Text is UTF-8 with a length, never NUL-terminated. JSON is text.
 *  R3 Growth. Tables only ever grow at their end. A field exists if it lies within
 *     `size` and, for a function, is not NULL. Ignore JSON members you don't know.
 *  R4 Threads. Calls on one instance never overlap, but may come from different
 *     threads. Different instances may be called at the same time. A `ticket_call`
 *     is only for the thread that received it, and only until that function returns.
 *     Between calls the process is stopped (Linux): threads of yours don't run then.
 *  R5 Unwinding. No exception, panic or longjmp may cross this boundary.
 *  R6 Time. Functions may block. They should return before call->remaining_ms() is 0;
 *     the host may kill the process of a plugin that doesn't.
 *  R7 Unloading. A library is never unloaded; it may be loaded in many processes.
 *
 * Bounds that every host keeps. What is over is refused, unless its line says otherwise:
 *   a manifest and a reply        1 MiB each
 *   a JSON Schema in a manifest   10,000 parts and 512 KiB with each reference written out; references
 *                                 are "#/..." and never lead back to where they stand
 *   a request of http()           256 headers; 256 KiB of method, URL and headers together;
 *                                 (64 KiB of URL, 512 bytes of its host); a body of 16 MiB
 *   `extra` of render()           256 KiB; what is rendered 8 MiB
 *   held for one call             64 MiB of HTTP answers and rendered text
 *   asked in one call             16,384 requests, texts and log lines, 256 MiB together
 *   asked of one call             200 keys of find_many(), 128 KiB of them together; 100 tickets of
 *                                 state(); a key has 1 to 1000 characters, no control characters
 *   asked in a row                1,000 calls of one search of find_many(), 20 of changes()
 *   named by one call             500 tickets by changes(), 100 by receive()
 *   a ticket's "id"               256 bytes, no control characters; another one is left out, with a warning
 *   kept for the plugin           4 KiB of a "cursor"
 *   a webhook for receive()       64 KiB of URL and headers, a body of 256 KiB, an answer of 4 KiB
 *   log()                         16 KiB a line (the rest is cut); 1,000 lines and 256 KiB
 *                                 a call (the rest is dropped, which the host logs)
 *   printed                       standard output and error are slowed down beyond 2 MiB;
 *                                 a process that goes on is killed
 *   shown to a person, kept       8 KiB of an error's message, 16 KiB of each of a ticket's lists,
 *                                 32 KiB of a check's lines (the rest is cut, which the host says)
 */
#ifndef TICKET_PLUGIN_H
#define TICKET_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TICKET_PLUGIN_ABI_VERSION 1u
/* The day of the newest addition to this header. Fill tables in by name (.size = ...): what your header adds later is NULL then. */
#define TICKET_PLUGIN_HEADER 20261126L

/* UTF-8 text or bytes. `ptr` may be anything if `len` is 0. */
typedef struct ticket_str {
   const uint8_t *ptr;
   size_t         len;
} ticket_str;

/* What a function returns: an int32_t, so that a new value is never undefined behaviour.
 * On the four errors the reply is an error object:
 *   {"message": "...", "retry": "never" | "later" | "unknown", "retry_after_ms": 30000}
 * "never":   nothing was created, and the same call would fail again (the default).
 * "later":   nothing was created, and trying again can help (network, 429, 503).
 * "unknown": the ticket MAY exist (the request was sent, its answer was not seen);
 *            the host calls find() before it tries again.
 * Of update() they say the same of the step: NOTHING of it was written, or it MAY have been. If its
 * comment is written and the rest was not, add "partial": true; then they speak of the rest.
 * Once a request of create() or update() other than GET, HEAD and OPTIONS was answered 408 or 5xx, or
 * came to TICKET_HTTP_UNKNOWN, the host reads "never" and "later" as "unknown", unless the manifest's
 * "not_done" has the status, or the request had the flag TICKET_HTTP_CHANGES_NOTHING.
 * All other functions change nothing: there "unknown" means "later". */
enum {
   TICKET_OK             = 0,
   TICKET_SETTINGS_ERROR = 1, /* the settings are wrong: a person must change them      */
   TICKET_CLIENT_ERROR   = 2, /* the ticket system can't be reached, or is overloaded   */
   TICKET_CREATION_ERROR = 3, /* the ticket system refused (permission, missing field), also in update() */
   TICKET_PLUGIN_ERROR   = 4, /* anything else: a bug, an answer nobody understands     */
   TICKET_NOT_FOUND      = 5, /* find: certainly no such ticket; update: it certainly is gone. A failed
                                 search is not this, nor what can mean a lost permission (often 404) */
   TICKET_UNSUPPORTED    = 6  /* this plugin doesn't do that: the same as a NULL function */
};

enum { TICKET_LOG_ERROR = 1, TICKET_LOG_WARN = 2, TICKET_LOG_INFO = 3, TICKET_LOG_DEBUG = 4, TICKET_LOG_TRACE = 5 };

typedef struct ticket_header { ticket_str name, value; } ticket_header;

typedef struct ticket_http_request {
   uint32_t             size;         /* sizeof(ticket_http_request) */
   uint32_t             header_count;
   ticket_str           method;       /* "GET", "POST", ... */
   ticket_str           url;          /* absolute; its origin must be one the operator allows */
   const ticket_header *headers;      /* may be NULL if header_count is 0 */
   ticket_str           body;
   uint32_t             flags;        /* TICKET_HTTP_*, or 0; since 2026-11-26 */
   uint32_t             reserved;     /* 0 */
} ticket_http_request;

/* The flags of a request. */
enum {
   TICKET_HTTP_CHANGES_NOTHING = 1 /* whatever its method, it creates and changes nothing that a ticket is made
                                      of: a login, or a search by POST. Without its answer nothing is in doubt */
};

typedef struct ticket_http_response {
   uint32_t             size;         /* set by the caller: sizeof(ticket_http_response) */
   uint32_t             header_count;
   uint32_t             status;       /* 200, 404, ...; 0 if no answer came */
   uint32_t             reserved;     /* 0 */
   const ticket_header *headers;      /* UTF-8; names in lower case */
   ticket_str           body;         /* bytes, whole; the host bounds their number. If no answer
                                         came: why not, in UTF-8 for the error message */
} ticket_http_response;

/* What http() returns; take a value that you don't know for TICKET_HTTP_UNKNOWN. Redirects are
 * not followed: a 3xx is an answer like any other. Nothing is tried twice: a Retry-After is yours
 * to pass on as "retry_after_ms". */
enum {
   TICKET_HTTP_OK       = 0, /* an answer came, whatever its status                        */
   TICKET_HTTP_NOT_SENT = 1, /* refused, resolved or connected badly: nothing reached it   */
   TICKET_HTTP_UNKNOWN  = 2, /* sent, and no whole answer seen: it may have been carried out */
   TICKET_HTTP_DENIED   = 3, /* the host's policy forbids this URL; do not retry           */
   TICKET_HTTP_DRY_RUN  = 4  /* a dry run: the request was shown to the operator and not sent.
                                Go on if you can do without its answer, else return
                                TICKET_CLIENT_ERROR */
};

/* The host's side of one call. */
typedef struct ticket_call {
   uint32_t size;
   uint32_t reserved; /* 0 */
   void    *host;     /* the host's own; pass the ticket_call back, not this */

   /* Hand over the reply, a JSON object. The last one counts. */
   void (*reply)(const struct ticket_call *call, ticket_str json);

   /* Log a line for the operator. The host strikes out the secret's values. */
   void (*log)(const struct ticket_call *call, uint32_t level, ticket_str message);

   /* Time left, in milliseconds; 0 when it is over or the call was cancelled. */
   uint64_t (*remaining_ms)(const struct ticket_call *call);

   /* Do one HTTP exchange over the host's connection pool, TLS, proxy and limits.
    * Blocks. Returns TICKET_HTTP_*. The response's memory is valid until this
    * plugin function returns. Denied during open(). Set response->size and zero the
    * rest: a call that breaks rule R4 is denied and leaves it as it was. */
   int32_t (*http)(const struct ticket_call *call, const ticket_http_request *request,
                   ticket_http_response *response);

   /* Render one of the operator's templates for the incident of this call: "title" or
    * "body" of a ticket, "comment" or "closing", which is the last one of a ticket. All
    * but a title are made in `format` ("markdown", "html" or "text"); a title is
    * always one line of plain text. In Markdown, what stands in the incident has a
    * backslash before each sign that could mean something. `extra` is a JSON object that the template sees
    * too, for example {"missing_fields": ["location"], "warnings": ["..."]}.
    * Returns TICKET_OK and sets *out, valid until this plugin function returns; else
    * *out says why not. Only create(), find() and update() have an incident to render. */
   int32_t (*render)(const struct ticket_call *call, ticket_str part, ticket_str format,
                     ticket_str extra, ticket_str *out);
} ticket_call;

/* The plugin's side. One static table for each library. */
typedef struct ticket_plugin {
   uint32_t size;        /* sizeof(ticket_plugin) as the plugin was compiled */
   uint32_t abi_version; /* TICKET_PLUGIN_ABI_VERSION as the plugin was compiled */

   /* A JSON object: {"name": "jira", "version": "1.2.0", "vendor": "...", "license": "...",
    * "description": "...", "homepage": "...", "sdk": "...", "aliases": [...], "dry_run": true,
    * "not_done": [503], "settle_seconds": 30, "actions": ["comment", "close", "reopen"], "marks": true,
    * "secret_schema": {JSON Schema}, "information_schema": {JSON Schema},
    * "permissions": [{"permission": "write", "what": "...", "why": "..."}]}.
    * Only the name is required: 1 to 64 of a-z, 0-9, '-', '_', beginning with a letter.
    * "sdk" names what the plugin was made with, and its version, if that is not this header alone.
    * The values of the settings' `secret` are struck out of everything that the operator
    * sees, but for properties whose schema says {"x-ticket-public": true} (a user name).
    * `permissions` names what the plugin does beside http() (read, write, env, exec,
    * jit, network); "dry_run" says that such a plugin heeds the request's "dry_run".
    * "not_done" has the statuses, of 408 and 5xx, of which the ticket system promises that a
    * request which it answers so was not carried out; "settle_seconds" says for how many seconds after
    * a ticket or a comment was written a search may still miss it: at most 3600. "actions" names what update() can do, which is called
    * for nothing else; "marks" says that it finds a comment of its own again: see there. */
   ticket_str manifest;

   /* Make an instance for one backend. `settings` is
    *   {"endpoint": "https://...", "secret": {...}, "information": {...},
    *    "host": {"name": "ticket-host", "version": "0.1.0"}}
    * already valid by the manifest's schemas. Store it in *instance. No network.
    * After an error the instance does not exist: close() is not called. */
   int32_t (*open)(const ticket_call *call, ticket_str settings, void **instance);
   void (*close)(void *instance);

   /* Can tickets be created with these settings (reachable, authenticated, the queue or
    * project exists)? Creates nothing. Returns TICKET_OK also when a check fails. Reply:
    * {"checks": [{"name": "queue", "ok": false, "message": "...", "help": "..."}]} */
   int32_t (*check)(void *instance, const ticket_call *call);

   /* Create a ticket. `request`:
    *   {"incident": {...}, "key": "...", "not_before": "2026-11-23T07:00:00Z", "dry_run": false}
    * Put `key` where find() can find it. No ticket of this key is older than "not_before"; without
    * one nobody knows how old it may be. Times are in UTC (RFC 3339), by the host's clock: leave
    * room for one that differs from the ticket system's. Reply:
    *   {"url": "...", "id": "...", "missing_fields": [], "warnings": []}
    * The url is absolute, http or https (or of the endpoint's own scheme), and at most 4096
    * bytes without white space; without one the reply is an error, and the ticket may exist.
    * With "dry_run": true nothing may be created. A plugin that needs only http() gets that
    * for nothing (TICKET_HTTP_DRY_RUN); any other replies {"preview": "what it would make"}. */
   int32_t (*create)(void *instance, const ticket_call *call, ticket_str request);

   /* Optional. The ticket that was created with this request's "key" (the request is
    * create()'s), with create()'s reply, or TICKET_NOT_FOUND. */
   int32_t (*find)(void *instance, const ticket_call *call, ticket_str request);

   /* What follows was added on 2026-11-26. All of it is optional (rule R3). */

   /* The tickets of many keys at once, by listings that they share. `request`:
    *   {"keys": [{"key": "...", "not_before": "...", "not_after": "..."}], "cursor": "..."}
    * in the order of "not_before", the keys without one first. "not_after" is the latest time at which
    * such a ticket can have been made, if that is known: leave room for clocks there, too. Reply:
    *   {"found": [{"key": "...", "ticket": {"url": "...", "id": "..."}}], "none": ["..."],
    *    "cursor": "...", "retry_after_ms": 30000}
    * A key in "none" certainly has no ticket; one in neither list was not found out. Tickets in EVERY
    * state count; keys are equal byte for byte; of several tickets with one key take the oldest. List by
    * id or by time of creation, and go on behind the last one seen, not at a page's number: what is made
    * or deleted meanwhile must not hide another.
    * With a "cursor", a text of your own, the host asks again for the keys that are left and hands it
    * back as it was. Reply one before remaining_ms() is 0, before the answers of this call come to 64 MiB,
    * and when a page doesn't come ("retry_after_ms": the host waits so long). It may come to another
    * instance or process, never to another library file or other settings. If you can't use it, begin
    * anew. Name in "none" only what no page of the whole search had. */
   int32_t (*find_many)(void *instance, const ticket_call *call, ticket_str request);

   /* Carry out ONE step of a ticket's life. `request`:
    *   {"ticket": {"url": "...", "id": "..."}, "key": "...", "incident": {...}, "again": false,
    *    "step": {"id": "...", "action": "comment", "diff": {"level": {"from": 3, "to": 1}},
    *             "fields": {...}}, "dry_run": false}
    * A ticket that a person named has no key, and maybe no id. "comment" and "reopen" say what render()
    * makes of "comment", "close" what it makes of "closing"; if that is empty, write no comment. "diff" is
    * what differs from what the ticket was told last, by the incident's attributes (null: it wasn't
    * there). "fields" is what the operator wants to be set at closing.
    * The step's id (1 to 64 of a-z, 0-9, '-'; nobody can guess it) goes onto the comment where readers see
    * least of it. Where one request can carry comment and state, send one; else first the comment, then
    * the state. Write nothing to a ticket that is closed already, and nothing to one that is to be
    * reopened and is open: it is a person's then ("done": false).
    * With "again", which stays set for all further tries, an earlier one may have written something. Look
    * for the step's id in ALL comments (a page that fails is an error): if it is there, do what is missing,
    * else go on as if "again" were false. Without "marks" in the manifest the host leaves a step that is
    * unknown or partial to a person. Reply:
    *   {"done": true, "state": "closed"}     the step is carried out, by this call or an earlier one
    *   {"done": false, "state": "closed"}    nothing was written: the ticket was in that state before
    * with a state of state(), and "warnings" and "preview" as create() has them. After "close" the state is
    * "closed" or "cancelled", after "reopen" "open": read it back where the answer doesn't show it.
    * TICKET_NOT_FOUND: the ticket is gone, which the host believes once state() says so, too.
    * TICKET_UNSUPPORTED: this action never works with this backend, and nothing was done. */
   int32_t (*update)(void *instance, const ticket_call *call, ticket_str request);

   /* In which state tickets are. `request`: {"tickets": [{"url": "...", "id": "...", "key": "..."}]}, each
    * url once; a ticket that a person named has a url alone. Reply, of each the "url" as it was asked for:
    *   {"tickets": [{"url": "...", "id": "...", "state": "open", "by": "...", "at": "...", "detail": "...",
    *                 "moved": {"url": "...", "id": "..."}}], "retry_after_ms": 30000}
    * "state": "open", "closed" (done), "cancelled" (closed, and not done), "gone" (certainly deleted, which
    * a 404 that can mean a lost permission doesn't say), "foreign" (not in what this backend's settings
    * name). "by", "at" (RFC 3339) and "detail" are who, when, and the ticket system's own word, where it
    * tells. "moved" is where the ticket is now. A ticket that is missing was not found out: leave out what
    * time or a limit keeps you from asking. An "id" other than the one asked for counts only with "moved". */
   int32_t (*state)(void *instance, const ticket_call *call, ticket_str request);

   /* A webhook of the ticket system came. `request`: {"method": "POST", "url": "https://...",
    * "headers": [["name", "value"], ...]}: the URL as it was called; all headers that are UTF-8, names in
    * lower case; `body` is bytes, as signed. It comes to an instance of its own, for which http() is
    * denied. Compare signatures in constant time, and refuse a signed time that is over 5 minutes old.
    * Reply: which tickets to ask state() for, by one of the two or both,
    *   {"tickets": [{"url": "...", "id": "..."}], "answer": "..."}
    * where "answer" is a text that the sender waits for (a handshake); or {"forged": "why"} if it isn't signed
    * as the settings say. If they have no secret for webhooks, all are forged. */
   int32_t (*receive)(void *instance, const ticket_call *call, ticket_str request, ticket_str body);

   /* Which tickets have changed, whoever made them. `request`: {"cursor": "..."}, a text of your own from
    * the last reply; without it only say from where on. Reply: which tickets to ask state() for,
    *   {"tickets": [{"url": "...", "id": "..."}], "cursor": "...", "more": false, "gap": false,
    *    "retry_after_ms": 30000}
    * With "more" the host asks again at once; stop at 512 KiB of reply. "gap": some may have been missed (a
    * token that expired, or that you don't understand): the host asks state() for all. The cursor is kept
    * over restarts and new versions of the library, not over other settings. Rather name a ticket twice
    * than never: times of ticket systems are coarse, and lag. */
   int32_t (*changes)(void *instance, const ticket_call *call, ticket_str request);
} ticket_plugin;

#if defined(_WIN32)
#define TICKET_PLUGIN_EXPORT __declspec(dllexport)
#else
#define TICKET_PLUGIN_EXPORT __attribute__((visibility("default")))
#endif

/* The one exported symbol. Returns the table, or NULL if this library can't serve a
 * host of that ABI version. Does nothing else, and never fails otherwise. */
TICKET_PLUGIN_EXPORT const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version);

#ifdef __cplusplus
}
#endif
#endif
