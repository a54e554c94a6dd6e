// SPDX-License-Identifier: MIT-0
//go:build ignore

/* Tests the plugin {{name}} as a host would call it, without a host and without a network:
 *    ./test ./libticket_plugin_{{ident}}.so
 * The requests that the plugin must make, and their answers, stand in the table `cases`: add yours there.
 * (The line `go:build` is for Go, which would compile this into the library.) */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ticket_plugin.h"

#define ENDPOINT "https://desk.example.org/api"
#define TOKEN "s3cret-t0ken"
#define SECRET "\"secret\": {\"token\": \"" TOKEN "\", \"unknown\": 1}"
#define INFORMATION "\"information\": {\"project\": \"R&D \\u00f8\", \"unknown\": [{}]}"
#define SETTINGS "{\"endpoint\": \"" ENDPOINT "/\", \"unknown\": null, " SECRET ", " INFORMATION "}"
#define REQUEST "{\"incident\": {\"description\": \"x\", \"key\": \"not this\"}, \"key\": \"k/1 +&=\\\"\\u00f8\\ud83d\\ude00\", \"dry_run\": false}"
#define KEY "k/1 +&=\\\"\xc3\xb8\xf0\x9f\x98\x80" /* the same in another spelling of JSON */
#define KEY_IN_URL "k%2F1%20%2B%26%3D%22%C3%B8%F0%9F%98%80"
#define TICKET(id, key) "{\"id\": \"" id "\", \"more\": [{\"key\": 1}], \"url\": \"" ENDPOINT "/t/" id "?a=b&c\", \"key\": \"" key "\"}"

/* The requests that this plugin makes. */
#define LOOK .method = "GET", .url = ENDPOINT "/projects/R%26D%20%C3%B8"
#define POST .method = "POST", .url = ENDPOINT "/tickets"
#define SEARCH .method = "GET", .url = ENDPOINT "/tickets?key=" KEY_IN_URL

/* One request that the plugin must make, and what comes of it. */
typedef struct exchange {
   const char *method, *url;
   int32_t     sent;        /* what http() returns: 0 if an answer comes, else TICKET_HTTP_* */
   uint32_t    status;      /* what the ticket system answers */
   const char *answer;      /* its body, or why there is none */
   const char *retry_after; /* its header, if it has one */
} exchange;

enum { MOST_EXCHANGES = 8 };

typedef enum function { CHECK, CREATE, FIND } function;

/* A function that makes several requests has as many exchanges, in their order. For a search that pages:
 *    {"find: page 2", FIND, {{SEARCH, .status = 200, .answer = "..."}, {SEARCH "&page=2", .status = 200, .answer = "..."}}, TICKET_OK, {"..."}}, */
static const struct test_case {
   const char *name;
   function    function;
   exchange    exchanges[MOST_EXCHANGES];
   int32_t     code;        /* what the plugin must return ... */
   const char *reply[2];    /* ... and what its reply must have; JSON's white space and order don't matter */
} cases[] = {
   {"create replies the ticket", CREATE, {{POST, .status = 201, .answer = TICKET("7", "x")}}, TICKET_OK, {"\"url\":\"" ENDPOINT "/t/7?a=b&c\"", "\"id\":\"7\""}},
   {"create: 200 is as good", CREATE, {{POST, .status = 200, .answer = " " TICKET("7", "x") "\n"}}, TICKET_OK, {"\"url\":\"" ENDPOINT "/t/7?a=b&c\""}},
   {"create: 400 is a refusal", CREATE, {{POST, .status = 400, .answer = "{\"error\": \"no title\"}"}}, TICKET_CREATION_ERROR, {"\"retry\":\"never\""}},
   {"create: 401 is the settings'", CREATE, {{POST, .status = 401, .answer = "{}"}}, TICKET_SETTINGS_ERROR, {"\"retry\":\"never\"", "401"}},
   {"create: 403 is the settings'", CREATE, {{POST, .status = 403}}, TICKET_SETTINGS_ERROR, {"\"retry\":\"never\""}},
   {"create: 404 is the settings'", CREATE, {{POST, .status = 404, .answer = "<html>"}}, TICKET_SETTINGS_ERROR, {"\"retry\":\"never\""}},
   {"create: 422 is a refusal", CREATE, {{POST, .status = 422, .answer = "{\"error\": \"no title\"}"}}, TICKET_CREATION_ERROR, {"\"retry\":\"never\"", "no title"}},
   {"create: 429 is for later", CREATE, {{POST, .status = 429, .retry_after = "30"}}, TICKET_CLIENT_ERROR, {"\"retry\":\"later\"", "\"retry_after_ms\":30000"}},
   {"create: 503 is for later", CREATE, {{POST, .status = 503}}, TICKET_CLIENT_ERROR, {"\"retry\":\"later\""}},
   {"Retry-After 0", CREATE, {{POST, .status = 503, .retry_after = "0"}}, TICKET_CLIENT_ERROR, {"\"retry_after_ms\":0"}},
   {"a huge Retry-After is cut to a day", CREATE, {{POST, .status = 429, .retry_after = "99999999999999999999999"}}, TICKET_CLIENT_ERROR, {"\"retry_after_ms\":86400000"}},
   {"a long Retry-After is cut to a day", CREATE, {{POST, .status = 429, .retry_after = "90000"}}, TICKET_CLIENT_ERROR, {"\"retry_after_ms\":86400000"}},
   {"an odd Retry-After is no matter", CREATE, {{POST, .status = 429, .retry_after = "-1 \"soon\""}}, TICKET_CLIENT_ERROR, {"\"retry\":\"later\""}},
   {"create: 502 leaves unknown", CREATE, {{POST, .status = 502}}, TICKET_CLIENT_ERROR, {"\"retry\":\"unknown\""}},
   {"create: a lost answer leaves unknown", CREATE, {{POST, .sent = TICKET_HTTP_UNKNOWN, .answer = "reset"}}, TICKET_CLIENT_ERROR, {"\"retry\":\"unknown\"", "reset"}},
   {"create: what http() will return one day leaves unknown", CREATE, {{POST, .sent = 77}}, TICKET_CLIENT_ERROR, {"\"retry\":\"unknown\""}},
   {"create: not sent is for later", CREATE, {{POST, .sent = TICKET_HTTP_NOT_SENT, .answer = "refused"}}, TICKET_CLIENT_ERROR, {"\"retry\":\"later\"", "refused"}},
   {"create: denied is the settings'", CREATE, {{POST, .sent = TICKET_HTTP_DENIED, .answer = "no"}}, TICKET_SETTINGS_ERROR, {"\"retry\":\"never\""}},
   {"create: a dry run is a client error", CREATE, {{POST, .sent = TICKET_HTTP_DRY_RUN}}, TICKET_CLIENT_ERROR, {"\"message\":\""}},
   {"create: HTML is no ticket", CREATE, {{POST, .status = 201, .answer = "<!DOCTYPE html><p id=\"7\">{\"url\": \"x\"}"}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: nothing is no ticket", CREATE, {{POST, .status = 201}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: what is not UTF-8 is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"\xff\", \"url\": \"https://x/\xc3\"}"}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: half an answer is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"url\": \"https://x/7\""}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: no url is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"self\": {\"url\": \"https://x/7\"}}"}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: an empty url is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"url\": \"\"}"}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: a number is no url", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"url\": 7}"}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: a list is no ticket", CREATE, {{POST, .status = 201, .answer = "[\"7\", \"https://x/7\"]"}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: a redirect leaves unknown", CREATE, {{POST, .status = 303}}, TICKET_PLUGIN_ERROR, {"\"retry\":\"unknown\""}},
   {"create: an answer with the token isn't shown", CREATE, {{POST, .status = 401, .answer = "wrong token: " TOKEN}}, TICKET_SETTINGS_ERROR, {"\"message\":\""}},

   {"find compares keys", FIND, {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ", " TICKET("2", KEY "0") ",\n" TICKET("3", KEY) "]"}}, TICKET_OK, {"\"url\":\"" ENDPOINT "/t/3?a=b&c\"", "\"id\":\"3\""}},
   {"find: similar keys are not it", FIND, {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ", " TICKET("2", "K/1") "]"}}, TICKET_NOT_FOUND, {NULL}},
   {"find: an empty list", FIND, {{SEARCH, .status = 200, .answer = " [ ]\n"}}, TICKET_NOT_FOUND, {NULL}},
   {"find: HTML is no answer", FIND, {{SEARCH, .status = 200, .answer = "<html>[]</html>"}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: nothing is no answer", FIND, {{SEARCH, .status = 200}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: null is no answer", FIND, {{SEARCH, .status = 200, .answer = "null"}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: 204 is no answer", FIND, {{SEARCH, .status = 204}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: an object is no list", FIND, {{SEARCH, .status = 200, .answer = "{\"tickets\": []}"}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: half a list is no list", FIND, {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ","}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: more than a list is no list", FIND, {{SEARCH, .status = 200, .answer = "[] []"}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: numbers are no tickets", FIND, {{SEARCH, .status = 200, .answer = "[1, null]"}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: a ticket without key is none", FIND, {{SEARCH, .status = 200, .answer = "[{\"id\": \"1\", \"url\": \"https://x/1\"}]"}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: a ticket without url is none", FIND, {{SEARCH, .status = 200, .answer = "[{\"id\": \"1\", \"key\": \"" KEY "\"}]"}}, TICKET_PLUGIN_ERROR, {"\"message\":\""}},
   {"find: 401 is the settings'", FIND, {{SEARCH, .status = 401, .answer = "[]"}}, TICKET_SETTINGS_ERROR, {"\"retry\":\"never\""}},
   {"find: 404 is not 'no such ticket'", FIND, {{SEARCH, .status = 404, .answer = "[]"}}, TICKET_SETTINGS_ERROR, {"\"retry\":\"never\""}},
   {"find: 500 is for later", FIND, {{SEARCH, .status = 500}}, TICKET_CLIENT_ERROR, {"\"retry\":\"later\""}},
   {"find: not sent is for later", FIND, {{SEARCH, .sent = TICKET_HTTP_NOT_SENT, .answer = "refused"}}, TICKET_CLIENT_ERROR, {"\"retry\":\"later\""}},

   {"check passes", CHECK, {{LOOK, .status = 200, .answer = "{\"name\": \"R&D\"}"}}, TICKET_OK, {"\"ok\":true"}},
   {"check: 401", CHECK, {{LOOK, .status = 401, .answer = "say \"please\""}}, TICKET_OK, {"\"ok\":false", "\"help\":\""}},
   {"check: 403", CHECK, {{LOOK, .status = 403, .answer = TOKEN}}, TICKET_OK, {"\"ok\":false", "\"help\":\""}},
   {"check: 404", CHECK, {{LOOK, .status = 404}}, TICKET_OK, {"\"ok\":false", "\"help\":\""}},
   {"check: HTML is no project", CHECK, {{LOOK, .status = 200, .answer = "<html>"}}, TICKET_OK, {"\"ok\":false", "\"help\":\""}},
   {"check: 503 is for later", CHECK, {{LOOK, .status = 503, .retry_after = "5"}}, TICKET_CLIENT_ERROR, {"\"retry_after_ms\":5000"}},
};

/* ---- What a test finds ---- */

static char wrong[600]; /* the first thing in a test that is not as it should be */
static int failures;

static void need(int as_expected, const char *format, ...) {
   va_list arguments;
   va_start(arguments, format);
   if (!as_expected && wrong[0] == '\0') vsnprintf(wrong, sizeof wrong, format, arguments);
   va_end(arguments);
}

static void done(const char *name) {
   if (wrong[0] == '\0') printf("ok      %s\n", name);
   else printf("FAILED  %s\n        %s\n", name, wrong), failures++;
   wrong[0] = '\0';
   fflush(stdout);
}

/* ---- The host's side ---- */

typedef struct host {
   ticket_call call;
   const struct test_case *now;
   const char *title;
   char *body;                     /* what render() gives ... */
   char *headers, *sent, *reply;   /* ... and what the plugin sent last and said; NULL: nothing */
   struct { char *answer; ticket_header headers[2]; } given[MOST_EXCHANGES]; /* valid until the function returns */
   int requests, told;             /* `told`: a reply or a log line had the token */
} host;

static host *of(const ticket_call *call) { return call->host; }

static void keep(char **where, ticket_str s) {
   free(*where);
   *where = malloc(s.len + 1);
   if (*where == NULL) abort();
   if (s.len > 0) memcpy(*where, s.ptr, s.len);
   (*where)[s.len] = '\0';
}

static ticket_str text(const char *s) { return (ticket_str){(const uint8_t *)s, s != NULL ? strlen(s) : 0}; }

/* JSON without white space between values and without escapes: \" becomes ', \n becomes |. */
static char *plain(const char *json) {
   char *const out = malloc(2 * strlen(json) + 1), *to = out;
   int quoted = 0;
   if (out == NULL) abort();
   for (const char *p = json; *p != '\0'; p++) {
      unsigned c = (unsigned char)*p;
      if (!quoted && strchr(" \t\r\n", *p) != NULL) continue;
      if (c == '"') quoted = !quoted;
      else if (quoted && c < ' ') c = '?'; /* must be escaped */
      else if (quoted && c == '\\' && p[1] != '\0') {
         c = (unsigned char)*++p;
         if (c == 'u' && strnlen(p, 5) == 5) {
            const char hex[] = {p[1], p[2], p[3], p[4], '\0'};
            c = (unsigned)strtoul(hex, NULL, 16);
            p += 4;
            if (c >> 10 == 0x36 && strncmp(p + 1, "\\ud", 3) == 0 && strnlen(p, 7) == 7) {
               const char low[] = {p[3], p[4], p[5], p[6], '\0'};
               c = 0x10000 + ((c & 0x3ff) << 10) + ((unsigned)strtoul(low, NULL, 16) & 0x3ff);
               p += 6;
            }
         } else if (c == 'n') c = '\n';
         if (c == '"') c = '\'';
         if (c == '\n') c = '|';
         if (c > 0xffff) *to++ = (char)(0xf0 | c >> 18), *to++ = (char)(0x80 | (c >> 12 & 0x3f)), *to++ = (char)(0x80 | (c >> 6 & 0x3f)), c = 0x80 | (c & 0x3f);
         else if (c > 0x7ff) *to++ = (char)(0xe0 | c >> 12), *to++ = (char)(0x80 | (c >> 6 & 0x3f)), c = 0x80 | (c & 0x3f);
         else if (c > 0x7f) *to++ = (char)(0xc0 | c >> 6), c = 0x80 | (c & 0x3f);
      }
      *to++ = (char)c;
   }
   *to = '\0';
   return out;
}

static void on_reply(const ticket_call *call, ticket_str json) {
   keep(&of(call)->reply, json);
   of(call)->told |= strstr(of(call)->reply, TOKEN) != NULL;
}

static void on_log(const ticket_call *call, uint32_t level, ticket_str message) {
   char *line = NULL;
   (void)level;
   keep(&line, message);
   of(call)->told |= strstr(line, TOKEN) != NULL;
   free(line);
}

static uint64_t on_remaining_ms(const ticket_call *call) { (void)call; return 30000; }

/* All headers, a line each, their names in lower case. */
static char *lines_of(const ticket_http_request *request) {
   char *all = NULL;
   for (uint32_t i = 0; i < request->header_count; i++) {
      char *name = NULL, *value = NULL;
      keep(&name, request->headers[i].name);
      keep(&value, request->headers[i].value);
      for (char *c = name; *c != '\0'; c++) if (*c >= 'A' && *c <= 'Z') *c += 'a' - 'A';
      const size_t size = (all != NULL ? strlen(all) : 0) + strlen(name) + strlen(value) + 4;
      char *const more = calloc(1, size);
      if (more == NULL) abort();
      snprintf(more, size, "%s%s: %s\n", all != NULL ? all : "", name, value);
      free(all), free(name), free(value);
      all = more;
   }
   return all;
}

/* The exchange of this request: the first of the case that no request had yet. NULL, and the test fails, if the
 * case has none, or another one. */
static const exchange *next_exchange(host *h, const ticket_http_request *request) {
   char *method = NULL, *url = NULL;
   keep(&method, request->method);
   keep(&url, request->url);
   const exchange *next = h->now != NULL && h->requests < MOST_EXCHANGES ? &h->now->exchanges[h->requests] : NULL;
   if (next != NULL && next->url == NULL) next = NULL;
   h->requests++;
   need(next != NULL, "request %d: expected none, got %s %s", h->requests, method, url);
   if (next != NULL && (strcmp(next->method, method) != 0 || strcmp(next->url, url) != 0)) {
      need(0, "request %d: expected %s %s, got %s %s", h->requests, next->method, next->url, method, url);
      next = NULL;
   }
   free(method), free(url);
   return next;
}

static int32_t on_http(const ticket_call *call, const ticket_http_request *request, ticket_http_response *response) {
   host *const h = of(call);
   const exchange *const now = next_exchange(h, request);
   keep(&h->sent, request->body);
   free(h->headers);
   h->headers = lines_of(request);
   if (now == NULL || request->size < sizeof *request || response->size < sizeof *response) return TICKET_HTTP_DENIED;
   char **const answer = &h->given[h->requests - 1].answer;
   ticket_header *const headers = h->given[h->requests - 1].headers;
   keep(answer, text(now->answer));
   headers[0] = (ticket_header){text("content-type"), text("application/json")};
   headers[1] = (ticket_header){text("retry-after"), text(now->retry_after)};
   response->body = text(*answer);
   response->headers = headers;
   if (now->sent == TICKET_HTTP_OK) {
      response->status = now->status;
      response->header_count = now->retry_after != NULL ? 2 : 1;
   }
   return now->sent;
}

static int32_t on_render(const ticket_call *call, ticket_str part, ticket_str format, ticket_str extra, ticket_str *out) {
   const int title = part.len == 5 && memcmp(part.ptr, "title", 5) == 0 && format.len == 4 && memcmp(format.ptr, "text", 4) == 0;
   const int body = part.len == 4 && memcmp(part.ptr, "body", 4) == 0 && format.len == 8 && memcmp(format.ptr, "markdown", 8) == 0;
   const int object = extra.len >= 2 && extra.ptr[0] == '{';
   *out = text(title ? of(call)->title : body ? of(call)->body : "no such part or format");
   return (title || body) && object ? TICKET_OK : TICKET_PLUGIN_ERROR;
}

static host *new_host(void) {
   host *const h = calloc(1, sizeof *h);
   if (h == NULL) abort();
   h->call = (ticket_call){sizeof h->call, 0, h, on_reply, on_log, on_remaining_ms, on_http, on_render};
   h->title = "say \"\xc3\xb8\"";
   keep(&h->body, text("one\\\n\ttwo \x01"));
   return h;
}

static void free_host(host *h) {
   for (int i = 0; i < MOST_EXCHANGES; i++) free(h->given[i].answer);
   free(h->body), free(h->headers), free(h->sent), free(h->reply);
   free(h);
}

/* ---- What is expected of replies and requests ---- */

static void need_in(const char *what, const char *json, const char *expected) {
   char *const p = plain(json != NULL ? json : "");
   need(strstr(p, expected) != NULL, "%s: expected %s in it, got %.300s", what, expected, p);
   free(p);
}

static void need_code(const host *h, int32_t code, int32_t expected) {
   need(code == expected, "expected the code %d, got %d with the reply %.200s", (int)expected, (int)code, h->reply != NULL ? h->reply : "(none)");
   need(!h->told, "expected the token in no reply and no log line");
}

static const ticket_plugin *plugin;

static int32_t open_with(host *h, ticket_str settings, void **instance) {
   char *given = NULL;
   keep(&given, settings);
   const int32_t code = plugin->open(&h->call, (ticket_str){(const uint8_t *)given, settings.len}, instance);
   memset(given, '#', settings.len); /* it was only borrowed */
   free(given);
   return code;
}

/* What the function returns that the case is about. */
static int32_t play(host *h, void *instance, const struct test_case *c, ticket_str request) {
   h->now = c;
   h->requests = h->told = 0;
   free(h->reply);
   h->reply = NULL;
   return c->function == CHECK    ? plugin->check(instance, &h->call)
          : c->function == CREATE ? plugin->create(instance, &h->call, request)
                                  : plugin->find(instance, &h->call, request);
}

static void need_requests(const host *h) {
   int expected = 0;
   while (expected < MOST_EXCHANGES && h->now->exchanges[expected].url != NULL) expected++;
   need(h->requests == expected, "expected %d request(s), got %d", expected, h->requests);
}

/* ---- The tests ---- */

static void test_manifest(const ticket_plugin *(*entry)(uint32_t)) {
   need(entry(TICKET_PLUGIN_ABI_VERSION + 1) == NULL, "expected NULL for a host of another ABI version");
   need(plugin->size >= sizeof *plugin && plugin->abi_version == TICKET_PLUGIN_ABI_VERSION, "expected a whole table of ABI version 1");
   need(plugin->open && plugin->close && plugin->check && plugin->create && plugin->find, "expected all five functions");
   char *manifest = NULL;
   keep(&manifest, plugin->manifest);
   need_in("the manifest", manifest, "\"name\":\"{{name}}\"");
   need_in("the manifest", manifest, "\"required\":[\"token\"]");
   need_in("the manifest", manifest, "\"required\":[\"project\"]");
   free(manifest);
   done("the manifest is there");
}

static void test_open(void) {
   static const char *const bad[] = {
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": {}}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": {\"project\": 7}}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": {\"project\": \"\"}}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": [\"project\"]}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {}, " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {\"token\": [\"" TOKEN "\"]}, " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {\"token\": null}, " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": \"" TOKEN "\", " INFORMATION "}",
      "{" SECRET ", " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", " INFORMATION, /* cut */
      "[]", "null", "\"", "\xff", "",
   };
   host *const h = new_host();
   void *instance = NULL;
   for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
      const int32_t code = open_with(h, text(bad[i]), &instance);
      need(code == TICKET_SETTINGS_ERROR, "expected the code 1 of %s, got %d", bad[i], (int)code);
      need_code(h, code, TICKET_SETTINGS_ERROR);
      need_in(bad[i], h->reply, "\"message\":\"");
   }
   need_code(h, plugin->open(&h->call, (ticket_str){NULL, 0}, &instance), TICKET_SETTINGS_ERROR);
   done("open refuses settings without token or project");
   need_code(h, open_with(h, text(SETTINGS), &instance), TICKET_OK);
   need(h->requests == 0, "expected no request, got %d", h->requests);
   if (wrong[0] == '\0') plugin->close(instance);
   done("open ignores unknown members, and asks nothing");
   free_host(h);
}

static void test_request(void *instance) {
   static const struct test_case create = {.function = CREATE, .exchanges = {{POST, .status = 201, .answer = TICKET("7", "x")}}};
   host *const h = new_host();
   need_code(h, play(h, instance, &create, text(REQUEST)), TICKET_OK);
   need_in("headers", h->headers, "authorization:Bearer" TOKEN);
   need_in("headers", h->headers, "content-type:application/json");
   need_in("the body", h->sent, "\"project\":\"R&D \xc3\xb8\"");
   need_in("the body", h->sent, "\"title\":\"say '\xc3\xb8'\"");
   need_in("the body", h->sent, "\"body\":\"one\\|");
   need_in("the body", h->sent, "two \x01\"");
   need_in("the body", h->sent, "\"key\":\"k/1 +&='\xc3\xb8\xf0\x9f\x98\x80\"");
   done("create sends project, title, body and key");

   void *other = NULL;
   need_code(h, open_with(h, text("{\"endpoint\": \"" ENDPOINT "\", " SECRET ", " INFORMATION "}"), &other), TICKET_OK);
   need_code(h, play(h, other, &create, text(REQUEST)), TICKET_OK);
   need_requests(h);
   if (other != NULL) plugin->close(other);
   done("the endpoint may end in a slash, or not");

   h->title = NULL; /* an empty text without a pointer */
   need_code(h, play(h, instance, &create, text(REQUEST)), TICKET_OK);
   need_in("the body", h->sent, "\"title\":\"\"");
   done("an empty title");

   enum { HUGE_BODY = 3 << 20 };
   char *const huge = malloc(HUGE_BODY + 1);
   if (huge == NULL) abort();
   memset(huge, '"', HUGE_BODY);
   memcpy(huge + HUGE_BODY - 3, "end", 4);
   keep(&h->body, text(huge));
   need_code(h, play(h, instance, &create, text(REQUEST)), TICKET_OK);
   need_in("the body", h->sent, "'''end\"");
   need(h->sent != NULL && strlen(h->sent) > HUGE_BODY, "expected all of it");
   done("a huge body is sent whole");

   memset(huge, '[', HUGE_BODY);
   const struct test_case find = {.function = FIND, .exchanges = {{SEARCH, .status = 200, .answer = huge}}};
   need_code(h, play(h, instance, &find, text(REQUEST)), TICKET_PLUGIN_ERROR);
   done("a deep answer is an error");
   free(huge);
   free_host(h);
}

static void test_bad_requests(void *instance) {
   static const char *const bad[] = {"", "{", "[]", "null", "{}", "{\"key\": 7}", "{\"key\": \"a", "\xff"};
   static const struct test_case functions[] = {{.function = CREATE}, {.function = FIND}};
   host *const h = new_host();
   for (size_t i = 0; i < 2 * sizeof bad / sizeof *bad; i++) {
      const char *const request = bad[i / 2];
      need_code(h, play(h, instance, &functions[i % 2], text(*request != '\0' ? request : NULL)), TICKET_PLUGIN_ERROR);
      need_requests(h);
      need_in(request, h->reply, "\"message\":\"");
   }
   done("a request without key is an error");
   free_host(h);
}

static long resident_pages(void) {
   long all = 0, resident = 0;
   FILE *const file = fopen("/proc/self/statm", "r");
   if (file == NULL) return 0;
   if (fscanf(file, "%ld %ld", &all, &resident) != 2) resident = 0;
   fclose(file);
   return resident;
}

static void test_leaks(void) {
   static char settings[5000];
   host *const h = new_host();
   char token[4001];
   memset(token, 't', sizeof token - 1);
   token[sizeof token - 1] = '\0';
   snprintf(settings, sizeof settings, "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {\"token\": \"%s\"}, " INFORMATION "}", token);
   long before = 0;
   for (int i = 0; i < 11000; i++) {
      void *instance = NULL;
      if (i == 1000) before = resident_pages();
      need_code(h, open_with(h, text(settings), &instance), TICKET_OK);
      if (instance != NULL) plugin->close(instance);
   }
   const long grown = (resident_pages() - before) * (sysconf(_SC_PAGESIZE) / 1024);
   need(grown < 20 * 1024, "expected no growth, got %ld KiB more after 10000 instances of 4 KiB", grown);
   done("open and close 10,000 times");
   free_host(h);
}

static void *one_thread(void *unused) {
   static const struct test_case find = {.function = FIND, .exchanges = {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ", " TICKET("3", KEY) "]"}}};
   host *const h = new_host();
   void *instance = NULL;
   int right = 0;
   (void)unused;
   if (open_with(h, text(SETTINGS), &instance) == TICKET_OK) {
      for (int i = 0; i < 200; i++)
         right += play(h, instance, &find, text(REQUEST)) == TICKET_OK && h->reply != NULL && strstr(h->reply, "/t/3") != NULL;
      plugin->close(instance);
   }
   free_host(h);
   return right == 200 ? NULL : "wrong";
}

static void test_threads(void) {
   pthread_t threads[4];
   int started = 0;
   while (started < 4 && pthread_create(&threads[started], NULL, one_thread, NULL) == 0) started++;
   for (int i = 0; i < started; i++) {
      void *result = NULL;
      pthread_join(threads[i], &result);
      need(result == NULL, "expected the right ticket 200 times");
   }
   done("four instances at the same time");
}

int main(int count, char **arguments) {
   if (count != 2) return fprintf(stderr, "usage: %s ./libticket_plugin_{{ident}}.so\n", arguments[0]), 2;
   void *const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
   if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
   const ticket_plugin *(*entry)(uint32_t) = NULL;
   *(void **)&entry = dlsym(library, "ticket_plugin_entry");
   plugin = entry != NULL ? entry(TICKET_PLUGIN_ABI_VERSION) : NULL;
   if (plugin == NULL) return fprintf(stderr, "%s: expected a table of ticket_plugin_entry\n", arguments[1]), 1;

   test_manifest(entry);
   if (failures > 0) return 1; /* what is missing can't be called */
   test_open();
   host *const h = new_host();
   void *instance = NULL;
   if (open_with(h, text(SETTINGS), &instance) != TICKET_OK) return fprintf(stderr, "expected an instance\n"), 1;
   test_request(instance);
   for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      const struct test_case *const c = &cases[i];
      need_code(h, play(h, instance, c, text(REQUEST)), c->code);
      need_requests(h);
      for (int i = 0; i < 2; i++) if (c->reply[i] != NULL) need_in("the reply", h->reply, c->reply[i]);
      done(c->name);
   }
   test_bad_requests(instance);
   plugin->close(instance);
   free_host(h);
   test_leaks();
   test_threads();
   printf(failures == 0 ? "all as expected\n" : "%d failed\n", failures);
   return failures == 0 ? 0 : 1;
}
