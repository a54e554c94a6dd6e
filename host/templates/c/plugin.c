/* SPDX-License-Identifier: MIT-0 */
/* {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one. */
#include "ticket_plugin_helpers.h"

static const char manifest[] =
   "{\"name\": \"{{name}}\", \"version\": \"0.1.0\", \"description\": \"Tickets in {{name}}\","
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\":"
   " {\"type\": \"string\", \"pattern\": \"^[!-~]+$\", \"description\": \"An API token that may create and list tickets\"}}},"
   " \"information_schema\": {\"type\": \"object\", \"required\": [\"project\"], \"properties\": {\"project\":"
   " {\"type\": \"string\", \"minLength\": 1, \"description\": \"The project that tickets go to\"}}}}";

/* ---- Text of any length, for a ticket_text ends at 8 KiB ---- */

typedef struct buffer { uint8_t *ptr; size_t len, room; int failed; } buffer;

static void add(buffer *to, ticket_str s, int where) {
   for (size_t i = 0; i < s.len; i += 1024) {
      ticket_text piece; /* has room for the longest escapes of 1024 bytes */
      piece.len = 0;
      ticket_put(&piece, (ticket_str){s.ptr + i, s.len - i < 1024 ? s.len - i : 1024}, where);
      if (to->len + piece.len > to->room) {
         const size_t room = 2 * to->room + sizeof piece.bytes;
         uint8_t *const more = realloc(to->ptr, room);
         if (more == NULL) { to->failed = 1; return; }
         to->ptr = more, to->room = room;
      }
      memcpy(to->ptr + to->len, piece.bytes, piece.len);
      to->len += piece.len;
   }
}

static void add_text(buffer *to, const char *s) { add(to, ticket_of(s), TICKET_AS_IS); }
static ticket_str view(const buffer *b) { return (ticket_str){b->ptr, b->len}; }

/* ---- JSON that may be anything: the helpers read only what is known to be JSON ---- */

static const uint8_t *after_space(const uint8_t *p, const uint8_t *end) {
   while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
   return p;
}

static long hex4(const uint8_t *p, const uint8_t *end) {
   long value = 0;
   for (int i = 0; i < 4; i++) {
      const char *const digits = "0123456789abcdef0123456789ABCDEF";
      const char *const digit = p + i < end ? memchr(digits, p[i], 32) : NULL;
      if (digit == NULL) return -1;
      value = value * 16 + (digit - digits) % 16;
   }
   return value;
}

/* The length of the UTF-8 character at `p`, 0 if it is none. */
static size_t utf8_length(const uint8_t *p, const uint8_t *end) {
   const size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
   if ((size_t)(end - p) < n) return 0;
   for (size_t i = 1; i < n; i++) if (p[i] >> 6 != 2) return 0;
   const int odd = (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
                   (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f);
   return odd ? 0 : n;
}

/* Where the string that begins at `p` ends, or NULL. */
static const uint8_t *string_end(const uint8_t *p, const uint8_t *end) {
   for (p++; p < end && *p != '"';) {
      if (*p < ' ') return NULL;
      if (*p != '\\') {
         const size_t n = utf8_length(p, end);
         if (n == 0) return NULL;
         p += n;
      } else if (end - p > 5 && p[1] == 'u') {
         const long c = hex4(p + 2, end);
         const int pair = c >> 10 == 0x36 && end - p > 11 && p[6] == '\\' && p[7] == 'u' && hex4(p + 8, end) >> 10 == 0x37;
         if (c < 0 || (c >> 11 == 0x1b && !pair)) return NULL;
         p += pair ? 12 : 6;
      } else {
         if (end - p < 2 || p[1] == '\0' || strchr("\"\\/bfnrt", p[1]) == NULL) return NULL;
         p += 2;
      }
   }
   return p < end ? p + 1 : NULL;
}

/* Where the value at `p` ends, or NULL if there is none. */
static const uint8_t *value_end(const uint8_t *p, const uint8_t *end, int depth) {
   p = after_space(p, end);
   if (p == end || depth > 100) return NULL;
   if (*p == '"') return string_end(p, end);
   if (*p == '{' || *p == '[') {
      const int named = *p == '{';
      const uint8_t close = named ? '}' : ']';
      p = after_space(p + 1, end);
      if (p < end && *p == close) return p + 1;
      for (;;) {
         p = after_space(p, end);
         if (named) {
            if (p == end || *p != '"' || (p = string_end(p, end)) == NULL) return NULL;
            p = after_space(p, end);
            if (p == end || *p++ != ':') return NULL;
         }
         if ((p = value_end(p, end, depth + 1)) == NULL) return NULL;
         p = after_space(p, end);
         if (p == end || (*p != ',' && *p != close)) return NULL;
         if (*p++ == close) return p;
      }
   }
   static const char *const words[] = {"true", "false", "null"};
   for (int i = 0; i < 3; i++) {
      const size_t n = strlen(words[i]);
      if ((size_t)(end - p) >= n && memcmp(p, words[i], n) == 0) return p + n;
   }
   const uint8_t *const number = p; /* not looked at closely: no number is read here */
   while (p < end && *p != '\0' && strchr("+-.0123456789eE", *p) != NULL) p++;
   return p > number ? p : NULL;
}

/* Whether `s` is JSON, and its value begins with `first`. */
static int is_json(ticket_str s, uint8_t first) {
   if (s.len == 0 || s.ptr == NULL) return 0;
   const uint8_t *const end = s.ptr + s.len, *const start = after_space(s.ptr, end);
   const uint8_t *const after = value_end(start, end, 0);
   return after != NULL && *start == first && after_space(after, end) == end;
}

/* An object's member as it stands there, in quotes; nothing if it is no string. */
static ticket_str string_member(ticket_str object, const char *name) {
   const ticket_str value = ticket_member(object, name);
   if (value.len == 0) return value;
   const uint8_t *const end = value.ptr + value.len, *const start = after_space(value.ptr, end);
   const uint8_t *const after = start < end && *start == '"' ? string_end(start, end) : NULL;
   return after != NULL ? (ticket_str){start, (size_t)(after - start)} : ticket_of("");
}

/* ---- The plugin ---- */

typedef struct backend { ticket_text endpoint, authorization, project; } backend;

enum { BEARER = 7 }; /* the length of "Bearer " */

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   if (call == NULL || instance == NULL) return TICKET_PLUGIN_ERROR;
   backend *const self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   const char *wrong = NULL;
   if (is_json(settings, '{')) {
      ticket_put_unescaped(&self->endpoint, ticket_member(settings, "endpoint"));
      ticket_put(&self->authorization, ticket_of("Bearer "), TICKET_AS_IS);
      ticket_put_unescaped(&self->authorization, ticket_member(ticket_member(settings, "secret"), "token"));
      ticket_put_unescaped(&self->project, ticket_member(ticket_member(settings, "information"), "project"));
   }
   if (self->endpoint.len == 0) wrong = "the endpoint is missing, or is no text";
   else if (self->authorization.len == BEARER) wrong = "secret.token is missing, or is no text";
   else if (self->project.len == 0) wrong = "information.project is missing, or is no text";
   else if (!ticket_fits(&self->endpoint) || !ticket_fits(&self->authorization) || !ticket_fits(&self->project))
      wrong = "the endpoint, secret.token or information.project is over 8 KiB";
   if (wrong != NULL) {
      free(self);
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", wrong, ticket_of(""));
   }
   while (self->endpoint.len > 0 && self->endpoint.bytes[self->endpoint.len - 1] == '/') self->endpoint.len--;
   *instance = self;
   return TICKET_OK;
}

/* One exchange with {endpoint}{path}{escaped}. */
static ticket_exchange ask(const backend *self, const ticket_call *call, const char *method, const char *path,
                           ticket_str escaped, ticket_str body) {
   buffer url = {0};
   add(&url, ticket_view(&self->endpoint), TICKET_AS_IS);
   add_text(&url, path);
   add(&url, escaped, TICKET_IN_URL);
   ticket_exchange done = {.sent = TICKET_HTTP_NOT_SENT, .why = ticket_of("out of memory")};
   const ticket_header headers[] = {{ticket_of("authorization"), ticket_view(&self->authorization)},
                                    {ticket_of("content-type"), ticket_of("application/json")}};
   if (!url.failed) done = ticket_http(call, method, view(&url), headers, body.len > 0 ? 2 : 1, body);
   free(url.ptr);
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

/* Replies the error that an exchange stands for. `creates`: the ticket may exist where no clear answer came. */
static int32_t failed(const backend *self, const ticket_call *call, const ticket_exchange *done, int creates) {
   const uint32_t status = status_of(done);
   const int dry = done->sent == TICKET_HTTP_DRY_RUN;
   const char *begin = "{\"message\": \"", *what = "no answer: ", *retry = "never";
   char retry_after[48] = "", end[96];
   int32_t code = TICKET_PLUGIN_ERROR;
   if (done->sent == TICKET_HTTP_DENIED || status == 401 || status == 403 || status == 404 || status == 410) {
      code = TICKET_SETTINGS_ERROR;
   } else if (done->sent == TICKET_HTTP_NOT_SENT || dry || status == 408 || status == 425 || status == 429 || status == 503) {
      code = TICKET_CLIENT_ERROR, retry = "later";
      put_retry_after(retry_after, sizeof retry_after, done);
   } else if (done->sent != TICKET_HTTP_OK || status >= 500) {
      code = TICKET_CLIENT_ERROR, retry = creates ? "unknown" : "later";
   } else if (status >= 400) {
      code = TICKET_CREATION_ERROR;
   } else {
      begin = "{\"message\": \"not what the API documents: ", retry = creates ? "unknown" : "never";
   }
   if (done->sent == TICKET_HTTP_OK) what = done->what;
   else if (dry) what = "a dry run: the request was not sent";
   snprintf(end, sizeof end, "\", \"retry\": \"%s\"%s}", retry, retry_after);
   return ticket_reply(call, code, begin, what, why(self, done), end);
}

static int32_t reply_ticket(const ticket_call *call, ticket_str url, ticket_str id, const char *retry) {
   buffer json = {0};
   add_text(&json, "{\"url\": ");
   add(&json, url, TICKET_AS_IS);
   add_text(&json, ", \"id\": ");
   add(&json, id, TICKET_AS_IS);
   add_text(&json, "}");
   const int32_t code = json.failed ? ticket_fail(call, TICKET_PLUGIN_ERROR, retry, "out of memory", ticket_of("")) : TICKET_OK;
   if (code == TICKET_OK) call->reply(call, view(&json));
   free(json.ptr);
   return code;
}

static int32_t check(void *instance, const ticket_call *call) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   const ticket_exchange done = ask(self, call, "GET", "/projects/", ticket_view(&self->project), ticket_of(""));
   const uint32_t status = status_of(&done);
   if (status == 200 && is_json(done.response.body, '{'))
      return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"project\", \"ok\": true, \"message\": \"", "reachable, authenticated, and the project exists", ticket_of(""), "\"}]}");
   const char *const help =
      status == 401 ? "\", \"ok\": false, \"help\": \"correct secret.token\"}]}" :
      status == 403 ? "\", \"ok\": false, \"help\": \"give the token's user access to the project\"}]}" :
      status == 404 ? "\", \"ok\": false, \"help\": \"correct information.project, or the endpoint\"}]}" :
      status == 200 ? "\", \"ok\": false, \"help\": \"this is no project: is the endpoint the URL of the API?\"}]}" : NULL;
   if (help == NULL) return failed(self, call, &done, 0);
   return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"project\", \"message\": \"", done.what, why(self, &done), help);
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   const ticket_str key = is_json(request, '{') ? string_member(request, "key") : ticket_of("");
   if (key.len == 0) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no key", ticket_of(""));
   ticket_str title = {0}, body = {0};
   if (call->render(call, ticket_of("title"), ticket_of("text"), ticket_of("{}"), &title) != TICKET_OK)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "the title can't be rendered: ", title);
   if (call->render(call, ticket_of("body"), ticket_of("markdown"), ticket_of("{}"), &body) != TICKET_OK)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "the body can't be rendered: ", body);

   buffer json = {0};
   add_text(&json, "{\"project\": \"");
   add(&json, ticket_view(&self->project), TICKET_IN_JSON);
   add_text(&json, "\", \"title\": \"");
   add(&json, title, TICKET_IN_JSON);
   add_text(&json, "\", \"body\": \"");
   add(&json, body, TICKET_IN_JSON);
   add_text(&json, "\", \"key\": ");
   add(&json, key, TICKET_AS_IS);
   add_text(&json, "}");
   ticket_exchange done = {.sent = TICKET_HTTP_NOT_SENT, .why = ticket_of("out of memory")};
   if (!json.failed) done = ask(self, call, "POST", "/tickets", ticket_of(""), view(&json));
   free(json.ptr);

   const uint32_t status = status_of(&done);
   if ((status == 200 || status == 201) && is_json(done.response.body, '{')) {
      const ticket_str url = string_member(done.response.body, "url"), id = string_member(done.response.body, "id");
      if (url.len > 2 && id.len > 0) return reply_ticket(call, url, id, "unknown"); /* 2: its quotes */
   }
   return failed(self, call, &done, 1);
}

/* The API's search may find more than the key, so each ticket's key is compared. */
static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   if (instance == NULL || call == NULL) return TICKET_PLUGIN_ERROR;
   const backend *const self = instance;
   ticket_text key = {0};
   ticket_put_unescaped(&key, is_json(request, '{') ? ticket_member(request, "key") : ticket_of(""));
   if (key.len == 0 || !ticket_fits(&key))
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no key, or one over 8 KiB", ticket_of(""));
   const ticket_exchange done = ask(self, call, "GET", "/tickets?key=", ticket_view(&key), ticket_of(""));
   const ticket_str list = done.response.body;
   if (status_of(&done) != 200 || !is_json(list, '[')) return failed(self, call, &done, 0);
   const uint8_t *const end = list.ptr + list.len, *p = after_space(after_space(list.ptr, end) + 1, end);
   while (*p != ']') {
      const uint8_t *const after = value_end(p, end, 1);
      const ticket_str ticket = {p, (size_t)(after - p)};
      const ticket_str url = string_member(ticket, "url"), id = string_member(ticket, "id"), its = string_member(ticket, "key");
      if (!is_json(ticket, '{') || url.len <= 2 || id.len == 0 || its.len == 0) return failed(self, call, &done, 0);
      ticket_text found;
      found.len = 0;
      ticket_put_unescaped(&found, its);
      if (found.len == key.len && memcmp(found.bytes, key.bytes, key.len) == 0) return reply_ticket(call, url, id, "later");
      p = after_space(after, end);
      if (*p == ',') p = after_space(p + 1, end);
   }
   return TICKET_NOT_FOUND;
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
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
