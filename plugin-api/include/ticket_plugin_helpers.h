/* SPDX-License-Identifier: MIT-0 */
/* Helpers for ticket plugins in C99: text, JSON and errors, for want of a library.
 *
 * Not part of the ABI: all of it is compiled into the plugin that includes it. Rust plugins have
 * the crate ticket-plugin-api instead. webhook.c in plugins/webhook-c shows its use.
 */
#ifndef TICKET_PLUGIN_HELPERS_H
#define TICKET_PLUGIN_HELPERS_H

#include "ticket_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define TICKET_HELPER static __attribute__((unused))
#else
#define TICKET_HELPER static
#endif

/* ---- Text and JSON ---- */

/* At most 8 KiB, which is what servers take as a URL or a header. `len` counts on where the bytes
 * end, so that ticket_fits() shows it; ticket_view() never does. */
typedef struct ticket_text { size_t len; uint8_t bytes[8192]; } ticket_text;

TICKET_HELPER ticket_str ticket_of(const char *s) { return (ticket_str){(const uint8_t *)s, strlen(s)}; }
TICKET_HELPER int ticket_fits(const ticket_text *t) { return t->len <= sizeof t->bytes; }
TICKET_HELPER ticket_str ticket_view(const ticket_text *t) { return (ticket_str){t->bytes, ticket_fits(t) ? t->len : sizeof t->bytes}; }

TICKET_HELPER void ticket_put_byte(ticket_text *t, uint32_t c) {
   if (t->len < sizeof t->bytes) t->bytes[t->len] = (uint8_t)c;
   t->len++;
}

enum { TICKET_AS_IS, TICKET_IN_JSON, TICKET_IN_URL };

TICKET_HELPER void ticket_put(ticket_text *t, ticket_str s, int where) {
   static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
   for (size_t i = 0; i < s.len; i++) {
      const uint8_t c = s.ptr[i];
      const int json = where == TICKET_IN_JSON && (c < ' ' || c == '"' || c == '\\');
      char hex[8];
      snprintf(hex, sizeof hex, json ? "\\u%04x" : "%%%02X", (unsigned)c);
      if (json || (where == TICKET_IN_URL && !memchr(plain, c, sizeof plain - 1))) ticket_put(t, ticket_of(hex), TICKET_AS_IS);
      else ticket_put_byte(t, c);
   }
}

/* The JSON of an object's own member, or nothing. Only a name stands before a colon, and only the
 * object's own at depth 1: neither a text nor a member of another value passes for it. */
TICKET_HELPER ticket_str ticket_member(ticket_str object, const char *name) {
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
   return ticket_of("");
}

/* What a JSON string says, in UTF-8. Any other value says nothing. */
TICKET_HELPER void ticket_put_unescaped(ticket_text *t, ticket_str json) {
   static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
   const uint8_t *p = json.ptr, *end = p + json.len;
   uint32_t high = 0;
   while (p < end && *p <= ' ') p++;
   if (p == end || *p != '"') return;
   while (++p < end && *p != '"') {
      if (*p != '\\') { ticket_put_byte(t, *p); continue; }
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
      ticket_put_byte(t, more ? (0xff00u >> (more + 1)) | c >> 6 * more : c);
      while (more-- > 0) ticket_put_byte(t, 0x80 | (c >> 6 * more & 0x3f));
   }
}

/* ---- Replies and errors ---- */

/* Replies `begin`, `what` and `why`, the last of which may be any UTF-8, and returns `code`. */
TICKET_HELPER int32_t ticket_reply(const ticket_call *call, int32_t code, const char *begin, const char *what,
                                   ticket_str why, const char *end) {
   ticket_text json = {0};
   ticket_put(&json, ticket_of(begin), TICKET_AS_IS);
   ticket_put(&json, ticket_of(what), TICKET_AS_IS);
   ticket_put(&json, why, TICKET_IN_JSON);
   ticket_put(&json, ticket_of(end), TICKET_AS_IS);
   const int fits = ticket_fits(&json);
   call->reply(call, fits ? ticket_view(&json) : ticket_of("{\"message\": \"over 8 KiB\", \"retry\": \"unknown\"}"));
   return fits ? code : TICKET_PLUGIN_ERROR;
}

/* Replies an error; `retry` is "never", "later" or "unknown". Returns `code`. */
TICKET_HELPER int32_t ticket_fail(const ticket_call *call, int32_t code, const char *retry, const char *what, ticket_str why) {
   char end[32];
   snprintf(end, sizeof end, "\", \"retry\": \"%s\"}", retry);
   return ticket_reply(call, code, "{\"message\": \"", what, why, end);
}

/* One exchange and what came of it. */
typedef struct ticket_exchange {
   int32_t              sent;     /* TICKET_HTTP_OK and so on */
   uint32_t             flags;    /* the request's */
   ticket_http_response response; /* its status is 0 if no answer came */
   char                 what[64]; /* in words: what came of it ... */
   ticket_str           why;      /* ... and why; of an answer's body the beginning that is ASCII, which is UTF-8 */
} ticket_exchange;

/* Does one exchange with these flags and headers. A login, or a search by POST, has TICKET_HTTP_CHANGES_NOTHING. */
TICKET_HELPER ticket_exchange ticket_http_flagged(const ticket_call *call, uint32_t flags, const char *method, ticket_str url,
                                                  const ticket_header *headers, uint32_t header_count, ticket_str body) {
   const ticket_http_request request = {
      .size = sizeof request, .header_count = header_count, .method = ticket_of(method), .url = url, .headers = headers,
      .body = body, .flags = flags,
   };
   ticket_exchange done = {.flags = flags, .response.size = sizeof done.response};
   done.sent = call->http(call, &request, &done.response);
   done.why = done.response.body;
   if (done.sent == TICKET_HTTP_OK) {
      snprintf(done.what, sizeof done.what, "the ticket system answered %u: ", (unsigned)done.response.status);
      const size_t all = done.why.len;
      for (done.why.len = 0; done.why.len < all && done.why.len < 200 && done.why.ptr[done.why.len] < 0x80;) done.why.len++;
   }
   return done;
}

/* Does one exchange with these headers. ticket_header_value() reads those of the answer. */
TICKET_HELPER ticket_exchange ticket_http(const ticket_call *call, const char *method, ticket_str url,
                                          const ticket_header *headers, uint32_t header_count, ticket_str body) {
   return ticket_http_flagged(call, 0, method, url, headers, header_count, body);
}

/* The value of an answer's header, by its name in lower case; empty if there is none. */
TICKET_HELPER ticket_str ticket_header_value(const ticket_http_response *response, const char *name) {
   for (uint32_t i = 0; i < response->header_count; i++) {
      const ticket_header *header = &response->headers[i];
      if (header->name.len == strlen(name) && memcmp(header->name.ptr, name, strlen(name)) == 0) return header->value;
   }
   return ticket_of("");
}

/* Replies the error that an exchange stands for, its kind by the status. Returns its code. */
TICKET_HELPER int32_t ticket_http_error(const ticket_call *call, const ticket_exchange *done) {
   const uint32_t status = done->response.status;
   const int later = status == 408 || status == 425 || status == 429 || status == 503;
   if (done->sent == TICKET_HTTP_DENIED || status == 401 || status == 403 || status == 404 || status == 410)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", done->what, done->why);
   if (done->sent == TICKET_HTTP_NOT_SENT || done->sent == TICKET_HTTP_DRY_RUN || later)
      return ticket_fail(call, TICKET_CLIENT_ERROR, "later", done->what, done->why);
   if (done->sent != TICKET_HTTP_OK || status >= 500)
      return ticket_fail(call, TICKET_CLIENT_ERROR, done->flags & TICKET_HTTP_CHANGES_NOTHING ? "later" : "unknown", done->what, done->why);
   if (status >= 400) return ticket_fail(call, TICKET_CREATION_ERROR, "never", done->what, done->why);
   return ticket_fail(call, TICKET_PLUGIN_ERROR, "unknown", "an answer that this plugin doesn't expect: ", done->why);
}

#endif
