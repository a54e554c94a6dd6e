/* Plugins that break the rules. This file is compiled once for each variant in build.rs's list, with -DFAULT_<VARIANT> and
 * -DPLUGIN_NAME="<variant>". Most variants are faulty already when they are loaded.
 *
 * The variant `misbehaves` is correct when it is loaded. In the operation that `information.in` names ("open", "check",
 * "find" or "create"; "create" if it is absent) it commits the fault that `information.fault` names. So does every other
 * variant that can be loaded.
 *
 * Texts in the settings are used as they stand in the JSON: escapes in them are not decoded. */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200809L
#endif
#include "ticket_plugin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <io.h>
#include <process.h>
#include <windows.h>
#define write(file, bytes, len) _write(file, bytes, (unsigned)(len))
#else
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#endif

typedef struct plugin {
   char fault[64], in[16], format[16];
   char *endpoint, *token;
   const ticket_call *kept;
} plugin;

/* A table as a later version of the ABI may have it: with more fields at the end. */
typedef struct larger_plugin {
   ticket_plugin v1;
   int32_t (*update)(void *instance, const ticket_call *call, ticket_str request);
   uint64_t flags;
} larger_plugin;

/* ---- Text and JSON ---- */

static ticket_str str(const char *s) { return (ticket_str){(const uint8_t *)s, strlen(s)}; }

static void *sure(void *ptr) {
   if (ptr == NULL) abort();
   return ptr;
}

/* As sprintf(), but into memory that it allocates; the caller frees it. */
static char *format(const char *how, ...) {
   va_list args, again;
   va_start(args, how);
   va_copy(again, args);
   const size_t size = (size_t)vsnprintf(NULL, 0, how, args) + 1;
   char *text = sure(malloc(size));
   vsnprintf(text, size, how, again);
   va_end(again);
   va_end(args);
   return text;
}

static char *escaped(ticket_str s) {
   char *text = sure(malloc(6 * s.len + 1)), *end = text;
   for (size_t i = 0; i < s.len; i++) {
      if (s.ptr[i] < ' ' || s.ptr[i] == '"' || s.ptr[i] == '\\') end += sprintf(end, "\\u%04x", (unsigned)s.ptr[i]);
      else *end++ = (char)s.ptr[i];
   }
   *end = '\0';
   return text;
}

/* The value of an object's own member (not of one deeper in), without its quotes if it is a string. Empty if there is no
 * such member. */
static ticket_str member(ticket_str object, const char *name) {
   size_t value = 0;
   int depth = 0, named = 0;
   for (size_t i = 0; i < object.len; i++) {
      const uint8_t c = object.ptr[i];
      if (c == '"') {
         const size_t start = ++i;
         while (i < object.len && object.ptr[i] != '"') i += object.ptr[i] == '\\' ? 2 : 1;
         if (i >= object.len) break;
         named = i - start == strlen(name) && memcmp(object.ptr + start, name, i - start) == 0;
      }
      depth += (c == '{' || c == '[') - (c == '}' || c == ']');
      if (value == 0 && c == ':' && depth == 1 && named) value = i + 1;
      if (value != 0 && (depth == 0 || (depth == 1 && c == ','))) {
         while (value < i && object.ptr[value] <= ' ') value++;
         while (value < i && object.ptr[i - 1] <= ' ') i--;
         if (i - value >= 2 && object.ptr[value] == '"') { value++; i--; }
         return (ticket_str){object.ptr + value, i - value};
      }
   }
   return str("");
}

static void copy(char *to, size_t size, ticket_str from, const char *otherwise) {
   if (from.len == 0) from = str(otherwise);
   if (from.len >= size) from.len = size - 1;
   memcpy(to, from.ptr, from.len);
   to[from.len] = '\0';
}

static char *copied(ticket_str from) {
   char *to = sure(malloc(from.len + 1));
   copy(to, from.len + 1, from, "");
   return to;
}

/* Replies with `json`, frees it, and returns `status`. */
static int32_t reply(const ticket_call *call, int32_t status, char *json) {
   call->reply(call, str(json));
   free(json);
   return status;
}

/* What this plugin does in an operation when it doesn't misbehave. `warning` becomes a warning of the ticket, or the message
 * of the check, if it isn't empty. */
static int32_t correct(const ticket_call *call, const char *operation, const char *warning) {
   if (strcmp(operation, "open") == 0) return TICKET_OK;
   if (strcmp(operation, "find") == 0) return TICKET_NOT_FOUND;
   if (strcmp(operation, "check") == 0)
      return reply(call, TICKET_OK, format("{\"checks\":[{\"name\":\"faulty\",\"ok\":true,\"message\":\"%s\"}]}", warning));
   return reply(call, TICKET_OK, format("{\"url\":\"https://tickets.example.org/1\",\"id\":\"1\",\"warnings\":[%s%s%s]}",
                                        *warning ? "\"" : "", warning, *warning ? "\"" : ""));
}

static int32_t http(const ticket_call *call, const char *method, const char *url, ticket_http_response *answer) {
   const ticket_str body = str(strcmp(method, "POST") == 0 ? "{}" : "");
   const ticket_http_request request = {sizeof request, 0, str(method), str(url), NULL, body, 0, 0};
   *answer = (ticket_http_response){.size = sizeof *answer};
   return call->http(call, &request, answer);
}

/* ---- Faults ---- */

static void crash(void) {
   int *volatile nowhere = NULL;
   *(volatile int *)nowhere = 1;
   abort(); /* for platforms where address 0 can be written to */
}

#ifndef _WIN32
static sigjmp_buf survived;

static void survive(int signal) {
   (void)signal;
   siglongjmp(survived, 1);
}

/* Crashes, and goes on by a handler of its own, as runtimes of languages do. */
static void crash_and_survive(void) {
   struct sigaction own = {.sa_handler = survive};
   sigaction(SIGSEGV, &own, NULL);
   if (sigsetjmp(survived, 1) == 0) crash();
}
#endif

/* Never returns. It sleeps, or uses a whole core where the sandbox refuses to let it sleep in pause(2). */
static void hang(void) {
   for (;;) {
#ifdef _WIN32
      Sleep(1000);
#else
      pause();
#endif
   }
}

static void wait_a_little(void) {
#ifdef _WIN32
   Sleep(5);
#else
   const struct timespec ms5 = {0, 5000000};
   nanosleep(&ms5, NULL);
#endif
}

static volatile int deeper = 1;

static int overflow_the_stack(int depth) {
   volatile char frame[4096];
   frame[0] = (char)depth;
   return deeper ? overflow_the_stack(depth + 1) + frame[0] : depth;
}

#ifndef _WIN32
typedef struct elsewhere {
   const ticket_call *call;
   const char *url;
   int32_t sent;
} elsewhere;

static void *http_elsewhere(void *argument) {
   elsewhere *e = argument;
   ticket_http_response answer;
   e->sent = http(e->call, "GET", e->url, &answer);
   return NULL;
}
#endif

/* Asks for a URL that the host should deny, and replies an error with the host's reason. */
static int32_t refused(const ticket_call *call, const char *url) {
   ticket_http_response answer;
   const int32_t sent = http(call, "GET", url, &answer);
   char *why = escaped(answer.body);
   char *json = format("{\"message\":\"http() returned %d: %s\"}", (int)sent, why);
   free(why);
   return reply(call, sent == TICKET_HTTP_DENIED ? TICKET_SETTINGS_ERROR : TICKET_CLIENT_ERROR, json);
}

static int32_t misbehave(plugin *self, const ticket_call *call, const char *operation) {
   const char *fault = self->fault;
   ticket_http_response answer;
#define IF(name) if (strcmp(fault, name) == 0)

   /* It crashes, ends the process, or never returns. */
   IF("abort") abort();
   IF("segfault") crash();
   IF("exit") exit(0);
#ifndef _WIN32
   IF("survives_segfault") { crash_and_survive(); return correct(call, operation, "survived"); }
#endif
   IF("loop") hang();
   IF("spin") for (;;) deeper = 1;
   IF("stack_overflow") deeper = overflow_the_stack(0);
   IF("post_segfault") { http(call, "POST", self->endpoint, &answer); crash(); }
   IF("get_segfault") { http(call, "GET", self->endpoint, &answer); crash(); }
   IF("post_loop") { http(call, "POST", self->endpoint, &answer); hang(); }

   /* It says that nothing was created, whatever its request was answered. */
   IF("post_later") {
      http(call, "POST", self->endpoint, &answer);
      return reply(call, TICKET_CLIENT_ERROR, format("{\"message\":\"busy\",\"retry\":\"later\"}"));
   }
   IF("get_later") {
      http(call, "GET", self->endpoint, &answer);
      return reply(call, TICKET_CLIENT_ERROR, format("{\"message\":\"busy\",\"retry\":\"later\"}"));
   }
   IF("post_never") {
      http(call, "POST", self->endpoint, &answer);
      return reply(call, TICKET_CREATION_ERROR, format("{\"message\":\"refused\",\"retry\":\"never\"}"));
   }

   /* It writes where it shouldn't. */
   IF("print") {
      static const char noise[] = "written to the file, not to the stream\n";
      printf("printed by the plugin\n");
      fflush(stdout);
      if (write(1, noise, sizeof noise - 1) < 0) return correct(call, operation, "write to stdout failed");
      return correct(call, operation, "");
   }
   IF("stderr") {
      fprintf(stderr, "from the plugin %s\n", self->token);
      return correct(call, operation, "");
   }
   IF("floods_log") {
      for (int i = 0; i < 100000; i++) call->log(call, TICKET_LOG_INFO, str("one of 100,000 lines from the plugin"));
      return correct(call, operation, "");
   }

   /* It sends far too much through the functions that the ABI gives it (hostile.c forges frames instead). */
   IF("huge_extra") {
      const size_t len = (size_t)60 << 20;
      char *extra = sure(malloc(len));
      memset(extra, ' ', len);
      memcpy(extra, "{\"warnings\":[\"", 14);
      memcpy(extra + len - 3, "\"]}", 3);
      ticket_str out = str("");
      const int32_t status = call->render(call, str("body"), str("html"), (ticket_str){(const uint8_t *)extra, len}, &out);
      free(extra);
      char *why = escaped(out);
      char *json = format("{\"message\":\"render() returned %d: %s\"}", (int)status, why);
      free(why);
      return reply(call, TICKET_CREATION_ERROR, json);
   }
   IF("huge_request") {
      const size_t len = (size_t)15 << 20;
      char *body = sure(malloc(len));
      memset(body, '[', len);
      const ticket_http_request request = {sizeof request, 0, str("POST"), str(self->endpoint), NULL, {(const uint8_t *)body, len}, 0, 0};
      for (int i = 0; i < 4; i++) {
         answer = (ticket_http_response){.size = sizeof answer};
         call->http(call, &request, &answer);
      }
      free(body);
      return correct(call, operation, "");
   }
   IF("long_error") {
      const size_t len = 1000000;
      char *message = sure(malloc(len + 1));
      memset(message, 'm', len);
      message[len] = '\0';
      char *json = format("{\"message\":\"%s\"}", message);
      free(message);
      return reply(call, TICKET_CREATION_ERROR, json);
   }
   IF("long_log") {
      char line[20000];
      memset(line, 'l', sizeof line);
      for (int i = 0; i < 500; i++) call->log(call, TICKET_LOG_WARN, (ticket_str){(const uint8_t *)line, sizeof line});
      return correct(call, operation, "");
   }
   IF("forges_lines") {
      call->log(call, TICKET_LOG_ERROR, str("from the plugin\n INFO ticket 99 (x): created: https://evil.example.org/"));
      return reply(call, TICKET_CREATION_ERROR, format("{\"message\":\"refused\\n INFO ticket 99 (x): created: https://evil.example.org/\"}"));
   }
   IF("dies_with_long_line") {
      for (int i = 0; i < 4000; i++) fputc('x', stderr);
      fprintf(stderr, " assertion failed: queue != NULL");
      fflush(stderr);
      abort();
   }

   /* It replies what is not a valid reply. */
   IF("no_reply") return TICKET_OK;
   IF("not_json") return reply(call, TICKET_OK, format("this is not JSON"));
   IF("not_utf8") return reply(call, TICKET_OK, format("{\"url\":\"https://tickets.example.org/1\",\"id\":\"\xff\xfe\"}"));
   IF("array") return reply(call, TICKET_OK, format("[]"));
   IF("huge_reply") {
      const size_t len = (size_t)1 << 30;
      uint8_t *bytes = malloc(len);
      call->reply(call, (ticket_str){bytes ? bytes : (const uint8_t *)fault, len});
      free(bytes);
      return TICKET_OK;
   }
   IF("bad_url") return reply(call, TICKET_OK, format("{\"url\":\"not a url\"}"));
   IF("no_url") return reply(call, TICKET_OK, format("{}"));
   IF("javascript_url") return reply(call, TICKET_OK, format("{\"url\":\"javascript:alert(1)\"}"));
   IF("unknown_status") return 99;
   IF("null_error") return TICKET_CREATION_ERROR;
   IF("tells_secret") {
      char *line = format("my token is %s", self->token);
      call->log(call, TICKET_LOG_ERROR, str(line));
      free(line);
      return reply(call, TICKET_CREATION_ERROR, format("{\"message\":\"refused for %s\"}", self->token));
   }

   /* It asks the host for something that it may not have, or from a wrong thread, or at a wrong time. */
   IF("forbidden_origin") return refused(call, "http://127.0.0.1:1/");
   IF("userinfo_url") {
      const char *host = strstr(self->endpoint, "://");
      host = host ? host + 3 : self->endpoint;
      char *url = format("%.*suser:pw@%s", (int)(host - self->endpoint), self->endpoint, host);
      const int32_t status = refused(call, url);
      free(url);
      return status;
   }
#ifndef _WIN32
   IF("http_from_thread") {
      elsewhere e = {call, self->endpoint, -1};
      pthread_t thread;
      if (pthread_create(&thread, NULL, http_elsewhere, &e) != 0) return correct(call, operation, "no thread could be made");
      pthread_join(thread, NULL);
      char *warning = format("http() in another thread returned %d", (int)e.sent);
      const int32_t status = correct(call, operation, warning);
      free(warning);
      return status;
   }
#endif
   IF("keeps_call") { self->kept = call; return correct(call, operation, ""); }
   IF("slow") {
      while (call->remaining_ms(call) > 0) wait_a_little();
      return reply(call, TICKET_CLIENT_ERROR, format("{\"message\":\"the time is over\",\"retry\":\"later\"}"));
   }

   /* This is not a fault: its reply shows what the templates make. */
   IF("renders") {
      const ticket_str extra = str("{\"missing_fields\":[\"location\"],\"warnings\":[\"from the plugin\"]}");
      ticket_str title = str(""), body = str("");
      int32_t status = call->render(call, str("title"), str("text"), extra, &title);
      if (status == TICKET_OK) status = call->render(call, str("body"), str(self->format), extra, &body);
      char *first = escaped(title), *second = escaped(body);
      char *json = status == TICKET_OK
         ? format("{\"url\":\"https://tickets.example.org/1\",\"warnings\":[\"%s\",\"%s\"]}", first, second)
         : format("{\"message\":\"render() returned %d: %s\"}", (int)status, *second ? second : first);
      free(first);
      free(second);
      return reply(call, status, json);
   }
   return reply(call, TICKET_PLUGIN_ERROR, format("{\"message\":\"faulty.c knows no fault '%s'\"}", fault));
}

/* ---- The plugin ---- */

static int32_t operate(plugin *self, const ticket_call *call, const char *operation) {
   if (*self->fault && strcmp(self->in, operation) == 0) return misbehave(self, call, operation);
   return correct(call, operation, "");
}

static void close_it(void *instance) {
   plugin *self = instance;
   free(self->endpoint);
   free(self->token);
   free(self);
}

static int32_t open_it(const ticket_call *call, ticket_str settings, void **instance) {
   plugin *self = sure(calloc(1, sizeof *self));
   const ticket_str information = member(settings, "information");
   copy(self->fault, sizeof self->fault, member(information, "fault"), "");
   copy(self->in, sizeof self->in, member(information, "in"), "create");
   copy(self->format, sizeof self->format, member(information, "format"), "markdown");
   self->endpoint = copied(member(settings, "endpoint"));
   self->token = copied(member(member(settings, "secret"), "token"));
   *instance = self;
   const int32_t status = operate(self, call, "open");
   if (status != TICKET_OK) close_it(self);
   return status;
}

static int32_t check_it(void *instance, const ticket_call *call) { return operate(instance, call, "check"); }

static int32_t create_it(void *instance, const ticket_call *call, ticket_str request) {
   (void)request;
   return operate(instance, call, "create");
}

static int32_t find_it(void *instance, const ticket_call *call, ticket_str request) {
   (void)request;
   return operate(instance, call, "find");
}

#if defined FAULT_NOT_JSON
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\","
#elif defined FAULT_NO_NAME
#define MANIFEST "{\"version\": \"0.1.0\"}"
#elif defined FAULT_BAD_NAME
#define MANIFEST "{\"name\": \"Bad Name!\", \"version\": \"0.1.0\"}"
#elif defined FAULT_NOT_UTF8
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\", \"description\": \"\xff\xfe\"}"
#elif defined FAULT_SCHEMA_BOMB
/* 40 definitions, each of which refers to the next one twice. With all references written out that would be 2^40 parts. */
#define TWICE(n, next) "\"d" #n "\": {\"allOf\": [{\"$ref\": \"#/$defs/d" #next "\"}, {\"$ref\": \"#/$defs/d" #next "\"}]}, "
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\", \"information_schema\": {\"properties\": {\"fault\": {\"$ref\": \"#/$defs/d0\"}}, \"$defs\": {" \
   TWICE(0, 1) TWICE(1, 2) TWICE(2, 3) TWICE(3, 4) TWICE(4, 5) TWICE(5, 6) TWICE(6, 7) TWICE(7, 8) TWICE(8, 9) TWICE(9, 10) \
   TWICE(10, 11) TWICE(11, 12) TWICE(12, 13) TWICE(13, 14) TWICE(14, 15) TWICE(15, 16) TWICE(16, 17) TWICE(17, 18) TWICE(18, 19) TWICE(19, 20) \
   TWICE(20, 21) TWICE(21, 22) TWICE(22, 23) TWICE(23, 24) TWICE(24, 25) TWICE(25, 26) TWICE(26, 27) TWICE(27, 28) TWICE(28, 29) TWICE(29, 30) \
   TWICE(30, 31) TWICE(31, 32) TWICE(32, 33) TWICE(33, 34) TWICE(34, 35) TWICE(35, 36) TWICE(36, 37) TWICE(37, 38) TWICE(38, 39) TWICE(39, 40) \
   "\"d40\": {\"type\": \"string\"}}}}"
#elif defined FAULT_SCHEMA_WITHIN
/* The same within a schema of its own, where the references mean these definitions and not the root's. */
#define TWICE(n, next) "\"d" #n "\": {\"allOf\": [{\"$ref\": \"#/$defs/d" #next "\"}, {\"$ref\": \"#/$defs/d" #next "\"}]}, "
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\", \"information_schema\": {\"$ref\": \"#/$defs/within\", \"$defs\": {\"d0\": {}, \"within\": {" \
   "\"$id\": \"https://x.org/within\", \"$ref\": \"#/$defs/d0\", \"$defs\": {" \
   TWICE(0, 1) TWICE(1, 2) TWICE(2, 3) TWICE(3, 4) TWICE(4, 5) TWICE(5, 6) TWICE(6, 7) TWICE(7, 8) TWICE(8, 9) TWICE(9, 10) \
   TWICE(10, 11) TWICE(11, 12) TWICE(12, 13) TWICE(13, 14) TWICE(14, 15) TWICE(15, 16) TWICE(16, 17) TWICE(17, 18) TWICE(18, 19) TWICE(19, 20) \
   TWICE(20, 21) TWICE(21, 22) TWICE(22, 23) TWICE(23, 24) TWICE(24, 25) TWICE(25, 26) TWICE(26, 27) TWICE(27, 28) TWICE(28, 29) TWICE(29, 30) \
   "\"d30\": {\"type\": \"string\"}}}}}}"
#elif defined FAULT_PROMISES
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\", \"not_done\": [503], \"settle_seconds\": 600}"
#elif defined FAULT_ALIAS_LOCAL
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\", \"aliases\": [\"local\", \"rt\"]}"
#elif defined FAULT_SCHEMA_CIRCLE
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\", \"secret_schema\": {\"anyOf\": [{\"$ref\": \"#\"}, {\"$ref\": \"#\"}]}}"
#else
#define MANIFEST "{\"name\": \"" PLUGIN_NAME "\", \"version\": \"0.1.0\", \"license\": \"MIT OR Apache-2.0\"," \
                 " \"description\": \"Breaks the rules, for tests\"," \
                 " \"secret_schema\": true, \"information_schema\": true, \"permissions\": []}"
#endif

static larger_plugin table = {
   {.size = sizeof(ticket_plugin), .abi_version = TICKET_PLUGIN_ABI_VERSION,
    .manifest = {(const uint8_t *)MANIFEST, sizeof MANIFEST - 1},
    .open = open_it, .close = close_it, .check = check_it, .create = create_it, .find = find_it},
   create_it,
   0x7461626c65,
};

#if defined FAULT_CONSTRUCTOR_SEGFAULT || defined FAULT_CONSTRUCTOR_PRINTS || defined FAULT_CONSTRUCTOR_SPINS
__attribute__((constructor)) static void constructor(void) {
#if defined FAULT_CONSTRUCTOR_SEGFAULT
   crash();
#elif defined FAULT_CONSTRUCTOR_SPINS
   for (volatile int i = 0;; i = !i) {}
#else
   for (int i = 0; i < 1 << 11; i++) /* 128 KiB: more than a pipe holds, and less than what the host slows down */
      fwrite("\0\0\0\5{\"ok\":true}\n\xff\xfe GARBAGE from the plugin's constructor ......\n", 1, 64, stdout);
   fflush(stdout);
#endif
}
#endif

#ifdef FAULT_NO_SYMBOL
#define ticket_plugin_entry ticket_plugin_another
TICKET_PLUGIN_EXPORT const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version);
#endif

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   const ticket_plugin *entry = &table.v1;
   (void)host_abi_version;
#if defined FAULT_NULL_TABLE
   entry = NULL;
#elif defined FAULT_OTHER_VERSION
   table.v1.abi_version = 2;
#elif defined FAULT_SMALL_TABLE
   table.v1.size = offsetof(ticket_plugin, create);
#elif defined FAULT_NULL_CREATE
   table.v1.create = NULL;
#elif defined FAULT_NULL_OPEN
   table.v1.open = NULL;
#elif defined FAULT_NULL_FIND
   table.v1.find = NULL;
#elif defined FAULT_LARGER_TABLE
   table.v1.size = sizeof table;
#elif defined FAULT_HUGE_MANIFEST
   static const char begin[] = "{\"name\": \"" PLUGIN_NAME "\", \"description\": \"", end[] = "\"}";
   const size_t len = 2 << 20;
   char *manifest = sure(malloc(len));
   memset(manifest, 'x', len);
   memcpy(manifest, begin, sizeof begin - 1);
   memcpy(manifest + len - (sizeof end - 1), end, sizeof end - 1);
   table.v1.manifest = (ticket_str){(const uint8_t *)manifest, len};
#elif defined FAULT_ENTRY_EXITS
   _exit(3);
#elif !defined FAULT_MISBEHAVES && !defined FAULT_NO_SYMBOL && !defined FAULT_NOT_JSON && !defined FAULT_NO_NAME && \
   !defined FAULT_BAD_NAME && !defined FAULT_NOT_UTF8 && !defined FAULT_CONSTRUCTOR_SEGFAULT && \
   !defined FAULT_CONSTRUCTOR_PRINTS && !defined FAULT_CONSTRUCTOR_SPINS && !defined FAULT_ALIAS_LOCAL && !defined FAULT_PROMISES && !defined FAULT_SCHEMA_BOMB && !defined FAULT_SCHEMA_WITHIN && !defined FAULT_SCHEMA_CIRCLE
#error "no such variant: see the list in build.rs"
#endif
   return entry;
}
