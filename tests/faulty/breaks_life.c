/* A plugin for the ticket system that validate/breaks_life.toml describes, with the functions that come after a ticket's
 * creation. It is correct but for one rule, by which it fails one case of the validator: the case that
 * `information.breaks` names. */
#define _POSIX_C_SOURCE 200809L
#include "ticket_plugin_helpers.h"

static const char manifest[] = "{\"name\": \"breaks_life\", \"version\": \"1\", \"license\": \"MIT\","
   " \"description\": \"breaks one rule of a ticket's life\", \"actions\": [\"comment\", \"close\", \"reopen\"], \"marks\": true,"
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\": {\"type\": \"string\","
   " \"description\": \"sent as it is\"}}}, \"information_schema\": {\"type\": \"object\"}}";

typedef struct desk { ticket_text endpoint, token, breaks; } desk;

/* As much text as a reply may have. */
typedef struct page { size_t len; char bytes[1 << 20]; } page;

static int breaks(const desk *self, const char *what) {
   return self->breaks.len == strlen(what) && memcmp(self->breaks.bytes, what, self->breaks.len) == 0;
}

static int is(ticket_str text, const char *what) { return text.len == strlen(what) && memcmp(text.ptr, what, text.len) == 0; }

static int same(ticket_str a, ticket_str b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }

static int has(ticket_str text, const char *what) {
   for (size_t i = 0; i + strlen(what) <= text.len; i++)
      if (memcmp(text.ptr + i, what, strlen(what)) == 0) return 1;
   return 0;
}

/* The JSON of a member, without the white space around it. */
static ticket_str member(ticket_str object, const char *name) {
   ticket_str value = ticket_member(object, name);
   while (value.len > 0 && *value.ptr <= ' ') value.ptr++, value.len--;
   while (value.len > 0 && value.ptr[value.len - 1] <= ' ') value.len--;
   return value;
}

static ticket_text text(ticket_str object, const char *name) {
   ticket_text out = {0};
   ticket_put_unescaped(&out, member(object, name));
   return out;
}

static void put(page *to, ticket_str what) {
   if (to->len + what.len > sizeof to->bytes) return;
   memcpy(to->bytes + to->len, what.ptr, what.len);
   to->len += what.len;
}

static void say(page *to, const char *what) { put(to, ticket_of(what)); }

/* Takes the next object off a list's JSON. */
static int next_object(ticket_str *list, ticket_str *object) {
   int depth = 0, quoted = 0;
   for (size_t i = 0, start = 0; i < list->len; i++) {
      const uint8_t c = list->ptr[i];
      if (quoted && c == '\\') { i++; continue; }
      if (c == '"') quoted = !quoted;
      if (quoted) continue;
      if (c == '{' && depth++ == 0) start = i;
      if (c == '}' && --depth == 0) {
         *object = (ticket_str){list->ptr + start, i + 1 - start};
         *list = (ticket_str){list->ptr + i + 1, list->len - i - 1};
         return 1;
      }
   }
   return 0;
}

static int32_t open_desk(const ticket_call *call, ticket_str settings, void **instance) {
   desk *self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   self->endpoint = text(settings, "endpoint");
   self->token = text(ticket_member(settings, "secret"), "token");
   self->breaks = text(ticket_member(settings, "information"), "breaks");
   return *instance = self, TICKET_OK;
}

static ticket_exchange ask(desk *self, const ticket_call *call, const char *method, const char *path, ticket_str rest, ticket_str body) {
   ticket_text url = self->endpoint;
   while (url.len > 0 && url.bytes[url.len - 1] == '/') url.len--;
   ticket_put(&url, ticket_of(path), TICKET_AS_IS);
   ticket_put(&url, rest, TICKET_IN_URL);
   const ticket_header headers[] = {{ticket_of("authorization"), ticket_view(&self->token)},
                                    {ticket_of("content-type"), ticket_of("application/json")}};
   return ticket_http(call, method, ticket_view(&url), headers, body.len > 0 ? 2 : 1, body);
}

static int32_t check(void *instance, const ticket_call *call) {
   const ticket_exchange done = ask(instance, call, "GET", "/desk", ticket_of(""), ticket_of(""));
   return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"desk\", \"message\": \"", done.what, done.why,
                       done.response.status == 200 ? "\", \"ok\": true}]}" : "\", \"ok\": false}]}");
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   ticket_text body = {0};
   ticket_put(&body, ticket_of("{\"key\": "), TICKET_AS_IS);
   ticket_put(&body, member(request, "key"), TICKET_AS_IS);
   ticket_put(&body, ticket_of("}"), TICKET_AS_IS);
   const ticket_exchange done = ask(instance, call, "POST", "/tickets", ticket_of(""), ticket_view(&body));
   if (done.response.status / 100 != 2) return ticket_http_error(call, &done);
   const ticket_text id = text(done.response.body, "id");
   if (id.len == 0) return ticket_fail(call, TICKET_PLUGIN_ERROR, "unknown", "no id in the answer", ticket_of(""));
   ticket_text reply = {0};
   ticket_put(&reply, ticket_of("{\"url\": \"https://desk.example.org/t/"), TICKET_AS_IS);
   ticket_put(&reply, ticket_view(&id), TICKET_IN_JSON);
   ticket_put(&reply, ticket_of("\", \"id\": \""), TICKET_AS_IS);
   ticket_put(&reply, ticket_view(&id), TICKET_IN_JSON);
   ticket_put(&reply, ticket_of("\"}"), TICKET_AS_IS);
   call->reply(call, ticket_view(&reply));
   return TICKET_OK;
}

/* Whether two keys' JSON is that of one key. */
static int same_key(const desk *self, ticket_str a, ticket_str b) {
   if (!breaks(self, "find-many")) return same(a, b);
   for (size_t i = 0; i < a.len && i < b.len; i++)
      if ((a.ptr[i] | 0x20) != (b.ptr[i] | 0x20)) return 0;
   return a.len == b.len;
}

/* Replies what a page of the list of all tickets has of the keys. What it hasn't is none if this is the first page and
 * the last: no page before it is remembered. */
static int32_t tell(desk *self, const ticket_call *call, ticket_str keys, ticket_str list, int whole, ticket_str next, page *out) {
   ticket_str key, ticket;
   const char *comma = "";
   page *none = calloc(1, sizeof *none);
   if (none == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   say(out, "{\"found\": [");
   while (next_object(&keys, &key)) {
      ticket_str left = list;
      int found = 0;
      while (!found && next_object(&left, &ticket)) found = same_key(self, member(key, "key"), member(ticket, "key"));
      if (found) {
         const ticket_text number = text(ticket, "number");
         say(out, comma);
         say(out, "{\"key\": ");
         put(out, member(key, "key"));
         say(out, ", \"ticket\": {\"url\": \"https://desk.example.org/t/");
         put(out, ticket_view(&number));
         say(out, "\"}}");
         comma = ", ";
      } else if (whole) {
         say(none, none->len > 0 ? ", " : "");
         put(none, member(key, "key"));
      }
   }
   say(out, "], \"none\": [");
   put(out, (ticket_str){(const uint8_t *)none->bytes, none->len});
   say(out, "]");
   if (next.len > 0) say(out, ", \"cursor\": "), put(out, next);
   say(out, "}");
   call->reply(call, (ticket_str){(const uint8_t *)out->bytes, out->len});
   free(none);
   return TICKET_OK;
}

static int32_t find_many(void *instance, const ticket_call *call, ticket_str request) {
   desk *self = instance;
   const ticket_str keys = member(request, "keys");
   const ticket_text cursor = text(request, "cursor");
   ticket_str left = keys, key;
   ticket_exchange done = ask(self, call, "GET", "/all?page=", ticket_view(&cursor), ticket_of(""));
   while (breaks(self, "find-many-shared") && next_object(&left, &key)) done = ask(self, call, "GET", "/all?page=", ticket_of(""), ticket_of(""));
   const int failed = done.response.status != 200 || !has(done.response.body, "\"tickets\"");
   if (failed && !breaks(self, "find-many-unclear"))
      return ticket_fail(call, TICKET_CLIENT_ERROR, "later", done.what, done.why);
   page *out = calloc(1, sizeof *out);
   if (out == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   const ticket_str list = member(done.response.body, "tickets"), next = member(done.response.body, "next");
   const int whole = (next.len == 0 && cursor.len == 0) || breaks(self, "find-many-paged");
   const int32_t code = tell(self, call, keys, list, whole, next, out);
   free(out);
   return code;
}

/* Writes the comment of a step. */
static ticket_exchange comment(desk *self, const ticket_call *call, const char *path, ticket_str step, ticket_str said) {
   ticket_text body = {0};
   ticket_put(&body, ticket_of("{\"mark\": \""), TICKET_AS_IS);
   ticket_put(&body, step, TICKET_IN_JSON);
   ticket_put(&body, ticket_of("\", \"text\": \""), TICKET_AS_IS);
   if (said.len > 4000) for (said.len = 4000; (said.ptr[said.len] & 0xc0) == 0x80;) said.len--;
   if (!breaks(self, "update-text")) ticket_put(&body, said, TICKET_IN_JSON);
   ticket_put(&body, ticket_of("\"}"), TICKET_AS_IS);
   ticket_exchange done = ask(self, call, "POST", path, ticket_of(""), ticket_view(&body));
   if (breaks(self, "update-lost") && done.sent == TICKET_HTTP_UNKNOWN) done = ask(self, call, "POST", path, ticket_of(""), ticket_view(&body));
   return done;
}

static int32_t state_changed(desk *self, const ticket_call *call, const char *path, int close) {
   const ticket_exchange done = ask(self, call, "PUT", path, ticket_of(""), ticket_of(close ? "{\"state\": \"closed\"}" : "{\"state\": \"open\"}"));
   if (done.response.status / 100 == 2)
      return ticket_reply(call, TICKET_OK, close ? "{\"done\": true, \"state\": \"closed\"}" : "{\"done\": true, \"state\": \"open\"}", "", ticket_of(""), "");
   const int later = done.sent == TICKET_HTTP_NOT_SENT || done.response.status == 429;
   const char *partial = breaks(self, "update-partial") ? "{\"message\": \"" : later ? "{\"partial\": true, \"retry\": \"later\", \"message\": \""
                       : done.response.status / 100 == 4 ? "{\"partial\": true, \"message\": \"" : "{\"partial\": true, \"retry\": \"unknown\", \"message\": \"";
   return ticket_reply(call, TICKET_CREATION_ERROR, partial, done.what, done.why, "\"}");
}

static int32_t update(void *instance, const ticket_call *call, ticket_str request) {
   desk *self = instance;
   const ticket_str step = member(request, "step"), ticket = member(request, "ticket");
   const ticket_text id = text(ticket, "id"), mark = text(step, "id"), action = text(step, "action");
   const int close = is(ticket_view(&action), "close"), reopen = is(ticket_view(&action), "reopen");
   if (!close && !reopen && !is(ticket_view(&action), "comment") && !breaks(self, "update-unknown")) return TICKET_UNSUPPORTED;
   ticket_text path = {0}, comments = {0};
   ticket_put(&path, ticket_of("/tickets/"), TICKET_AS_IS);
   ticket_put(&path, ticket_view(&id), TICKET_IN_URL);
   comments = path;
   ticket_put(&comments, ticket_of("/comments"), TICKET_AS_IS);
   if (id.len == 0 || comments.len + 1 > sizeof comments.bytes) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the ticket has no id", ticket_of(""));
   const char *at = (const char *)path.bytes, *below = (const char *)comments.bytes;
   ticket_exchange done = ask(self, call, "GET", at, ticket_of(""), ticket_of(""));
   if (breaks(self, "update-dry-run") && done.sent == TICKET_HTTP_DRY_RUN)
      return ticket_reply(call, TICKET_OK, "{\"done\": true, \"state\": \"closed\"}", "", ticket_of(""), "");
   if (done.response.status == 410 || (breaks(self, "update-gone") && done.response.status == 404)) return TICKET_NOT_FOUND;
   const ticket_text state = text(done.response.body, "state");
   if (done.response.status != 200 || state.len == 0) return ticket_fail(call, TICKET_CLIENT_ERROR, "later", done.what, done.why);
   const int is_closed = is(ticket_view(&state), "closed");
   int is_there = 0;
   if (has(request, "\"again\":true") && !breaks(self, "update-again")) {
      done = ask(self, call, "GET", below, ticket_of(""), ticket_of(""));
      const int read = done.response.status == 200 && has(done.response.body, "\"comments\"");
      if (!read && !breaks(self, "update-again-page")) return ticket_fail(call, TICKET_CLIENT_ERROR, "later", done.what, done.why);
      is_there = has(done.response.body, (const char *)mark.bytes);
   }
   if (!is_there && is_closed != reopen && !breaks(self, "update-person"))
      return ticket_reply(call, TICKET_OK, is_closed ? "{\"done\": false, \"state\": \"closed\"}" : "{\"done\": false, \"state\": \"open\"}", "", ticket_of(""), "");
   if (breaks(self, "update-order") && close && state_changed(self, call, at, close) != TICKET_OK) return TICKET_CREATION_ERROR;
   if (!is_there) {
      ticket_str said;
      if (call->render(call, ticket_of(close ? "closing" : "comment"), ticket_of("text"), ticket_of(""), &said) != TICKET_OK)
         return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "no text: ", said);
      done = comment(self, call, below, breaks(self, "update-mark") ? ticket_of("") : ticket_view(&mark), said);
      if (breaks(self, "update")) done = comment(self, call, below, ticket_view(&mark), said);
      if (breaks(self, "update-retry") && done.sent == TICKET_HTTP_NOT_SENT) return ticket_fail(call, TICKET_CLIENT_ERROR, "never", done.what, done.why);
      if (done.response.status / 100 != 2) return ticket_http_error(call, &done);
   }
   if (!close && !reopen) return ticket_reply(call, TICKET_OK, "{\"done\": true, \"state\": \"open\"}", "", ticket_of(""), "");
   return state_changed(self, call, at, close);
}

/* What a ticket's URL has after its last slash. */
static ticket_str last(ticket_str url) {
   size_t from = url.len;
   while (from > 0 && url.ptr[from - 1] != '/') from--;
   return (ticket_str){url.ptr + from, url.len - from};
}

static int32_t state(void *instance, const ticket_call *call, ticket_str request) {
   desk *self = instance;
   ticket_str list = member(request, "tickets"), ticket;
   const char *comma = "";
   page *out = calloc(1, sizeof *out);
   if (out == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   if (breaks(self, "odd-requests") && !has(list, "{")) abort();
   say(out, "{\"tickets\": [");
   while (next_object(&list, &ticket)) {
      const ticket_text url = text(ticket, "url");
      const ticket_exchange done = ask(self, call, "GET", "/tickets/", last(ticket_view(&url)), ticket_of(""));
      const ticket_text its = text(done.response.body, "state");
      const int failed = breaks(self, "state-unclear") && done.response.status == 404;
      const char *word = done.response.status == 410 || failed ? "gone" : NULL;
      if (done.response.status == 200 && is(ticket_view(&its), "open")) word = "open";
      if (done.response.status == 200 && is(ticket_view(&its), "closed")) word = breaks(self, "state") ? "open" : "closed";
      if (word == NULL) continue;
      say(out, comma);
      say(out, "{\"url\": ");
      put(out, member(ticket, "url"));
      say(out, ", \"state\": \"");
      say(out, word);
      say(out, "\"}");
      comma = ", ";
   }
   say(out, "]}");
   call->reply(call, (ticket_str){(const uint8_t *)out->bytes, out->len});
   free(out);
   return TICKET_OK;
}

/* A sum that stands for a signature: a real one is an HMAC, which this would make longer. */
static void sign(const desk *self, ticket_str body, char out[17]) {
   uint64_t sum = 0xcbf29ce484222325u;
   for (size_t i = 0; i < self->token.len; i++) sum = (sum ^ self->token.bytes[i]) * 0x100000001b3u;
   for (size_t i = 0; i < body.len; i++) sum = (sum ^ body.ptr[i]) * 0x100000001b3u;
   snprintf(out, 17, "%016llx", (unsigned long long)sum);
}

static int32_t receive(void *instance, const ticket_call *call, ticket_str request, ticket_str body) {
   desk *self = instance;
   char sum[17], wanted[64];
   sign(self, breaks(self, "receive-body") ? ticket_of("{\"event\": \"closed\", \"id\": \"17\"}") : body, sum);
   /* Half of it is as bad. */
   snprintf(wanted, sizeof wanted, breaks(self, "receive-half") ? "[\"x-signature\",\"%.8s" : "[\"x-signature\",\"%s\"]", sum);
   if (breaks(self, "receive-garbage") && body.len == 0) abort();
   if (!has(request, wanted) && !breaks(self, "receive-forged"))
      return ticket_reply(call, TICKET_OK, "{\"forged\": \"x-signature is missing or wrong\"}", "", ticket_of(""), "");
   const ticket_text id = text(body, breaks(self, "receive") ? "event" : "id");
   return ticket_reply(call, TICKET_OK, "{\"tickets\": [{\"id\": \"", "", ticket_view(&id), "\"}]}");
}

static int32_t changes(void *instance, const ticket_call *call, ticket_str request) {
   desk *self = instance;
   const ticket_text cursor = text(request, "cursor");
   const ticket_exchange done = ask(self, call, "GET", "/changes?since=", ticket_view(&cursor), ticket_of(""));
   const ticket_str now = member(done.response.body, "now");
   if (breaks(self, "changes-lost") && done.response.status == 500)
      return ticket_reply(call, TICKET_OK, "{\"tickets\": [], \"cursor\": \"now\"}", "", ticket_of(""), "");
   if (done.response.status != 200 || now.len < 3) return ticket_fail(call, TICKET_CLIENT_ERROR, "later", done.what, done.why);
   ticket_text reply = {0};
   ticket_put(&reply, ticket_of("{\"cursor\": "), TICKET_AS_IS);
   ticket_put(&reply, now, TICKET_AS_IS);
   ticket_put(&reply, ticket_of(", \"tickets\": "), TICKET_AS_IS);
   ticket_put(&reply, breaks(self, "changes") || cursor.len == 0 ? ticket_of("[]") : member(done.response.body, "tickets"), TICKET_AS_IS);
   ticket_put(&reply, ticket_of("}"), TICKET_AS_IS);
   call->reply(call, ticket_view(&reply));
   return TICKET_OK;
}

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_desk,
   .close = free,
   .check = check,
   .create = create,
   .find_many = find_many,
#ifndef BREAKS_UPDATE_OFFERED
   .update = update,
#endif
   .state = state,
   .receive = receive,
   .changes = changes,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   (void)update;
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
