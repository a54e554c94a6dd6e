/* SPDX-License-Identifier: MIT-0 */
/* {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one. */
#include "ticket_plugin_helpers.h"

static const char manifest[] =
   "{\"name\": \"{{name}}\", \"version\": \"0.1.0\", \"description\": \"Tickets in {{name}}\","
   " \"actions\": [\"comment\", \"close\", \"reopen\"], \"marks\": true,"
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\":"
   " {\"type\": \"string\", \"pattern\": \"^[!-~]+$\", \"description\": \"An API token that may create and list tickets\"},"
   " \"webhook_token\": {\"type\": \"string\", \"minLength\": 16, \"description\": \"What the webhooks have in X-Token\"}}},"
   " \"information_schema\": {\"type\": \"object\", \"required\": [\"project\"], \"properties\": {\"project\":"
   " {\"type\": \"string\", \"minLength\": 1, \"description\": \"The project that tickets go to\"}}}}";

/* ---- The plugin ---- */

typedef struct backend { ticket_text endpoint, authorization, project, webhook_token; } backend;

enum { BEARER = 7 }; /* the length of "Bearer " */

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   if (call == NULL || instance == NULL) return TICKET_PLUGIN_ERROR;
   backend *const self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   const char *wrong = NULL;
   if (ticket_is_json(settings, '{')) {
      ticket_put_unescaped(&self->endpoint, ticket_member(settings, "endpoint"));
      ticket_put(&self->authorization, ticket_of("Bearer "), TICKET_AS_IS);
      ticket_put_unescaped(&self->authorization, ticket_member(ticket_member(settings, "secret"), "token"));
      ticket_put_unescaped(&self->project, ticket_member(ticket_member(settings, "information"), "project"));
      ticket_put_unescaped(&self->webhook_token, ticket_member(ticket_member(settings, "secret"), "webhook_token"));
   }
   if (self->endpoint.len == 0) wrong = "the endpoint is missing, or is no text";
   else if (self->authorization.len == BEARER) wrong = "secret.token is missing, or is no text";
   else if (self->project.len == 0) wrong = "information.project is missing, or is no text";
   else if (!ticket_fits(&self->endpoint) || !ticket_fits(&self->authorization) || !ticket_fits(&self->project) || !ticket_fits(&self->webhook_token))
      wrong = "the endpoint, a token or information.project is over 8 KiB";
   if (wrong != NULL) {
      free(self);
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", wrong, ticket_of(""));
   }
   while (self->endpoint.len > 0 && self->endpoint.bytes[self->endpoint.len - 1] == '/') self->endpoint.len--;
   *instance = self;
   return TICKET_OK;
}

static const ticket_str none = {(const uint8_t *)"", 0};

/* Tickets by their URLs, or what answers for them: a POST, since there can be many, and yet it changes nothing. */
static const char look_up[] = "/lookup";

/* One exchange with {endpoint}{path}{escaped}{rest}. */
static ticket_exchange ask(const backend *self, const ticket_call *call, const char *method, const char *path,
                           ticket_str escaped, ticket_str rest, ticket_str body) {
   ticket_long url = {0};
   ticket_add(&url, ticket_view(&self->endpoint), TICKET_AS_IS);
   ticket_add_text(&url, path);
   ticket_add(&url, escaped, TICKET_IN_URL);
   ticket_add(&url, rest, TICKET_AS_IS);
   ticket_exchange done = {.sent = TICKET_HTTP_NOT_SENT, .why = ticket_of("out of memory")};
   const ticket_header headers[] = {{ticket_of("authorization"), ticket_view(&self->authorization)},
                                    {ticket_of("content-type"), ticket_of("application/json")}};
   const uint32_t flags = path == look_up ? TICKET_HTTP_CHANGES_NOTHING : 0;
   if (!url.failed) done = ticket_http_flagged(call, flags, method, ticket_long_view(&url), headers, body.len > 0 ? 2 : 1, body);
   free(url.ptr);
   return done;
}

/* As ask(), with a body that was grown, which this frees. */
static ticket_exchange send_json(const backend *self, const ticket_call *call, const char *method, const char *path,
                                 ticket_str escaped, ticket_str rest, ticket_long *json) {
   ticket_exchange done = {.sent = TICKET_HTTP_NOT_SENT, .why = ticket_of("out of memory")};
   if (!json->failed) done = ask(self, call, method, path, escaped, rest, ticket_long_view(json));
   free(json->ptr);
   return done;
}

static int contains(ticket_str s, ticket_str part) {
   for (size_t i = 0; i + part.len <= s.len; i++)
      if (memcmp(s.ptr + i, part.ptr, part.len) == 0) return 1;
   return 0;
}

/* What an exchange says for itself: the begin of the answer, unless that has the token. */
static ticket_str why(const backend *self, const ticket_exchange *done) {
   const ticket_str all = ticket_view(&self->authorization), token = {all.ptr + BEARER, all.len - BEARER};
   return contains(done->response.body, token) ? ticket_of("(an answer with the token in it)") : done->why;
}

static uint32_t status_of(const ticket_exchange *done) {
   return done->sent == TICKET_HTTP_OK ? done->response.status : 0;
}

/* `, "retry_after_ms": N` if the answer has a Retry-After in seconds; a day at most. */
static void put_retry_after(char *to, size_t size, const ticket_exchange *done) {
   enum { DAY = 24 * 60 * 60 };
   const ticket_str value = ticket_header_value(&done->response, "retry-after");
   long seconds = 0;
   for (size_t i = 0; i < value.len; i++) {
      if (value.ptr[i] < '0' || value.ptr[i] > '9') return; /* a date: the host looks at that itself */
      seconds = seconds < DAY ? seconds * 10 + (value.ptr[i] - '0') : DAY;
   }
   if (value.len > 0) snprintf(to, size, ", \"retry_after_ms\": %ld", 1000 * (seconds < DAY ? seconds : DAY));
}

/* What a request does. What WRITES may have been carried out where no clear answer came; with WRITES_THE_REST a step's comment
 * is on the ticket already. */
typedef enum effect { READS, WRITES, WRITES_THE_REST } effect;

/* Replies the error that an exchange stands for. */
static int32_t failed(const backend *self, const ticket_call *call, const ticket_exchange *done, effect effect) {
   const uint32_t status = status_of(done);
   const int dry = done->sent == TICKET_HTTP_DRY_RUN;
   const char *begin = "{\"message\": \"", *what = "no answer: ", *retry = "never";
   char retry_after[48] = "", end[128];
   int32_t code = TICKET_PLUGIN_ERROR;
   if (done->sent == TICKET_HTTP_DENIED || status == 401 || status == 403 || status == 404 || status == 410) {
      code = TICKET_SETTINGS_ERROR;
   } else if (done->sent == TICKET_HTTP_NOT_SENT || dry || status == 408 || status == 425 || status == 429 || status == 503) {
      code = TICKET_CLIENT_ERROR, retry = "later";
      put_retry_after(retry_after, sizeof retry_after, done);
   } else if (done->sent != TICKET_HTTP_OK || status >= 500) {
      code = TICKET_CLIENT_ERROR, retry = effect != READS ? "unknown" : "later";
   } else if (status >= 400) {
      code = TICKET_CREATION_ERROR;
   } else {
      begin = "{\"message\": \"not what the API documents: ", retry = effect != READS ? "unknown" : "never";
   }
   if (done->sent == TICKET_HTTP_OK) what = done->what;
   else if (dry) what = "a dry run: the request was not sent";
   snprintf(end, sizeof end, "\", \"retry\": \"%s\"%s%s}", retry, retry_after, effect == WRITES_THE_REST ? ", \"partial\": true" : "");
   return ticket_reply(call, code, begin, what, why(self, done), end);
}

/* Replies an object that was grown but for its last brace, and frees it. `failed`: a part of it is missing. */
static int32_t reply_json(const ticket_call *call, ticket_long *json, const char *retry, int failed) {
   ticket_add_text(json, "}");
   failed |= json->failed;
   if (!failed) call->reply(call, ticket_long_view(json));
   free(json->ptr);
   return failed ? ticket_fail(call, TICKET_PLUGIN_ERROR, retry, "out of memory", none) : TICKET_OK;
}

static int32_t reply_ticket(const ticket_call *call, ticket_str url, ticket_str id, const char *retry) {
   ticket_long json = {0};
   ticket_add_text(&json, "{\"url\": ");
   ticket_add(&json, url, TICKET_AS_IS);
   ticket_add_text(&json, ", \"id\": ");
   ticket_add(&json, id, TICKET_AS_IS);
   return reply_json(call, &json, retry, 0);
}

/* `&since=...` for a ticket of this "not_before"; nothing if nobody knows: then all are read. */
static void put_since(ticket_text *to, ticket_str not_before) {
   ticket_text day = {0};
   ticket_put_day_before(&day, not_before); /* a day is room for clocks that differ */
   if (day.len == 0) return;
   ticket_put(to, ticket_of("&since="), TICKET_AS_IS);
   ticket_put(to, ticket_view(&day), TICKET_AS_IS);
}

static int32_t check(void *instance, const ticket_call *call) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   const ticket_exchange done = ask(self, call, "GET", "/projects/", ticket_view(&self->project), none, none);
   const uint32_t status = status_of(&done);
   if (status == 200 && ticket_is_json(done.response.body, '{'))
      return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"project\", \"ok\": true, \"message\": \"", "reachable, authenticated, and the project exists", ticket_of(""), "\"}]}");
   const char *const help =
      status == 401 ? "\", \"ok\": false, \"help\": \"correct secret.token\"}]}" :
      status == 403 ? "\", \"ok\": false, \"help\": \"give the token's user access to the project\"}]}" :
      status == 404 ? "\", \"ok\": false, \"help\": \"correct information.project, or the endpoint\"}]}" :
      status == 200 ? "\", \"ok\": false, \"help\": \"this is no project: is the endpoint the URL of the API?\"}]}" : NULL;
   if (help == NULL) return failed(self, call, &done, READS);
   return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"project\", \"message\": \"", done.what, why(self, &done), help);
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   const ticket_str key = ticket_is_json(request, '{') ? ticket_string_member(request, "key") : none;
   if (key.len == 0) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no key", ticket_of(""));
   ticket_str title = {0}, body = {0};
   if (call->render(call, ticket_of("title"), ticket_of("text"), ticket_of("{}"), &title) != TICKET_OK)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "the title can't be rendered: ", title);
   if (call->render(call, ticket_of("body"), ticket_of("markdown"), ticket_of("{}"), &body) != TICKET_OK)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "the body can't be rendered: ", body);

   ticket_long json = {0};
   ticket_add_text(&json, "{\"project\": \"");
   ticket_add(&json, ticket_view(&self->project), TICKET_IN_JSON);
   ticket_add_text(&json, "\", \"title\": \"");
   ticket_add(&json, title, TICKET_IN_JSON);
   ticket_add_text(&json, "\", \"body\": \"");
   ticket_add(&json, body, TICKET_IN_JSON);
   ticket_add_text(&json, "\", \"key\": ");
   ticket_add(&json, key, TICKET_AS_IS);
   ticket_add_text(&json, "}");
   const ticket_exchange done = send_json(self, call, "POST", "/tickets", none, none, &json);

   const uint32_t status = status_of(&done);
   if ((status == 200 || status == 201) && ticket_is_json(done.response.body, '{')) {
      const ticket_str url = ticket_string_member(done.response.body, "url"), id = ticket_string_member(done.response.body, "id");
      if (url.len > 2 && id.len > 0) return reply_ticket(call, url, id, "unknown"); /* 2: its quotes */
   }
   return failed(self, call, &done, WRITES);
}

/* The API's search may find more than the key, so each ticket's key is compared. It lists tickets of every state. */
static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   ticket_text key = {0}, since = {0};
   ticket_put_unescaped(&key, ticket_is_json(request, '{') ? ticket_member(request, "key") : none);
   if (key.len == 0 || !ticket_fits(&key))
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no key, or one over 8 KiB", none);
   put_since(&since, ticket_member(request, "not_before"));
   const ticket_exchange done = ask(self, call, "GET", "/tickets?key=", ticket_view(&key), ticket_view(&since), none);
   const ticket_str list = done.response.body;
   if (status_of(&done) != 200 || !ticket_is_json(list, '[')) return failed(self, call, &done, READS);
   for (ticket_str ticket = {0}; ticket_item(list, &ticket);) {
      const ticket_str url = ticket_string_member(ticket, "url"), id = ticket_string_member(ticket, "id"), its = ticket_string_member(ticket, "key");
      if (!ticket_is_json(ticket, '{') || url.len <= 2 || id.len == 0 || its.len == 0) return failed(self, call, &done, READS);
      if (ticket_says(its, ticket_view(&key))) return reply_ticket(call, url, id, "later");
   }
   return TICKET_NOT_FOUND;
}

/* ---- Many keys at once: a listing by time of creation, page after page ---- */

enum { MOST_KEYS = 200, MOST_BYTES = 32 << 20, TIME_FOR_A_PAGE = 5000 };

typedef struct search {
   ticket_str  keys;             /* the request's */
   ticket_text since, after;     /* from when on, and behind which ticket */
   ticket_long found;            /* JSON: the reply's list, without its brackets */
   uint8_t     seen[MOST_KEYS];  /* by the number of the key */
   int         wanted;           /* how many keys aren't found */
   size_t      bytes;            /* of the pages so far */
} search;

/* Whether `ticket`, as the API shows it, is one; if it has a key of the request's, it is found. */
static int heed(search *s, ticket_str ticket) {
   const ticket_str url = ticket_string_member(ticket, "url"), id = ticket_string_member(ticket, "id"), its = ticket_string_member(ticket, "key");
   if (!ticket_is_json(ticket, '{') || url.len <= 2 || id.len <= 2) return 0;
   s->after.len = 0;
   ticket_put_unescaped(&s->after, id);
   ticket_text key = {0};
   ticket_put_unescaped(&key, its);
   int number = 0;
   for (ticket_str wanted = {0}; key.len > 0 && number < MOST_KEYS && ticket_item(s->keys, &wanted); number++) {
      const ticket_str named = ticket_member(wanted, "key");
      if (s->seen[number] || !ticket_says(named, ticket_view(&key))) continue;
      s->seen[number] = 1, s->wanted--; /* the first one is the oldest */
      ticket_add_text(&s->found, s->found.len > 0 ? ", {\"key\": " : "{\"key\": ");
      ticket_add(&s->found, named, TICKET_AS_IS);
      ticket_add_text(&s->found, ", \"ticket\": {\"url\": ");
      ticket_add(&s->found, url, TICKET_AS_IS);
      ticket_add_text(&s->found, ", \"id\": ");
      ticket_add(&s->found, id, TICKET_AS_IS);
      ticket_add_text(&s->found, "}}");
   }
   return ticket_fits(&s->after);
}

/* `more`: the search isn't at its end, so that no key certainly has no ticket. */
static int32_t reply_found(const ticket_call *call, search *s, int more, const char *retry_after) {
   ticket_long json = {0};
   ticket_add_text(&json, "{\"found\": [");
   ticket_add(&json, ticket_long_view(&s->found), TICKET_AS_IS);
   ticket_add_text(&json, "], \"none\": [");
   int number = 0, names = 0;
   for (ticket_str wanted = {0}; !more && number < MOST_KEYS && ticket_item(s->keys, &wanted); number++) {
      if (s->seen[number]) continue;
      if (names++ > 0) ticket_add_text(&json, ", ");
      ticket_add(&json, ticket_member(wanted, "key"), TICKET_AS_IS);
   }
   ticket_add_text(&json, "]");
   if (more) {
      ticket_add_text(&json, ", \"cursor\": \"");
      ticket_add(&json, ticket_view(&s->after), TICKET_IN_JSON);
      ticket_add_text(&json, "\"");
   }
   ticket_add_text(&json, retry_after);
   return reply_json(call, &json, "later", s->found.failed);
}

/* Reads pages until all keys are found, the list is at its end, the call should end, or a page doesn't come. */
static int32_t read_pages(const backend *self, const ticket_call *call, search *s) {
   for (int pages = 0;; pages++) {
      if (s->wanted == 0) return reply_found(call, s, 0, "");
      if (pages > 0 && (call->remaining_ms(call) < TIME_FOR_A_PAGE || s->bytes > MOST_BYTES)) return reply_found(call, s, 1, "");
      const ticket_exchange done = ask(self, call, "GET", "/tickets?sort=created&after=", ticket_view(&s->after), ticket_view(&s->since), none);
      const ticket_str list = done.response.body;
      if (status_of(&done) != 200 || !ticket_is_json(list, '[')) {
         char retry_after[48] = "";
         put_retry_after(retry_after, sizeof retry_after, &done);
         return pages == 0 ? failed(self, call, &done, READS) : reply_found(call, s, 1, retry_after);
      }
      ticket_str ticket = {0};
      int tickets = 0;
      for (; ticket_item(list, &ticket); tickets++)
         if (!heed(s, ticket)) return failed(self, call, &done, READS);
      if (tickets == 0) return reply_found(call, s, 0, "");
      s->bytes += list.len;
   }
}

static int32_t find_many(void *instance, const ticket_call *call, ticket_str request) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   search s = {.keys = ticket_is_json(request, '{') ? ticket_member(request, "keys") : none};
   ticket_str first = {0}, key = {0};
   for (; s.wanted < MOST_KEYS && ticket_item(s.keys, &key); s.wanted++)
      if (ticket_string_member(key, "key").len == 0) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "a key of the host's request is no text", none);
   if (s.wanted == 0) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no keys", none);
   ticket_item(s.keys, &first); /* the one whose ticket can be the oldest */
   put_since(&s.since, ticket_member(first, "not_before"));
   ticket_put_unescaped(&s.after, ticket_member(request, "cursor"));
   const int32_t code = read_pages(instance, call, &s);
   free(s.found.ptr);
   return code;
}

/* ---- A ticket's life ---- */

/* The host's word for the state of a ticket as the API shows it, or NULL. */
static const char *state_of(const backend *self, ticket_str ticket) {
   static const char *const words[][2] = {
      {"open", "open"}, {"waiting", "open"}, {"resolved", "closed"}, {"rejected", "cancelled"}, {"deleted", "gone"},
   };
   const ticket_str project = ticket_string_member(ticket, "project"), state = ticket_string_member(ticket, "state");
   if (project.len > 0 && !ticket_says(project, ticket_view(&self->project))) return "foreign";
   for (size_t i = 0; i < sizeof words / sizeof *words; i++)
      if (ticket_says(state, ticket_of(words[i][0]))) return words[i][1];
   return NULL;
}

/* The ticket of this URL in an answer of look_up, or nothing: then it isn't known what became of it. */
static ticket_str with_url(ticket_str list, ticket_str url) {
   ticket_text wanted = {0};
   ticket_put_unescaped(&wanted, url);
   for (ticket_str ticket = {0}; ticket_item(list, &ticket);)
      if (ticket_says(ticket_string_member(ticket, "url"), ticket_view(&wanted))) return ticket;
   return none;
}

static int32_t state(void *instance, const ticket_call *call, ticket_str request) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   const ticket_str asked = ticket_is_json(request, '{') ? ticket_member(request, "tickets") : none;
   ticket_long urls = {0}, json = {0};
   int count = 0, told = 0;
   ticket_add_text(&urls, "{\"urls\": [");
   for (ticket_str ticket = {0}; ticket_item(asked, &ticket); count++) {
      if (count > 0) ticket_add_text(&urls, ", ");
      ticket_add(&urls, ticket_string_member(ticket, "url"), TICKET_AS_IS);
   }
   ticket_add_text(&urls, "]}");
   if (count == 0) {
      free(urls.ptr);
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no tickets", none);
   }
   const ticket_exchange done = send_json(self, call, "POST", look_up, none, none, &urls);
   if (status_of(&done) != 200 || !ticket_is_json(done.response.body, '[')) return failed(self, call, &done, READS);
   ticket_add_text(&json, "{\"tickets\": [");
   for (ticket_str ticket = {0}; ticket_item(asked, &ticket);) {
      const ticket_str url = ticket_string_member(ticket, "url"), shown = with_url(done.response.body, url);
      const char *const word = state_of(self, shown);
      if (word == NULL) continue;
      ticket_add_text(&json, told++ > 0 ? ", {\"url\": " : "{\"url\": ");
      ticket_add(&json, url, TICKET_AS_IS);
      ticket_add_text(&json, ", \"state\": \"");
      ticket_add_text(&json, word);
      ticket_add_text(&json, "\", \"detail\": ");
      ticket_add(&json, ticket_string_member(shown, "state"), TICKET_AS_IS);
      ticket_add_text(&json, "}");
   }
   ticket_add_text(&json, "]");
   return reply_json(call, &json, "later", 0);
}

/* Whether a comment with this mark is on the ticket. All pages are read, until one is empty. */
static int32_t find_mark(const backend *self, const ticket_call *call, ticket_str id, ticket_str mark, int *found) {
   ticket_text after = {0}, wanted = {0};
   ticket_put_unescaped(&wanted, mark);
   for (;;) {
      ticket_text rest = {0};
      ticket_put(&rest, ticket_of("/comments?after="), TICKET_AS_IS);
      ticket_put(&rest, ticket_view(&after), TICKET_IN_URL);
      const ticket_exchange done = ask(self, call, "GET", "/tickets/", id, ticket_view(&rest), none);
      const ticket_str list = done.response.body;
      if (status_of(&done) != 200 || !ticket_is_json(list, '[')) return failed(self, call, &done, READS);
      ticket_str comment = {0};
      int comments = 0;
      for (; ticket_item(list, &comment); comments++) {
         after.len = 0;
         ticket_put_unescaped(&after, ticket_string_member(comment, "id"));
         if (after.len == 0 || !ticket_fits(&after)) return failed(self, call, &done, READS);
         if (ticket_says(ticket_string_member(comment, "mark"), ticket_view(&wanted))) return *found = 1, TICKET_OK;
      }
      if (comments == 0) return TICKET_OK;
   }
}

/* Writes what the operator's template says, with the mark where only the API shows it; nothing if that is empty. */
static int32_t write_comment(const backend *self, const ticket_call *call, const char *part, ticket_str id, ticket_str mark, int *written) {
   ticket_str text = {0};
   if (call->render(call, ticket_of(part), ticket_of("markdown"), ticket_of("{}"), &text) != TICKET_OK)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "the comment can't be rendered: ", text);
   if (text.len == 0) return TICKET_OK;
   ticket_long json = {0};
   ticket_add_text(&json, "{\"text\": \"");
   ticket_add(&json, text, TICKET_IN_JSON);
   ticket_add_text(&json, "\", \"mark\": ");
   ticket_add(&json, mark, TICKET_AS_IS);
   ticket_add_text(&json, "}");
   const ticket_exchange done = send_json(self, call, "POST", "/tickets/", id, ticket_of("/comments"), &json);
   const uint32_t status = status_of(&done);
   if ((status != 200 && status != 201) || !ticket_is_json(done.response.body, '{')) return failed(self, call, &done, WRITES);
   *written = 1;
   return TICKET_OK;
}

static int32_t reply_step(const ticket_call *call, int done, const char *state) {
   return ticket_reply(call, TICKET_OK, done ? "{\"done\": true, \"state\": \"" : "{\"done\": false, \"state\": \"", state, none, "\"}");
}

/* The step's second half: the state. `written`: its comment is on the ticket. */
static int32_t change_state(const backend *self, const ticket_call *call, ticket_str id, int reopen, ticket_str fields, int written) {
   ticket_long json = {0};
   ticket_add_text(&json, reopen ? "{\"state\": \"open\"" : "{\"state\": \"resolved\"");
   if (fields.len > 0) ticket_add_text(&json, ", \"fields\": ");
   ticket_add(&json, fields, TICKET_AS_IS);
   ticket_add_text(&json, "}");
   const ticket_exchange done = send_json(self, call, "PATCH", "/tickets/", id, none, &json);
   const char *const now = status_of(&done) == 200 && ticket_is_json(done.response.body, '{') ? state_of(self, done.response.body) : NULL;
   const int as_asked = now != NULL && (reopen ? strcmp(now, "open") == 0 : strcmp(now, "closed") == 0 || strcmp(now, "cancelled") == 0);
   return as_asked ? reply_step(call, 1, now) : failed(self, call, &done, written ? WRITES_THE_REST : WRITES);
}

static int32_t update(void *instance, const ticket_call *call, ticket_str request) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   const ticket_str step = ticket_is_json(request, '{') ? ticket_member(request, "step") : none;
   const ticket_str url = ticket_string_member(ticket_member(request, "ticket"), "url"), mark = ticket_string_member(step, "id");
   const ticket_str action = ticket_string_member(step, "action");
   if (url.len == 0 || mark.len == 0) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no ticket, or no step", none);
   const int comment = ticket_says(action, ticket_of("comment")), reopen = ticket_says(action, ticket_of("reopen"));
   if (!comment && !reopen && !ticket_says(action, ticket_of("close"))) return TICKET_UNSUPPORTED;

   ticket_long urls = {0};
   ticket_add_text(&urls, "{\"urls\": [");
   ticket_add(&urls, url, TICKET_AS_IS);
   ticket_add_text(&urls, "]}");
   const ticket_exchange done = send_json(self, call, "POST", look_up, none, none, &urls);
   if (status_of(&done) != 200 || !ticket_is_json(done.response.body, '[')) return failed(self, call, &done, READS);
   const ticket_str ticket = with_url(done.response.body, url);
   const char *const was = state_of(self, ticket);
   ticket_text id = {0};
   ticket_put_unescaped(&id, ticket_string_member(ticket, "id"));
   if (was != NULL && strcmp(was, "gone") == 0) return TICKET_NOT_FOUND;
   if (was != NULL && strcmp(was, "foreign") == 0) return reply_step(call, 0, was);
   if (was == NULL || id.len == 0 || !ticket_fits(&id))
      return ticket_fail(call, TICKET_CREATION_ERROR, "never", "the ticket system doesn't show this ticket, or not its state: may the token see it?", none);

   int written = 0; /* the step's comment, now or by an earlier try */
   int32_t code = ticket_is_true(ticket_member(request, "again")) ? find_mark(self, call, ticket_view(&id), mark, &written) : TICKET_OK;
   if (code != TICKET_OK) return code;
   const int as_wanted = (strcmp(was, "open") == 0) == reopen; /* of "comment": it is closed */
   if (as_wanted) return reply_step(call, written, was);       /* not written: a person was there before */
   if (!written) code = write_comment(self, call, comment || reopen ? "comment" : "closing", ticket_view(&id), mark, &written);
   if (code != TICKET_OK) return code;
   if (comment) return reply_step(call, 1, was);
   return change_state(self, call, ticket_view(&id), reopen, ticket_member(step, "fields"), written);
}

/* A webhook has the token in its header X-Token, and the ticket in its body. */
static int32_t receive(void *instance, const ticket_call *call, ticket_str request, ticket_str body) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   ticket_text token = {0};
   ticket_put_unescaped(&token, ticket_is_json(request, '{') ? ticket_webhook_header(request, "x-token") : none);
   if (self->webhook_token.len == 0 || !ticket_same_secret(ticket_view(&token), ticket_view(&self->webhook_token)))
      return ticket_reply(call, TICKET_OK, "{\"forged\": \"", "X-Token is not secret.webhook_token", none, "\"}");
   const ticket_str ticket = ticket_is_json(body, '{') ? ticket_member(body, "ticket") : none;
   const ticket_str url = ticket_string_member(ticket, "url"), id = ticket_string_member(ticket, "id");
   ticket_long json = {0};
   ticket_add_text(&json, "{\"tickets\": [");
   if (url.len > 2 && id.len > 2) { /* else it is about something else */
      ticket_add_text(&json, "{\"url\": ");
      ticket_add(&json, url, TICKET_AS_IS);
      ticket_add_text(&json, ", \"id\": ");
      ticket_add(&json, id, TICKET_AS_IS);
      ticket_add_text(&json, "}");
   }
   ticket_add_text(&json, "]");
   return reply_json(call, &json, "later", 0);
}

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_backend,
   .close = free,
   .check = check,
   .create = create,
   .find = find,
   .find_many = find_many,
   .update = update,
   .state = state,
   .receive = receive,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
