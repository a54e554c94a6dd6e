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
      const char *letter = (const char *)memchr(letters, *p, sizeof letters - 1);
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

/* Whether a JSON string says `s`, of at most 8 KiB, byte for byte. */
TICKET_HELPER int ticket_says(ticket_str json, ticket_str s) {
   ticket_text said;
   said.len = 0;
   ticket_put_unescaped(&said, json);
   return json.len > 0 && ticket_fits(&said) && said.len == s.len && (s.len == 0 || memcmp(said.bytes, s.ptr, s.len) == 0);
}

/* Whether a member's JSON is `true`. */
TICKET_HELPER int ticket_is_true(ticket_str json) {
   while (json.len > 0 && *json.ptr <= ' ') json.ptr++, json.len--;
   return json.len >= 4 && memcmp(json.ptr, "true", 4) == 0;
}

/* Whether two texts are equal, in a time that doesn't tell where they differ: for the token of a webhook. */
TICKET_HELPER int ticket_same_secret(ticket_str a, ticket_str b) {
   unsigned differ = a.len != b.len;
   for (size_t i = 0; i < a.len && i < b.len; i++) differ |= (unsigned)(a.ptr[i] ^ b.ptr[i]);
   return differ == 0;
}

/* Puts the date of the day before `json`, a time such as "2026-11-23T07:00:00Z", which leaves room for clocks. Of any other value
 * nothing: then read all. */
TICKET_HELPER void ticket_put_day_before(ticket_text *t, ticket_str json) {
   int year, month, day;
   char date[32];
   ticket_text time;
   time.len = 0;
   ticket_put_unescaped(&time, json);
   if (time.len < 10 || !ticket_fits(&time)) return;
   memcpy(date, time.bytes, 10);
   date[10] = '\0';
   if (sscanf(date, "%4d-%2d-%2d", &year, &month, &day) != 3) return;
   if (--day == 0) {
      if (--month == 0) year--, month = 12;
      day = month == 2 ? 28 : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
   }
   snprintf(date, sizeof date, "%04d-%02d-%02d", year, month, day);
   ticket_put(t, ticket_of(date), TICKET_AS_IS);
}

/* ---- Text of any length ---- */

/* Begin with {0}, and free(ptr) at the end. `failed`: there was no memory. */
typedef struct ticket_long { uint8_t *ptr; size_t len, room; int failed; } ticket_long;

TICKET_HELPER ticket_str ticket_long_view(const ticket_long *t) { return (ticket_str){t->ptr, t->len}; }

/* What ticket_put() is to a ticket_text. */
TICKET_HELPER void ticket_add(ticket_long *to, ticket_str s, int where) {
   for (size_t i = 0; i < s.len; i += 1024) {
      ticket_text piece; /* has room for the longest escapes of 1024 bytes */
      piece.len = 0;
      ticket_put(&piece, (ticket_str){s.ptr + i, s.len - i < 1024 ? s.len - i : 1024}, where);
      if (to->len + piece.len > to->room) {
         const size_t room = 2 * to->room + sizeof piece.bytes;
         uint8_t *const more = (uint8_t *)realloc(to->ptr, room);
         if (more == NULL) { to->failed = 1; return; }
         to->ptr = more, to->room = room;
      }
      memcpy(to->ptr + to->len, piece.bytes, piece.len);
      to->len += piece.len;
   }
}

/* Adds text as it is. */
TICKET_HELPER void ticket_add_text(ticket_long *to, const char *s) { ticket_add(to, ticket_of(s), TICKET_AS_IS); }

/* ---- JSON from outside, which may be anything: what reads members and items needs what ticket_is_json() has taken ---- */

TICKET_HELPER const uint8_t *ticket_after_space(const uint8_t *p, const uint8_t *end) {
   while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
   return p;
}

/* Four hexadecimal digits, or -1. */
TICKET_HELPER long ticket_hex4(const uint8_t *p, const uint8_t *end) {
   static const char digits[] = "0123456789abcdef0123456789ABCDEF";
   long value = 0;
   for (int i = 0; i < 4; i++) {
      const char *const digit = p + i < end ? (const char *)memchr(digits, p[i], 32) : NULL;
      if (digit == NULL) return -1;
      value = value * 16 + (digit - digits) % 16;
   }
   return value;
}

/* The length of the UTF-8 character at `p`, 0 if it is none. */
TICKET_HELPER size_t ticket_utf8_length(const uint8_t *p, const uint8_t *end) {
   const size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
   if ((size_t)(end - p) < n) return 0;
   for (size_t i = 1; i < n; i++) if (p[i] >> 6 != 2) return 0;
   const int odd = (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
                   (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f);
   return odd ? 0 : n;
}

/* Where the string that begins at `p` ends, or NULL. */
TICKET_HELPER const uint8_t *ticket_string_end(const uint8_t *p, const uint8_t *end) {
   for (p++; p < end && *p != '"';) {
      if (*p < ' ') return NULL;
      if (*p != '\\') {
         const size_t n = ticket_utf8_length(p, end);
         if (n == 0) return NULL;
         p += n;
      } else if (end - p > 5 && p[1] == 'u') {
         const long c = ticket_hex4(p + 2, end);
         const int pair = c >> 10 == 0x36 && end - p > 11 && p[6] == '\\' && p[7] == 'u' && ticket_hex4(p + 8, end) >> 10 == 0x37;
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
TICKET_HELPER const uint8_t *ticket_value_end(const uint8_t *p, const uint8_t *end, int depth) {
   p = ticket_after_space(p, end);
   if (p == end || depth > 100) return NULL;
   if (*p == '"') return ticket_string_end(p, end);
   if (*p == '{' || *p == '[') {
      const int named = *p == '{';
      const uint8_t close = named ? '}' : ']';
      p = ticket_after_space(p + 1, end);
      if (p < end && *p == close) return p + 1;
      for (;;) {
         p = ticket_after_space(p, end);
         if (named) {
            if (p == end || *p != '"' || (p = ticket_string_end(p, end)) == NULL) return NULL;
            p = ticket_after_space(p, end);
            if (p == end || *p++ != ':') return NULL;
         }
         if ((p = ticket_value_end(p, end, depth + 1)) == NULL) return NULL;
         p = ticket_after_space(p, end);
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

/* Whether `s` is JSON, and its value begins with `first`: '{' or '['. */
TICKET_HELPER int ticket_is_json(ticket_str s, uint8_t first) {
   if (s.len == 0 || s.ptr == NULL) return 0;
   const uint8_t *const end = s.ptr + s.len, *const start = ticket_after_space(s.ptr, end);
   const uint8_t *const after = ticket_value_end(start, end, 0);
   return after != NULL && *start == first && ticket_after_space(after, end) == end;
}

/* An object's member as it stands there, in quotes; nothing if it is no string. */
TICKET_HELPER ticket_str ticket_string_member(ticket_str object, const char *name) {
   const ticket_str value = ticket_member(object, name);
   if (value.len == 0) return value;
   const uint8_t *const end = value.ptr + value.len, *const start = ticket_after_space(value.ptr, end);
   const uint8_t *const after = start < end && *start == '"' ? ticket_string_end(start, end) : NULL;
   return after != NULL ? (ticket_str){start, (size_t)(after - start)} : ticket_of("");
}

/* Goes from an item of a list to the next; from an empty one to the first. 0: that was the last, or it is no list. */
TICKET_HELPER int ticket_item(ticket_str list, ticket_str *item) {
   const uint8_t *const end = list.ptr + list.len;
   const uint8_t *p = ticket_after_space(item->len > 0 ? item->ptr + item->len : list.ptr, end);
   if (p == end || *p != (item->len > 0 ? ',' : '[')) return 0;
   p = ticket_after_space(p + 1, end);
   const uint8_t *const after = ticket_value_end(p, end, 1);
   if (after == NULL) return 0;
   item->ptr = p, item->len = (size_t)(after - p);
   return 1;
}

/* The JSON of a header's value, by its name in lower case, of receive()'s request; nothing if it isn't there. */
TICKET_HELPER ticket_str ticket_webhook_header(ticket_str request, const char *name) {
   const ticket_str headers = ticket_member(request, "headers");
   ticket_str header = ticket_of("");
   while (ticket_item(headers, &header)) {
      ticket_str part = ticket_of("");
      if (ticket_item(header, &part) && ticket_says(part, ticket_of(name)) && ticket_item(header, &part)) return part;
   }
   return ticket_of("");
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
   ticket_exchange done;
   memset(&done, 0, sizeof done);
   done.flags = flags;
   done.response.size = sizeof done.response;
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

/* Replies the error that an exchange of update() stands for, its kind by the status. `partial`: the step's comment is on the ticket
 * already. Returns its code. */
TICKET_HELPER int32_t ticket_step_error(const ticket_call *call, const ticket_exchange *done, int partial) {
   const uint32_t status = done->response.status;
   const char *const in_doubt = done->flags & TICKET_HTTP_CHANGES_NOTHING ? "later" : "unknown";
   const char *what = done->what, *retry = "never";
   int32_t code = TICKET_CREATION_ERROR;
   if (done->sent == TICKET_HTTP_DENIED || status == 401 || status == 403 || status == 404 || status == 410)
      code = TICKET_SETTINGS_ERROR;
   else if (done->sent == TICKET_HTTP_NOT_SENT || done->sent == TICKET_HTTP_DRY_RUN || status == 408 || status == 425 || status == 429 || status == 503)
      code = TICKET_CLIENT_ERROR, retry = "later";
   else if (done->sent != TICKET_HTTP_OK || status >= 500)
      code = TICKET_CLIENT_ERROR, retry = in_doubt;
   else if (status < 400)
      code = TICKET_PLUGIN_ERROR, retry = in_doubt, what = "an answer that this plugin doesn't expect: ";
   char end[64];
   snprintf(end, sizeof end, "\", \"retry\": \"%s\"%s}", retry, partial ? ", \"partial\": true" : "");
   return ticket_reply(call, code, "{\"message\": \"", what, done->why, end);
}

/* As ticket_step_error(), where no comment of a step was written. */
TICKET_HELPER int32_t ticket_http_error(const ticket_call *call, const ticket_exchange *done) { return ticket_step_error(call, done, 0); }

#endif
