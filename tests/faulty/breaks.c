/* A plugin for the ticket system that validate/breaks.toml describes. It is correct but for one rule, by which it fails one
 * case of the validator: the case that `information.breaks` names. Rules that must be broken before there are settings
 * are broken by libraries of their own, which are compiled with -DBREAKS_<CASE>. */
#define _POSIX_C_SOURCE 200809L
#include "ticket_plugin_helpers.h"

#include <time.h>

#ifdef __linux__
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

#ifdef BREAKS_SCHEMAS
#define SECRET "{\"type\": 17}"
#else
#define SECRET "{\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\": {\"type\": \"string\"," \
               " \"description\": \"sent as it is\"}}}"
#endif
#ifdef BREAKS_PERMISSIONS
#define PERMISSIONS ", \"permissions\": [{\"permission\": \"teleport\", \"what\": \"a\", \"why\": \"b\"}]"
#else
#define PERMISSIONS ""
#endif
#ifdef BREAKS_MANIFEST
#define NAME "Not A Name"
#else
#define NAME "breaks"
#endif

static const char manifest[] = "{\"name\": \"" NAME "\", \"version\": \"1\", \"license\": \"MIT\","
   " \"description\": \"breaks one rule\", \"secret_schema\": " SECRET ", \"information_schema\":"
   " {\"type\": \"object\"}" PERMISSIONS "}";

/* `posts`: it logs in by POST before each request, and searches by POST. That breaks no rule.
 * `answer` is the last one's body, `last` the call: only what breaks "after-call" and "call-after" looks at them later. */
typedef struct desk { ticket_text endpoint, token, breaks; int lost, posts, none; ticket_str answer; const ticket_call *last; } desk;

/* For how long one waits in each call that is slow. */
#ifndef SLOW_MS
#define SLOW_MS 300
#endif

static void wait_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static int breaks(const desk *self, const char *what) {
   return self->breaks.len == strlen(what) && memcmp(self->breaks.bytes, what, self->breaks.len) == 0;
}

static int has(ticket_str text, const char *what) {
   for (size_t i = 0; i + strlen(what) <= text.len; i++)
      if (memcmp(text.ptr + i, what, strlen(what)) == 0) return 1;
   return 0;
}

#ifdef __linux__
static void *sleep_on(void *nothing) {
   for (;;) pause();
   return nothing;
}

typedef struct elsewhere { const ticket_call *call; ticket_exchange done; const char *url; } elsewhere;

static void *ask_elsewhere(void *argument) {
   elsewhere *it = argument;
   it->done = ticket_http(it->call, "GET", ticket_of(it->url), NULL, 0, ticket_of(""));
   return NULL;
}

/* The number of bytes before one that stands in every good answer. */
static size_t before(const volatile uint8_t *text, char wanted) {
   size_t n = 0;
   while (text[n] != (uint8_t)wanted) n++;
   return n;
}

/* A copy of a text in so many bytes, as if they were enough for it and a NUL. */
static void copy_to(size_t bytes, ticket_str text) {
   volatile char *const copy = malloc(bytes);
   for (size_t i = 0; i < text.len; i++) copy[i] = (char)text.ptr[i];
   copy[text.len] = '\0';
   free((void *)(uintptr_t)copy);
}

/* What a plugin does in each call that it should not. */
static void overdo(desk *self, const ticket_call *call) {
   pthread_t thread;
   if (breaks(self, "leak-descriptors") && dup(0) < 0) return;
   if (breaks(self, "call-after") && self->last != NULL) (void)self->last->remaining_ms(self->last);
   self->last = call;
   if (breaks(self, "call-thread")) {
      elsewhere it = {.call = call, .url = "https://desk.example.org/desk"};
      if (pthread_create(&thread, NULL, ask_elsewhere, &it) == 0) pthread_join(thread, NULL);
   }
}
#endif

static int32_t open_desk(const ticket_call *call, ticket_str settings, void **instance) {
   desk *self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   ticket_put_unescaped(&self->endpoint, ticket_member(settings, "endpoint"));
   ticket_put_unescaped(&self->token, ticket_member(ticket_member(settings, "secret"), "token"));
   ticket_put_unescaped(&self->breaks, ticket_member(ticket_member(settings, "information"), "breaks"));
   self->posts = ticket_member(ticket_member(settings, "information"), "posts").len > 0;
   if (breaks(self, "bad-settings") && self->token.len == 0) abort();
   const int later = breaks(self, "unknown-members") && has(settings, "x-of-a-later-host");
   if (breaks(self, "open") || later || self->token.len == 0) {
      free(self);
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "secret.token: refused", ticket_of(""));
   }
   if (breaks(self, "leak-open")) *(volatile char *)malloc(64) = 1;
#ifdef __linux__
   pthread_t thread;
   if (breaks(self, "leak-threads") && pthread_create(&thread, NULL, sleep_on, NULL) == 0) pthread_detach(thread);
#endif
   return *instance = self, TICKET_OK;
}

static ticket_exchange ask(desk *self, const ticket_call *call, const char *method, const char *path, ticket_str key, ticket_str body) {
   static ticket_text shared;
   ticket_text own = {0}, login = {0}, *url = breaks(self, "threads-share") ? &shared : &own;
   if (self->posts && strcmp(path, "/token") != 0) {
      ticket_put(&login, ticket_of("{\"password\": \""), TICKET_AS_IS);
      ticket_put(&login, ticket_view(&self->token), TICKET_IN_JSON);
      ticket_put(&login, ticket_of("\"}"), TICKET_AS_IS);
      const ticket_exchange session = ask(self, call, "POST", "/token", ticket_of(""), ticket_view(&login));
      if (session.response.status != 200) return session;
   }
   *url = self->endpoint;
   while (url->len > 0 && url->bytes[url->len - 1] == '/') url->len--;
   if (breaks(self, "endpoints")) ticket_put(url, ticket_of("/"), TICKET_AS_IS);
   ticket_put(url, ticket_of(path), TICKET_AS_IS);
   ticket_put(url, key, breaks(self, "key-escaped") ? TICKET_AS_IS : TICKET_IN_URL);
   if (breaks(self, "slow") || breaks(self, "slow-leak")) wait_ms(SLOW_MS);
   if (breaks(self, "slower")) wait_ms(1000);
   if (breaks(self, "threads-share")) wait_ms(1); /* so that others write to it meanwhile, on however busy a machine */
   const ticket_header headers[] = {{ticket_of("authorization"), ticket_view(&self->token)},
                                    {ticket_of("content-type"), ticket_of("application/json")}};
#ifdef __linux__
   overdo(self, call);
#endif
   if (breaks(self, "after-call") && self->answer.len > 0) (void)*(const volatile uint8_t *)self->answer.ptr;
   const uint32_t flags = breaks(self, "create-flagged") && strcmp(path, "/tickets") == 0 ? TICKET_HTTP_CHANGES_NOTHING : 0;
   const ticket_exchange done = ticket_http_flagged(call, flags, method, ticket_view(url), headers, body.len > 0 ? 2 : 1, body);
   self->answer = done.response.body;
#ifdef __linux__
   if (breaks(self, "answers-cut") && done.response.body.len > 0) (void)before(done.response.body.ptr, '}');
   if (breaks(self, "answers-extreme") && done.response.body.len > 0) {
      volatile char copy[done.response.body.len];
      for (size_t i = 0; i < sizeof copy; i++) copy[i] = (char)done.response.body.ptr[i];
   }
   if (breaks(self, "header-beyond") && done.response.status > 0) (void)*(const volatile uint8_t *)done.response.headers[done.response.header_count].name.ptr;
   if (breaks(self, "answer-beyond") && done.response.body.len > 0) (void)before(done.response.body.ptr, '\0');
#endif
   if (breaks(self, "deadline") && done.sent == TICKET_HTTP_UNKNOWN) wait_ms(3000);
   if (breaks(self, "cancelled") && call->remaining_ms(call) == 0) wait_ms(3000);
#ifdef __linux__
   if (breaks(self, "system-calls")) (void)socket(AF_INET, SOCK_STREAM, 0);
#endif
   if (breaks(self, "silence")) { puts("a line"); fflush(stdout); }
   /* Half of it is as bad. */
   if (breaks(self, "secret")) call->log(call, TICKET_LOG_INFO, (ticket_str){self->token.bytes, (self->token.len + 1) / 2});
   return done;
}

static int32_t check(void *instance, const ticket_call *call) {
   desk *self = instance;
   if (breaks(self, "check-asks-nothing")) return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"desk\", \"ok\": true}]}", "", ticket_of(""), "");
   const ticket_exchange done = ask(self, call, "GET", "/desk", ticket_of(""), ticket_of(""));
   const int known = ticket_member(done.response.body, "name").len > 0 || breaks(self, "check-takes-html");
   const int ok = ((done.response.status == 200 && known) || breaks(self, "check-fails")) && !breaks(self, "check");
   return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"desk\", \"message\": \"", done.what, done.why,
                       ok ? "\", \"ok\": true}]}" : "\", \"ok\": false}]}");
}

/* The error for a ticket system that asks to be left alone for some seconds. */
static int32_t later(const ticket_call *call, const ticket_exchange *done, unsigned long scale) {
   const ticket_str asked = ticket_header_value(&done->response, "retry-after");
   unsigned long seconds = 0;
   char begin[80];
   for (size_t i = 0; i < asked.len && i < 6 && asked.ptr[i] >= '0' && asked.ptr[i] <= '9'; i++) seconds = seconds * 10 + (asked.ptr[i] - '0');
   snprintf(begin, sizeof begin, "{\"retry\": \"later\", \"retry_after_ms\": %lu, \"message\": \"", seconds * scale);
   return ticket_reply(call, TICKET_CLIENT_ERROR, begin, done->what, done->why, "\"}");
}

/* The next item of a list of objects behind `at`, which is moved behind it; an empty text at the end. */
static ticket_str next_item(ticket_str list, size_t *at) {
   size_t start = 0, depth = 0;
   int quoted = 0;
   for (; *at < list.len; ++*at) {
      const uint8_t c = list.ptr[*at];
      if (quoted && c == '\\') ++*at;
      else if (c == '"') quoted = !quoted;
      else if (!quoted && c == '{' && depth++ == 0) start = *at;
      else if (!quoted && c == '}' && depth > 0 && --depth == 0) return (ticket_str){list.ptr + start, ++*at - start};
   }
   return ticket_of("");
}

static const char ticket_zero[] = "{\"url\": \"https://desk.example.org/t/0\"}";

/* The error that a rule is broken by, if the one that is broken says something else of what came of the request. */
static const char *misread(const desk *self, const ticket_exchange *done) {
   const uint32_t status = done->response.status;
   if (status == 400 && breaks(self, "retry")) return "later";
   if (status == 400 && breaks(self, "refused-as-unknown")) return "unknown";
   if (status == 500 && breaks(self, "failed-as-never")) return "never";
   if (status == 503 && breaks(self, "overload-as-never")) return "never";
   if (done->sent == TICKET_HTTP_DENIED && breaks(self, "denied-as-later")) return "later";
   return NULL;
}

/* The ticket that an answer to a request tells of, in JSON. */
static int32_t ticket_in(desk *self, const ticket_call *call, const ticket_exchange *done, ticket_str json) {
   ticket_text url = {0};
   ticket_put_unescaped(&url, ticket_member(json, "url"));
   if (breaks(self, "answer-grows"))
      for (size_t i = 0; i + 8 < json.len; i++)
         if (memcmp(json.ptr + i, "\"url\":\"", 7) == 0) { url.len = 0, ticket_put_unescaped(&url, (ticket_str){json.ptr + i + 6, json.len - i - 6}); break; }
   if (breaks(self, "answer-differs") && url.len > 0) return ticket_reply(call, TICKET_OK, "{\"url\": \"https://desk.example.org/t/1\"}", "", ticket_of(""), "");
   const int wrong = (breaks(self, "answer-lacks") && json.len > 0 && json.ptr[0] == '{' && url.len == 0)
      || (breaks(self, "html-taken-for-made") && json.len > 0 && json.ptr[0] == '<') || breaks(self, "accepted-taken-for-made");
   if (wrong && done->response.status / 100 == 2 && url.len == 0) return ticket_reply(call, TICKET_OK, ticket_zero, "", ticket_of(""), "");
   if (breaks(self, "create")) return ticket_reply(call, TICKET_OK, "{\"url\": \"/t/1\"}", "", ticket_of(""), "");
   if (misread(self, done) != NULL) return ticket_fail(call, TICKET_CLIENT_ERROR, misread(self, done), "refused", ticket_of(""));
   if (done->response.status == 429 && !breaks(self, "retry-after")) return later(call, done, breaks(self, "retry-after-in-seconds") ? 1 : 1000);
   if (done->response.status / 100 != 2) return ticket_http_error(call, done);
   for (size_t i = 0; i < ticket_view(&url).len; i++)
      if (url.bytes[i] <= ' ' || url.bytes[i] > '~') url.len = 0;
   if (url.len < 8 || memcmp(url.bytes, "https://", 8) != 0)
      return ticket_fail(call, TICKET_PLUGIN_ERROR, breaks(self, "http-bodies") ? "never" : "unknown", "no ticket in the answer", ticket_of(""));
   return ticket_reply(call, TICKET_OK, "{\"url\": \"", "", ticket_view(&url), "\"}");
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request);

/* Whether something in an error's text tells of a time-out. */
static int timed_out(const ticket_exchange *done) { return done->sent == TICKET_HTTP_UNKNOWN && has(done->why, "timed out"); }

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   static int busy, count;
   desk *self = instance;
   ticket_text body = {0}, key = {0};
   if (breaks(self, "threads")) {
      if (busy++ != 0) abort();
      wait_ms(1);
      busy--;
   }
   if (breaks(self, "incidents") && ticket_member(ticket_member(request, "incident"), "argus_url").len == 0) abort();
   ticket_put_unescaped(&key, ticket_member(request, "key"));
   if (breaks(self, "keys-apart") && key.len > 200) key.len = 200;
   ticket_str title = ticket_of("");
   if (call->render(call, ticket_of("title"), ticket_of("text"), ticket_of(""), &title) != TICKET_OK)
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "no title: ", title);
#ifdef __linux__
   if (breaks(self, "texts-extreme")) copy_to(1000, ticket_view(&key));
   if (breaks(self, "text-beyond")) (void)before(title.ptr, '\0');
   if (breaks(self, "request-beyond")) (void)before(request.ptr, '\0');
   if (breaks(self, "writes-beyond")) copy_to(title.len, title);
#endif
   /* A desk takes short titles. None is cut within a character. */
   if (title.len > 500) for (title.len = 500; (title.ptr[title.len] & 0xc0) == 0x80 && !breaks(self, "title-long");) title.len--;
   ticket_str text;
   if (breaks(self, "text")) (void)call->render(call, ticket_of("body"), ticket_of("markdown"), ticket_of(""), &text);
   if (breaks(self, "search-first") && find(instance, call, request) == TICKET_OK) return TICKET_OK;
   ticket_put(&body, ticket_of("{\"title\": \""), TICKET_AS_IS);
   ticket_put(&body, title, breaks(self, "title-escaped") ? TICKET_AS_IS : TICKET_IN_JSON);
   ticket_put(&body, ticket_of("\", \"key\": \""), TICKET_AS_IS);
   if (!breaks(self, "key")) ticket_put(&body, ticket_view(&key), TICKET_IN_JSON);
   if (breaks(self, "create-again")) ticket_put_byte(&body, (uint32_t)('a' + count++ % 26));
   ticket_put(&body, ticket_of("\"}"), TICKET_AS_IS);
   if (breaks(self, "sends-a-count")) ticket_put_byte(&body, (uint32_t)(' ')), body.len -= (size_t)(count++ % 2);
   ticket_exchange done = ask(self, call, "POST", "/tickets", ticket_of(""), ticket_view(&body));
   const int again = breaks(self, "create-once") ? done.sent == TICKET_HTTP_UNKNOWN : breaks(self, "again-after-timeout") && timed_out(&done);
   if (again) done = ask(self, call, "POST", "/tickets", ticket_of(""), ticket_view(&body));
   if (breaks(self, "find-lost") && done.sent == TICKET_HTTP_UNKNOWN) self->lost = 1;
   const int leaks = breaks(self, "leak") || breaks(self, "slow-leak");
   if (leaks && done.response.status == 201) *(volatile char *)malloc(64) = 1;
   if (breaks(self, "after-create") && done.response.status == 201 &&
       ask(self, call, "GET", "/desk", ticket_of(""), ticket_of("")).response.status != 200)
      return ticket_fail(call, TICKET_CLIENT_ERROR, "later", "the desk is gone", ticket_of(""));
   if (breaks(self, "dry-run") && done.sent == TICKET_HTTP_DRY_RUN)
      return ticket_reply(call, TICKET_OK, "{\"url\": \"https://desk.example.org/t/1\"}", "", ticket_of(""), "");
   if (breaks(self, "http-results") && done.sent == TICKET_HTTP_UNKNOWN)
      return ticket_fail(call, TICKET_CLIENT_ERROR, "never", "lost", ticket_of(""));
   return ticket_in(self, call, &done, done.response.body);
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   desk *self = instance;
   ticket_text key = {0}, its = {0}, search = {0};
   ticket_put_unescaped(&key, ticket_member(request, "key"));
   ticket_put(&search, ticket_of("{\"key\": \""), TICKET_AS_IS);
   ticket_put(&search, ticket_view(&key), TICKET_IN_JSON);
   ticket_put(&search, ticket_of("\"}"), TICKET_AS_IS);
   ticket_exchange done = self->posts ? ask(self, call, "POST", "/search", ticket_of(""), ticket_view(&search))
                                      : ask(self, call, "GET", "/tickets?key=", ticket_view(&key), ticket_of(""));
   if (self->lost || self->none) return TICKET_NOT_FOUND;
   if (ticket_member(done.response.body, "next").len > 0 && !breaks(self, "find-paged")) {
      if (breaks(self, "late-page") && call->remaining_ms(call) == 0) return TICKET_NOT_FOUND;
      done = ask(self, call, "GET", "/tickets?page=2&key=", ticket_view(&key), ticket_of(""));
      if (breaks(self, "page-fails") && done.response.status != 200) return TICKET_NOT_FOUND;
   }
   if (breaks(self, "find-fails-for-ever") && done.sent == TICKET_HTTP_NOT_SENT)
      return ticket_fail(call, TICKET_CLIENT_ERROR, "never", "no answer", ticket_of(""));
   self->none = breaks(self, "remembers-none") && done.response.status == 204;
   if (breaks(self, "find-none") && done.response.status == 204)
      return ticket_reply(call, TICKET_OK, "{\"url\": \"https://desk.example.org/t/1\"}", "", ticket_of(""), "");
   if (breaks(self, "http-statuses") && done.response.status == 500) return TICKET_NOT_FOUND;
   if (done.response.status == 204 || breaks(self, "find")) return TICKET_NOT_FOUND;
   ticket_str tickets = ticket_member(done.response.body, "tickets");
   for (; tickets.len > 0 && tickets.ptr[0] == ' '; tickets.len--) tickets.ptr++;
   const int is_list = tickets.len > 0 && tickets.ptr[0] == '[', is_null = tickets.len == 4 && tickets.ptr[0] == 'n';
   if (done.response.status == 200 && !is_list && breaks(self, "search-unclear")) return TICKET_NOT_FOUND;
   if (done.response.status == 200 && is_null && breaks(self, "null-for-none")) return TICKET_NOT_FOUND;
   if (done.response.status != 200 || !is_list) return ticket_in(self, call, &done, done.response.body);
   const ticket_str first = next_item(tickets, &(size_t){0});
   size_t at = 0;
   for (ticket_str item; (item = next_item(tickets, &at)).len > 0;) {
      its.len = 0;
      ticket_put_unescaped(&its, ticket_member(item, "key"));
      const int same = its.len == key.len && memcmp(its.bytes, key.bytes, key.len < sizeof key.bytes ? key.len : sizeof key.bytes) == 0;
      if (same || breaks(self, "find-exact")) return ticket_in(self, call, &done, breaks(self, "find-among") ? first : item);
   }
   return TICKET_NOT_FOUND;
}

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_desk,
   .close = free,
   .check = check,
   .create = create,
#ifndef BREAKS_FIND_OFFERED
   .find = find,
#endif
};

#ifdef BREAKS_LOAD_TIME
__attribute__((constructor)) static void dawdle(void) { wait_ms(150); }
#endif
#ifdef BREAKS_SYMBOL
TICKET_PLUGIN_EXPORT int helper_of_every_library(void) { return 0; }
#endif

#ifdef BREAKS_TABLE
const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) { return (void)table, (void)find, (void)host_abi_version, NULL; }
#else
const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   (void)find;
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
#endif
