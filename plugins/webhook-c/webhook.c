/* A ticket plugin in C99: POSTs each request, as the host gave it, to a webhook (see README.md). */
#include "ticket_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Text and JSON, for want of a library ---- */

/* At most 8 KiB, which is what servers take as a URL or a header. `len` counts on where the bytes
 * end, so that fits() shows it; view() never does. */
typedef struct text { size_t len; uint8_t bytes[8192]; } text;

static ticket_str str(const char *s) { return (ticket_str){(const uint8_t *)s, strlen(s)}; }
static int fits(const text *t) { return t->len <= sizeof t->bytes; }
static ticket_str view(const text *t) { return (ticket_str){t->bytes, fits(t) ? t->len : sizeof t->bytes}; }

static void put_byte(text *t, uint32_t c) {
   if (t->len < sizeof t->bytes) t->bytes[t->len] = (uint8_t)c;
   t->len++;
}

enum { AS_IS, IN_JSON, IN_URL };

static void put(text *t, ticket_str s, int where) {
   static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
   for (size_t i = 0; i < s.len; i++) {
      const uint8_t c = s.ptr[i];
      const int json = where == IN_JSON && (c < ' ' || c == '"' || c == '\\');
      char hex[8];
      snprintf(hex, sizeof hex, json ? "\\u%04x" : "%%%02X", (unsigned)c);
      if (json || (where == IN_URL && !memchr(plain, c, sizeof plain - 1))) put(t, str(hex), AS_IS);
      else put_byte(t, c);
   }
}

/* The JSON of an object's own member, or nothing. Only a name stands before a colon, and only the
 * object's own at depth 1: neither a text nor a member of another value passes for it. */
static ticket_str member(ticket_str object, const char *name) {
   const uint8_t *value = NULL, *end = object.ptr + object.len;
   int depth = 0, named = 0;
   for (const uint8_t *p = object.ptr; p < end; p++) {
      if (*p == '"') {
         const uint8_t *start = ++p;
         while (p < end && *p != '"') p += *p == '\\' && end - p > 1 ? 2 : 1;
         if (p == end) break;
         named = (size_t)(p - start) == strlen(name) && memcmp(start, name, strlen(name)) == 0;
      }
      depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
      if (*p == ':' && depth == 1 && named && value == NULL) value = p + 1;
      if (value != NULL && (depth == 0 || (depth == 1 && *p == ',')))
         return (ticket_str){value, (size_t)(p - value)};
   }
   return str("");
}

/* What a JSON string says, in UTF-8. Any other value says nothing. */
static void put_unescaped(text *t, ticket_str json) {
   static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
   const uint8_t *p = json.ptr, *end = p + json.len;
   uint32_t high = 0;
   while (p < end && *p <= ' ') p++;
   if (p == end || *p != '"') return;
   while (++p < end && *p != '"') {
      if (*p != '\\') { put_byte(t, *p); continue; }
      if (++p == end) return;
      uint32_t c = *p;
      const char *letter = memchr(letters, *p, sizeof letters - 1);
      if (letter != NULL) c = (uint8_t)meanings[letter - letters];
      if (c == 'u' && end - p > 4) {
         const char hex[] = {(char)p[1], (char)p[2], (char)p[3], (char)p[4], '\0'};
         c = strtoul(hex, NULL, 16) & 0xffff;
         p += 4;
         if (c >> 10 == 0x36) { high = c & 0x3ff; continue; } /* the first half of a pair */
         if (c >> 10 == 0x37) c = 0x10000 + (high << 10) + (c & 0x3ff);
      }
      int more = (c > 0x7f) + (c > 0x7ff) + (c > 0xffff);
      put_byte(t, more ? (0xff00u >> (more + 1)) | c >> 6 * more : c);
      while (more-- > 0) put_byte(t, 0x80 | (c >> 6 * more & 0x3f));
   }
}

/* ---- The plugin ---- */

static const char manifest[] =
   "{\"name\": \"webhook\", \"version\": \"0.1.0\", \"license\": \"MIT OR Apache-2.0\","
   " \"description\": \"POSTs each incident as JSON to a webhook of your own\","
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\":"
   " {\"type\": \"string\", \"pattern\": \"^[!-~]+$\", \"description\": \"sent as Bearer token\"}}},"
   " \"information_schema\": {\"type\": \"object\", \"additionalProperties\": true}}";

typedef struct webhook { text endpoint, authorization; } webhook;

/* Replies `begin`, `what` and `why`, the last of which may be any UTF-8, and returns `code`. */
static int32_t reply(const ticket_call *call, int32_t code, const char *begin, const char *what,
                     ticket_str why, const char *end) {
   text json = {0};
   put(&json, str(begin), AS_IS);
   put(&json, str(what), AS_IS);
   put(&json, why, IN_JSON);
   put(&json, str(end), AS_IS);
   call->reply(call, fits(&json) ? view(&json) : str("{\"message\": \"over 8 KiB\", \"retry\": \"unknown\"}"));
   return fits(&json) ? code : TICKET_PLUGIN_ERROR;
}

static int32_t fail(const ticket_call *call, int32_t code, const char *retry, const char *what, ticket_str why) {
   char end[32];
   snprintf(end, sizeof end, "\", \"retry\": \"%s\"}", retry);
   return reply(call, code, "{\"message\": \"", what, why, end);
}

/* Does one exchange. Sets `what` and `why` to what came of it, in words: why not, or the status and
 * the body's beginning, of which only ASCII is sure to be the UTF-8 that a reply has to be. */
static int32_t exchange(const webhook *self, const ticket_call *call, const char *method, const text *url,
                        ticket_str body, ticket_http_response *answer, char what[64], ticket_str *why) {
   const ticket_header headers[] = {{str("authorization"), view(&self->authorization)},
                                    {str("content-type"), str("application/json")}};
   const ticket_http_request request = {sizeof request, body.len > 0 ? 2 : 1, str(method), view(url), headers, body};
   *answer = (ticket_http_response){.size = sizeof *answer};
   const int32_t sent = call->http(call, &request, answer);
   *why = answer->body;
   snprintf(what, 64, "%s", sent == TICKET_HTTP_DRY_RUN ? "a dry run: nothing was sent" : "");
   if (sent != TICKET_HTTP_OK) return sent;
   snprintf(what, 64, "the webhook answered %u: ", (unsigned)answer->status);
   for (why->len = 0; why->len < answer->body.len && why->len < 200 && why->ptr[why->len] < 0x80;) why->len++;
   return sent;
}

/* What create() and find() have in common: an exchange whose answer names the ticket's URL. */
static int32_t ticket(const webhook *self, const ticket_call *call, const char *method, const text *url, ticket_str body) {
   ticket_http_response answer;
   ticket_str why;
   char what[64];
   const int32_t sent = exchange(self, call, method, url, body, &answer, what, &why);
   const uint32_t status = answer.status; /* 0 if no answer came */
   for (uint32_t i = 0; (status == 200 || status == 201) && i < answer.header_count; i++) {
      const ticket_str name = answer.headers[i].name, value = answer.headers[i].value;
      if (name.len == 8 && !memcmp(name.ptr, "location", 8) && value.len > 4 && !memcmp(value.ptr, "http", 4))
         return reply(call, TICKET_OK, "{\"url\": \"", "", value, "\"}");
   }
   if (status == 404 && body.len == 0) return TICKET_NOT_FOUND; /* find() has no body, create() has */
   if (sent == TICKET_HTTP_DENIED || status == 401) return fail(call, TICKET_SETTINGS_ERROR, "never", what, why);
   if (sent == TICKET_HTTP_DRY_RUN) return fail(call, TICKET_CLIENT_ERROR, "never", what, why);
   if (sent == TICKET_HTTP_NOT_SENT || status == 408 || status == 425 || status == 429 || status == 503)
      return fail(call, TICKET_CLIENT_ERROR, "later", what, why);
   if (sent != TICKET_HTTP_OK || status >= 500) return fail(call, TICKET_CLIENT_ERROR, "unknown", what, why);
   if (status >= 400) return fail(call, TICKET_CREATION_ERROR, "never", what, why);
   return fail(call, TICKET_PLUGIN_ERROR, "unknown", "no absolute URL in the answer's location header", str(""));
}

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   webhook *self = calloc(1, sizeof *self);
   if (self == NULL) return fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", str(""));
   put_unescaped(&self->endpoint, member(settings, "endpoint"));
   put(&self->authorization, str("Bearer "), AS_IS);
   put_unescaped(&self->authorization, member(member(settings, "secret"), "token"));
   if (self->authorization.len > strlen("Bearer ") && fits(&self->authorization) && fits(&self->endpoint)) {
      *instance = self;
      return TICKET_OK;
   }
   free(self);
   return fail(call, TICKET_SETTINGS_ERROR, "never", "secret.token is empty, or it or endpoint over 8 KiB", str(""));
}

static int32_t check(void *instance, const ticket_call *call) {
   const webhook *self = instance;
   ticket_http_response answer;
   ticket_str why;
   char what[64];
   const int32_t sent = exchange(self, call, "GET", &self->endpoint, str(""), &answer, what, &why);
   if (sent == TICKET_HTTP_DRY_RUN) return fail(call, TICKET_CLIENT_ERROR, "never", what, why);
   const int ok = sent == TICKET_HTTP_OK && answer.status != 401 && answer.status != 403 && answer.status < 500;
   return reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"webhook\", \"message\": \"", what, why,
                ok ? "\", \"ok\": true}]}" : "\", \"ok\": false}]}");
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   return ticket(instance, call, "POST", &((webhook *)instance)->endpoint, request);
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   const webhook *self = instance;
   text key = {0}, url = self->endpoint;
   put_unescaped(&key, member(request, "key"));
   put(&url, str(memchr(url.bytes, '?', url.len) ? "&key=" : "?key="), AS_IS);
   put(&url, view(&key), IN_URL);
   if (!fits(&key) || !fits(&url)) return fail(call, TICKET_PLUGIN_ERROR, "unknown", "a URL over 8 KiB", str(""));
   return ticket(self, call, "GET", &url, str(""));
}

static const ticket_plugin table = {
   sizeof table, TICKET_PLUGIN_ABI_VERSION, {(const uint8_t *)manifest, sizeof manifest - 1},
   open_backend, free, check, create, find,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
