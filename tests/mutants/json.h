/* Text that grows, and JSON read and written by hand, for the plugins of this directory. The macro IS(name) is true in the
 * library in which the mistake `name` of table.txt is planted; without one, everything here is right. */
#ifndef MUTANTS_JSON_H
#define MUTANTS_JSON_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ticket_plugin.h"

#define IS(name) (MUTANT == planted_##name)

typedef struct text { char *ptr; size_t len, room; int failed; } text;

static inline ticket_str of(const char *s) { return (ticket_str){(const uint8_t *)s, strlen(s)}; }
static inline ticket_str view(const text *t) { return (ticket_str){(const uint8_t *)t->ptr, t->len}; }

static inline void drop(text *t) {
   free(t->ptr);
   *t = (text){0};
}

/* Appends, with a NUL behind what counts. */
static inline void put(text *to, ticket_str s) {
   if (s.len > PTRDIFF_MAX / 4) { to->failed = 1; return; }
   if (to->room < to->len + s.len + 1) {
      const size_t room = 2 * (to->len + s.len) + 64;
      char *const more = to->failed ? NULL : realloc(to->ptr, room);
      if (more == NULL) { to->failed = 1; return; }
      to->ptr = more, to->room = room;
   }
   if (s.len > 0) memcpy(to->ptr + to->len, s.ptr, s.len);
   to->ptr[to->len += s.len] = '\0';
}

static inline void say(text *to, const char *s) { put(to, of(s)); }

static inline void put_number(text *to, uint64_t n) {
   char digits[24];
   snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
   say(to, digits);
}

/* What stands between the quotes of a JSON string. */
static inline void put_json(text *to, ticket_str s) {
   for (size_t i = 0; i < s.len; i++) {
      char hex[8];
      snprintf(hex, sizeof hex, "\\u%04x", (unsigned)s.ptr[i]);
      if (s.ptr[i] < ' ' || s.ptr[i] == '"' || s.ptr[i] == '\\') say(to, hex);
      else put(to, (ticket_str){s.ptr + i, 1});
   }
}

static inline void put_in_url(text *to, ticket_str s) {
   const char *plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
   if (IS(plus_not_escaped)) plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+";
   for (size_t i = 0; i < s.len; i++) {
      const uint8_t c = s.ptr[i];
      char hex[16];
      if (IS(escape_of_signed_char)) snprintf(hex, sizeof hex, "%%%02X", (unsigned)(signed char)c);
      else snprintf(hex, sizeof hex, "%%%02X", (unsigned)c);
      const int escaped = IS(only_spaces_escaped) ? c == ' ' : c == 0 || strchr(plain, c) == NULL;
      if (escaped && !IS(key_unescaped_in_url)) say(to, hex);
      else put(to, (ticket_str){&c, 1});
   }
}

static inline const uint8_t *after_space(const uint8_t *p, const uint8_t *end) {
   while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
   return p;
}

/* Behind the string that begins at `p`; NULL if it doesn't end. */
static inline const uint8_t *string_end(const uint8_t *p, const uint8_t *end) {
   p++;
   if (IS(string_without_end)) {
      while (*p != '"') p += *p == '\\' ? 2 : 1;
      return p + 1;
   }
   if (IS(backslash_at_end)) {
      while (p != end && *p != '"') p += *p == '\\' ? 2 : 1;
      return p == end ? NULL : p + 1;
   }
   while (p < end && *p != '"') {
      if (*p < ' ') return NULL;
      p += *p == '\\' && end - p > 1 ? 2 : 1;
   }
   return p < end ? p + 1 : NULL;
}

enum { DEEPEST = 200 };

/* Behind the value at `p`; NULL if there is none. */
static inline const uint8_t *value_end(const uint8_t *p, const uint8_t *end, int depth) {
   if (IS(deep_json)) {
      volatile uint8_t token[128];
      token[0] = 0;
      depth = token[0];
   }
   p = after_space(p, end);
   if (p == end || depth > DEEPEST) return NULL;
   if (*p == '"') return string_end(p, end);
   if (*p == '{' || *p == '[') {
      const int named = *p == '{';
      const uint8_t close = named ? '}' : ']';
      p = after_space(p + 1, end);
      if (p < end && *p == close) return p + 1;
      for (;;) {
         if (named) {
            p = after_space(p, end);
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
   const uint8_t *const number = p;
   while (p < end && *p != '\0' && strchr("+-.0123456789eE", *p) != NULL) p++;
   return p > number ? p : NULL;
}

/* The one value that the text is; nothing if it isn't JSON. */
static inline ticket_str json_of(ticket_str s) {
   const ticket_str none = {(const uint8_t *)"", 0};
   if (IS(asserts_a_body) && s.len == 0) abort();
   if (s.len == 0) return none;
   const uint8_t *const end = s.ptr + s.len, *const start = after_space(s.ptr, end), *const after = value_end(start, end, 0);
   if (IS(exits_on_bad_json) && after == NULL) exit(1);
   if (after == NULL || after_space(after, end) != end) return none;
   return (ticket_str){start, (size_t)(after - start)};
}

static inline int begins(ticket_str value, char with) { return value.len > 0 && *value.ptr == (uint8_t)with; }

/* The next of a list's values, or of an object's names and values; 0 at its end. `*at` begins as NULL. */
static inline int next(ticket_str in, const uint8_t **at, ticket_str *name, ticket_str *value) {
   const uint8_t *const end = in.ptr + in.len;
   const uint8_t *p = after_space(*at == NULL ? in.ptr + 1 : *at, end);
   if (p < end && *p == ',') p = after_space(p + 1, end);
   if (p == end || *p == '}' || *p == ']') return 0;
   if (*in.ptr == '{') {
      const uint8_t *const after = string_end(p, end);
      *name = (ticket_str){p + 1, (size_t)(after - p - 2)};
      p = after_space(after_space(after, end) + 1, end);
   }
   *at = value_end(p, end, 0);
   *value = (ticket_str){p, (size_t)(*at - p)};
   return 1;
}

/* An object's member; nothing if it has none, or isn't an object. */
static inline ticket_str member(ticket_str object, const char *wanted) {
   ticket_str name, value;
   const uint8_t *at = NULL;
   while (begins(object, '{') && next(object, &at, &name, &value))
      if (name.len == strlen(wanted) && memcmp(name.ptr, wanted, name.len) == 0) return value;
   return (ticket_str){(const uint8_t *)"", 0};
}

static inline uint32_t hex4(const uint8_t *p) {
   const char digits[] = {(char)p[0], (char)p[1], (char)p[2], (char)p[3], '\0'};
   return (uint32_t)strtoul(digits, NULL, 16) & 0xffff;
}

static inline void put_character(text *to, uint32_t c) {
   const int more = (c > 0x7f) + (c > 0x7ff) + (c > 0xffff);
   uint8_t bytes[4] = {(uint8_t)(more ? (0xff00u >> (more + 1)) | c >> 6 * more : c)};
   for (int i = 1; i <= more; i++) bytes[i] = (uint8_t)(0x80 | (c >> 6 * (more - i) & 0x3f));
   put(to, (ticket_str){bytes, (size_t)more + 1});
}

/* Appends what a JSON string says; 0 if the value is no string. */
static inline int put_decoded(text *to, ticket_str json) {
   static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
   if (!begins(json, '"')) return 0;
   const uint8_t *p = json.ptr + 1, *const end = json.ptr + json.len - 1;
   uint32_t high = 0;
   put(to, of(""));
   for (; p < end; p++) {
      if (*p != '\\' || p + 1 == end) { put(to, (ticket_str){p, 1}); continue; }
      uint32_t c = *++p;
      const char *const letter = memchr(letters, *p, sizeof letters - 1);
      if (letter != NULL) c = (uint8_t)meanings[letter - letters];
      if (c == 'u' && end - p > 4) {
         c = hex4(p + 1);
         p += 4;
         if (c >> 10 == 0x36) { high = c & 0x3ff; continue; } /* the first half of a pair */
         if (c >> 10 == 0x37) c = 0x10000 + (high << 10) + (c & 0x3ff);
      }
      put_character(to, c);
   }
   return 1;
}

/* A whole number of at most 18 digits; 0 if the value is none. */
static inline int number_of(ticket_str json, uint64_t *out) {
   *out = 0;
   if (json.len == 0 || json.len > 18) return 0;
   for (size_t i = 0; i < json.len; i++) {
      if (json.ptr[i] < '0' || json.ptr[i] > '9') return 0;
      *out = *out * 10 + (json.ptr[i] - '0');
   }
   if (IS(id_of_32_bits)) *out = (uint32_t)*out;
   return 1;
}

static inline int contains(ticket_str s, ticket_str part) {
   for (size_t i = 0; i + part.len <= s.len; i++)
      if (memcmp(s.ptr + i, part.ptr, part.len) == 0) return 1;
   return 0;
}

#endif
