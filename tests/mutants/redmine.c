/* A correct plugin for a ticket system like Redmine, in which tests/mutants.sh plants one mistake at a time: each
 * IS(name) is one, and table.txt says what it does to an operator. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

/* Milliseconds that each call takes: the honest plugin that is slow. */
#ifndef SLOW_MS
#define SLOW_MS 0
#endif

static const char manifest[] =
   "{\"name\": \"mutant\", \"version\": \"1.0.0\", \"license\": \"MIT-0\", \"description\": \"Issues in Redmine\","
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"api_key\"], \"properties\": {\"api_key\":"
   " {\"type\": \"string\", \"pattern\": \"^[!-~]+$\", \"description\": \"The API access key of Redmine's page My account\"}}},"
   " \"information_schema\": {\"type\": \"object\", \"required\": [\"project\", \"key_field\"], \"properties\": {"
   "\"project\": {\"type\": \"string\", \"minLength\": 1, \"description\": \"The project's identifier, as in its URL\"},"
   "\"key_field\": {\"type\": \"integer\", \"minimum\": 1, \"description\": \"The number of the custom field for the key\"}}}}";

typedef struct backend {
   text endpoint, api_key, project;
   uint64_t field;
   /* What only mistakes need. */
   ticket_str last_answer;
   const ticket_call *last_call;
   text none;
   int32_t calls;
} backend;

/* ---- Mistakes that are longer than a line ---- */

static backend *opened_last;
static text last_ticket, growing_url;
static char url_for_all[8192];

static void nap(long ms) {
   struct timespec left = {ms / 1000, ms % 1000 * 1000000};
   while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

static void *sleeps_for_ever(void *nothing) {
   for (;;) nap(1000);
   return nothing;
}

static void start_thread(void *(*run)(void *), void *with) {
   pthread_t thread;
   if (pthread_create(&thread, NULL, run, with) == 0) pthread_detach(thread);
}

static void lose_descriptor(void) {
   int ends[2];
   if (pipe(ends) == 0) close(ends[1]);
}

static void lose_memory(size_t size) {
   volatile char *const lost = malloc(size);
   if (lost != NULL) for (size_t i = 0; i < size; i += 64) lost[i] = 1;
}

typedef struct asked { const ticket_call *call; const ticket_http_request *request; ticket_http_response *response; int32_t sent; } asked;

static void *ask_in_thread(void *of_asked) {
   asked *const a = of_asked;
   a->sent = a->call->http(a->call, a->request, a->response);
   return NULL;
}

static void *log_in_thread(void *call) {
   ((const ticket_call *)call)->log(call, TICKET_LOG_INFO, of("asking Redmine"));
   return NULL;
}

static void *log_later(void *call) {
   nap(20);
   return log_in_thread(call);
}

static void put_base64(text *to, ticket_str s) {
   static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
   for (size_t i = 0; i < s.len; i += 3) {
      const uint32_t b = s.len - i > 1 ? s.ptr[i + 1] : 0, c = s.len - i > 2 ? s.ptr[i + 2] : 0;
      const uint32_t bits = (uint32_t)s.ptr[i] << 16 | b << 8 | c;
      const char four[] = {digits[bits >> 18], digits[bits >> 12 & 63], s.len - i > 1 ? digits[bits >> 6 & 63] : '=',
                           s.len - i > 2 ? digits[bits & 63] : '=', '\0'};
      say(to, four);
   }
}

/* ---- Replies ---- */

static int32_t reply(const ticket_call *call, int32_t code, text *json) {
   const int whole = !json->failed;
   call->reply(call, whole ? view(json) : of("{\"message\": \"out of memory\", \"retry\": \"unknown\"}"));
   drop(json);
   return whole ? code : TICKET_PLUGIN_ERROR;
}

static int32_t fail(const ticket_call *call, int32_t code, const char *retry, const char *what, ticket_str why) {
   text json = {0};
   say(&json, "{\"message\": \"");
   say(&json, what);
   if (IS(message_unescaped)) put(&json, why);
   else put_json(&json, why);
   say(&json, "\", \"retry\": \"");
   say(&json, retry);
   say(&json, "\"}");
   if (IS(error_without_message)) drop(&json), say(&json, "{}");
   if (IS(returns_errno) && code == TICKET_CLIENT_ERROR) code = 110;
   if (IS(ok_with_error) && code == TICKET_CREATION_ERROR) code = TICKET_OK;
   return reply(call, code, &json);
}

/* ---- HTTP ---- */

/* What came of a request. */
typedef struct answer {
   int32_t sent;        /* TICKET_HTTP_* */
   uint32_t status;     /* 0 if no answer came */
   ticket_str body;     /* why not, if no answer came */
   ticket_str json;     /* the body's one value; nothing if it isn't JSON */
   ticket_str retry_after;
} answer;

static void put_url(const backend *self, text *url, const text *path) {
   put(url, view(&self->endpoint));
   if (IS(two_slashes)) say(url, "/");
   put(url, view(path));
   if (IS(secret_in_url)) {
      say(url, memchr(path->ptr, '?', path->len) ? "&key=" : "?key=");
      put(url, view(&self->api_key));
   }
}

static answer ask(backend *self, const ticket_call *call, const char *method, const text *path, const text *body) {
   text url = {0};
   if (IS(static_growing_url)) {
      growing_url.len = 0;
      put_url(self, &growing_url, path);
      put(&url, view(&growing_url));
   } else {
      put_url(self, &url, path);
   }
   if (IS(static_url) && url.len < sizeof url_for_all) memcpy(url_for_all, url.ptr, url.len + 1);
   char *fixed = NULL;
   if (IS(url_in_1024_bytes)) fixed = malloc(1024);
   if (fixed != NULL) sprintf(fixed, "%s", url.ptr);
   if (IS(secret_in_log) && body != NULL) {
      text line = {0};
      say(&line, "X-Redmine-API-Key: ");
      put(&line, view(&self->api_key));
      call->log(call, TICKET_LOG_DEBUG, view(&line));
      drop(&line);
   }
   if (IS(prints_requests)) printf("%s %s\n", method, url.ptr), fflush(stdout);
   const ticket_header headers[] = {{of("x-redmine-api-key"), view(&self->api_key)}, {of("content-type"), of("application/json")}};
   const ticket_str target = IS(static_url) ? of(url_for_all) : view(&url);
   const ticket_http_request request = {
      .size = sizeof request, .header_count = body != NULL ? 2 : 1, .method = of(method), .url = target, .headers = headers,
      .body = body != NULL ? view(body) : of(""),
   };
   ticket_http_response response = {.size = sizeof response};
   answer done = {.sent = TICKET_HTTP_NOT_SENT, .body = of("out of memory"), .json = of("")};
   if (IS(http_from_thread)) {
      asked a = {call, &request, &response, TICKET_HTTP_NOT_SENT};
      pthread_t thread;
      if (pthread_create(&thread, NULL, ask_in_thread, &a) == 0) pthread_join(thread, NULL);
      done.sent = a.sent;
   } else if (!url.failed && (body == NULL || !body->failed)) {
      done.sent = call->http(call, &request, &response);
   }
   drop(&url);
   free(fixed);
   done.body = response.body;
   if (done.sent != TICKET_HTTP_OK) {
      if (IS(prints_errors)) fprintf(stderr, "redmine: no answer\n");
      return done;
   }
   done.status = response.status;
   if (IS(reads_first_byte) && *done.body.ptr == '\0') done.body.len = 0;
   if (IS(body_on_the_stack)) {
      volatile char copy[done.body.len + 1];
      for (size_t i = 0; i < done.body.len; i++) copy[i] = (char)done.body.ptr[i];
      if (done.body.len > 0 && copy[0] == '\0') done.body.len = 0;
   }
   done.json = json_of(done.body);
   for (uint32_t i = 0; i < response.header_count; i++)
      if (response.headers[i].name.len == 11 && memcmp(response.headers[i].name.ptr, "retry-after", 11) == 0)
         done.retry_after = response.headers[i].value;
   return done;
}

/* The start of an answer's body, in ASCII, unless the secret is in it. */
static void put_excerpt(const backend *self, text *to, const answer *done) {
   char excerpt[201];
   size_t n = 0;
   if (contains(done->body, view(&self->api_key)) && !IS(echoes_the_answer)) {
      put(to, of("(an answer with the API key in it)"));
      return;
   }
   for (; n < done->body.len && n < 200; n++) excerpt[n] = done->body.ptr[n] >= ' ' && done->body.ptr[n] < 0x7f ? (char)done->body.ptr[n] : '?';
   put(to, (ticket_str){(const uint8_t *)excerpt, n});
}

/* What went wrong, in words, with the secret where a mistake puts it. */
static void put_reason(const backend *self, text *to, const answer *done) {
   char status[64];
   snprintf(status, sizeof status, done->sent == TICKET_HTTP_OK ? "Redmine answered %u: " : "no answer: ", (unsigned)done->status);
   say(to, status);
   const ticket_str key = view(&self->api_key), half = {key.ptr, key.len / 2 + 1}, end = {key.ptr + key.len / 2, key.len - key.len / 2};
   if (IS(secret_in_error)) say(to, "with the API key "), put(to, key);
   if (IS(half_secret_in_error)) say(to, "with the API key "), put(to, half), say(to, "...");
   if (IS(second_half_in_error)) say(to, "with the API key ..."), put(to, end);
   if (IS(base64_in_error)) say(to, "with Basic "), put_base64(to, key);
   if (IS(secret_in_401) && done->status == 401) say(to, "wrong API key "), put(to, key);
   for (size_t i = 0; IS(hex_in_error) && i < key.len; i++) {
      char hex[4];
      snprintf(hex, sizeof hex, "%02x", key.ptr[i]);
      say(to, hex);
   }
   put_excerpt(self, to, done);
}

static uint64_t seconds_of(ticket_str header) {
   uint64_t seconds;
   return number_of(header, &seconds) && seconds < 86400 ? seconds : 0;
}

typedef struct meaning { int32_t code; const char *retry; } meaning;

/* What an exchange that failed means. `creates`: it may have made a ticket. */
static meaning meaning_of(const answer *done, int creates) {
   const uint32_t status = done->status;
   const char *const unclear = creates ? "unknown" : "later";
   if (done->sent == TICKET_HTTP_NOT_SENT || done->sent == TICKET_HTTP_DRY_RUN) {
      if (IS(not_sent_as_unknown) && creates) return (meaning){TICKET_CLIENT_ERROR, "unknown"};
      if (IS(not_sent_as_never)) return (meaning){TICKET_CLIENT_ERROR, "never"};
      return (meaning){TICKET_CLIENT_ERROR, "later"};
   }
   if (done->sent == TICKET_HTTP_DENIED)
      return (meaning){TICKET_SETTINGS_ERROR, IS(denied_as_later) ? "later" : "never"};
   if (done->sent != TICKET_HTTP_OK) {
      if (IS(lost_as_later)) return (meaning){TICKET_CLIENT_ERROR, "later"};
      if (IS(lost_as_never)) return (meaning){TICKET_CLIENT_ERROR, "never"};
      return (meaning){TICKET_CLIENT_ERROR, unclear};
   }
   if (status == 401 || status == 403 || status == 404 || status == 410)
      return (meaning){TICKET_SETTINGS_ERROR, IS(refused_login_as_later) ? "later" : "never"};
   if (status == 429 || status == 425) {
      if (IS(too_many_as_never)) return (meaning){TICKET_CREATION_ERROR, "never"};
      return (meaning){TICKET_CLIENT_ERROR, "later"};
   }
   if (status == 408 || status >= 500) {
      if (IS(failed_as_later)) return (meaning){TICKET_CLIENT_ERROR, "later"};
      if (IS(failed_as_never)) return (meaning){TICKET_CLIENT_ERROR, "never"};
      if (IS(overload_as_never) && status == 503) return (meaning){TICKET_CREATION_ERROR, "never"};
      return (meaning){TICKET_CLIENT_ERROR, unclear};
   }
   if (status >= 400) {
      if (IS(refused_as_later)) return (meaning){TICKET_CLIENT_ERROR, "later"};
      if (IS(refused_as_unknown)) return (meaning){TICKET_CREATION_ERROR, "unknown"};
      return (meaning){TICKET_CREATION_ERROR, "never"};
   }
   if (IS(unclear_as_later)) return (meaning){TICKET_PLUGIN_ERROR, "later"};
   if (IS(unclear_as_never)) return (meaning){TICKET_PLUGIN_ERROR, "never"};
   return (meaning){TICKET_PLUGIN_ERROR, unclear};
}

static int32_t failed(backend *self, const ticket_call *call, const answer *done, int creates) {
   const meaning means = meaning_of(done, creates);
   text why = {0}, json = {0};
   put_reason(self, &why, done);
   if (IS(leak_of_errors)) lose_memory(4096);
   if (IS(descriptor_on_error)) lose_descriptor();
   const char *retry = means.retry;
   if (IS(find_fails_for_ever) && !creates) retry = "never";
   const uint64_t seconds = seconds_of(done->retry_after);
   if (seconds == 0 || IS(message_unescaped) || IS(error_without_message)) {
      const int32_t code = fail(call, means.code, retry, "", view(&why));
      if (IS(second_free_on_error)) free(why.ptr);
      drop(&why);
      return code;
   }
   say(&json, "{\"message\": \"");
   put_json(&json, view(&why));
   say(&json, "\", \"retry\": \"");
   say(&json, retry);
   say(&json, "\", \"retry_after_ms\": ");
   put_number(&json, IS(retry_after_in_seconds) ? seconds : 1000 * seconds);
   say(&json, "}");
   drop(&why);
   if (IS(sleeps_retry_after)) nap((long)(1000 * seconds));
   return reply(call, means.code, &json);
}

/* ---- The plugin ---- */

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   backend *const self = calloc(1, sizeof *self);
   if (self == NULL) return fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", of(""));
   const ticket_str all = json_of(settings), information = member(all, "information");
   const int endpoint = put_decoded(&self->endpoint, member(all, "endpoint"));
   const int api_key = put_decoded(&self->api_key, member(member(all, "secret"), "api_key"));
   const int project = put_decoded(&self->project, member(information, "project"));
   const int field = number_of(member(information, "key_field"), &self->field);
   const char *wrong = NULL;
   if (!endpoint || self->endpoint.len == 0) wrong = "the endpoint is missing, or is no text";
   else if (!api_key || self->api_key.len == 0) wrong = "secret.api_key is missing, or is no text";
   else if (!project || self->project.len == 0) wrong = "information.project is missing, or is no text";
   else if (!field || self->field == 0) wrong = "information.key_field is missing, or is no number";
   for (size_t i = 0; i < self->api_key.len; i++)
      if (self->api_key.ptr[i] < '!' || self->api_key.ptr[i] > '~') wrong = "secret.api_key has a sign that no API key has";
   if (IS(silent_wrong_settings) && wrong != NULL && endpoint && self->endpoint.len > 0) {
      wrong = NULL;
      put(&self->project, of("main"));
      put(&self->api_key, of("none"));
   }
   if (IS(refuses_later_hosts)) {
      ticket_str name, value;
      const uint8_t *at = NULL;
      while (begins(all, '{') && next(all, &at, &name, &value))
         if (!contains(of("endpoint secret information"), name)) wrong = "an unknown setting";
   }
   if (wrong != NULL) {
      drop(&self->endpoint), drop(&self->api_key), drop(&self->project);
      free(self);
      return fail(call, TICKET_SETTINGS_ERROR, "never", IS(wrong_settings_unsaid) ? "" : wrong, of(""));
   }
   if (!IS(two_slashes))
      while (self->endpoint.len > 0 && self->endpoint.ptr[self->endpoint.len - 1] == '/') self->endpoint.len--;
   if (IS(path_of_endpoint_cut)) {
      char *const host = strstr(self->endpoint.ptr, "://"), *const path = host ? strchr(host + 3, '/') : NULL;
      if (path != NULL && path < self->endpoint.ptr + self->endpoint.len) self->endpoint.len = (size_t)(path - self->endpoint.ptr);
   }
   if (IS(thread_after_close)) start_thread(sleeps_for_ever, NULL);
   opened_last = self;
   *instance = self;
   return TICKET_OK;
}

static void close_backend(void *instance) {
   backend *const self = instance;
   if (IS(close_frees_nothing)) return;
   drop(&self->endpoint), drop(&self->api_key), drop(&self->project), drop(&self->none);
   if (IS(settings_of_last_opened) && opened_last == self) return; /* else its settings were gone */
   free(self);
   if (IS(close_frees_twice)) free(self);
}

/* The rules that hold for each call. */
static backend *begin(void *instance, const ticket_call *call) {
   backend *self = instance;
   if (SLOW_MS > 0) nap(SLOW_MS);
   if (IS(settings_of_last_opened)) self = opened_last;
   if (IS(thread_each_call)) start_thread(sleeps_for_ever, NULL);
   if (IS(log_from_thread)) {
      pthread_t thread;
      if (pthread_create(&thread, NULL, log_in_thread, (void *)(uintptr_t)call) == 0) pthread_join(thread, NULL);
   }
   if (IS(log_after_return)) start_thread(log_later, (void *)(uintptr_t)call);
   if (IS(call_after_its_end) && self->last_call != NULL) self->last_call->log(self->last_call, TICKET_LOG_DEBUG, of("the next call"));
   if (IS(answer_after_its_call) && self->last_answer.len > 0) {
      volatile uint32_t sum = 0;
      for (size_t i = 0; i < self->last_answer.len; i++) sum += self->last_answer.ptr[i];
   }
   self->last_call = call;
   self->last_answer = of("");
   self->calls++;
   return self;
}

/* Appends the request's key; 0 if it has none. */
static int put_key(text *key, ticket_str request, int creates) {
   const ticket_str json = member(json_of(request), "key");
   if (IS(key_left_escaped) && json.len > 2) return put(key, (ticket_str){json.ptr + 1, json.len - 2}), 1;
   if (!put_decoded(key, json) || key->len == 0 || key->failed) return 0;
   if (IS(key_in_256_bytes)) {
      char *const copy = malloc(256);
      if (copy != NULL) strcpy(copy, key->ptr), drop(key), say(key, copy), free(copy);
   }
   if ((IS(key_cut_64) || (IS(key_cut_64_in_create) && creates)) && key->len > 64) key->len = 64;
   return 1;
}

static void put_issue(const backend *self, text *to, ticket_str id) {
   if (!IS(relative_url)) put(to, view(&self->endpoint));
   say(to, "/issues/");
   put(to, id);
}

/* Replies the issue with this number; `warning` may be NULL. */
static int32_t reply_issue(const backend *self, const ticket_call *call, uint64_t id, const char *warning, int found) {
   text digits = {0}, json = {0};
   put_number(&digits, id);
   say(&json, "{\"url\": \"");
   put_issue(self, &json, view(&digits));
   if (IS(url_of_the_api) && found) say(&json, ".json");
   say(&json, "\", \"id\": \"");
   put(&json, view(&digits));
   say(&json, "\", \"warnings\": [");
   if (warning != NULL) say(&json, "\""), say(&json, warning), say(&json, "\"");
   if (IS(secret_in_warning)) say(&json, warning != NULL ? ", \"made with " : "\"made with "), put_json(&json, view(&self->api_key)), say(&json, "\"");
   say(&json, "]}");
   drop(&digits);
   if (IS(no_reply)) return drop(&json), TICKET_OK;
   if (IS(reply_without_url)) drop(&json), say(&json, "{\"id\": \"17\"}");
   return reply(call, TICKET_OK, &json);
}

static int32_t check(void *instance, const ticket_call *call) {
   backend *const self = begin(instance, call);
   if (IS(check_asks_nothing)) {
      text said = {0};
      say(&said, "{\"checks\": [{\"name\": \"project\", \"ok\": true, \"message\": \"configured\"}]}");
      return reply(call, TICKET_OK, &said);
   }
   text path = {0}, json = {0};
   say(&path, "/projects/");
   put_in_url(&path, view(&self->project));
   say(&path, ".json?include=issue_custom_fields");
   const answer done = ask(self, call, "GET", &path, NULL);
   drop(&path);
   if (IS(leak_of_check)) lose_memory(64);
   if (IS(create_in_check)) {
      text made = {0};
      say(&path, "/issues.json");
      say(&made, "{\"issue\": {\"project_id\": \"noc\", \"subject\": \"a test of ticket-host\"}}");
      ask(self, call, "POST", &path, &made);
      drop(&path), drop(&made);
   }
   const ticket_str project = member(done.json, "project");
   int reachable = done.status == 200 && begins(project, '{'), has_field = 0;
   if (IS(check_takes_any_answer)) reachable = done.sent == TICKET_HTTP_OK;
   if (IS(check_takes_any_200)) reachable = done.status == 200;
   if (IS(check_always_ok)) reachable = has_field = 1;
   if (!reachable && done.status != 200 && done.status != 401 && done.status != 403 && done.status != 404) return failed(self, call, &done, 0);
   const ticket_str fields = member(project, "issue_custom_fields");
   ticket_str name, field;
   const uint8_t *at = NULL;
   uint64_t id;
   while (begins(fields, '[') && next(fields, &at, &name, &field)) has_field |= number_of(member(field, "id"), &id) && id == self->field;
   if (IS(check_takes_any_answer) || IS(check_takes_any_200)) has_field = 1;
   if (IS(check_without_lines)) return say(&json, "{\"checks\": []}"), reply(call, TICKET_OK, &json);
   say(&json, "{\"checks\": [{\"name\": \"project\", \"ok\": ");
   if (reachable) {
      say(&json, "true, \"message\": \"reachable, and the project exists\"}, {\"name\": \"field\", \"ok\": ");
      say(&json, has_field ? "true, \"message\": \"the project has the field" :
                             "false, \"help\": \"correct information.key_field\", \"message\": \"the project has no such field");
   } else {
      text why = {0};
      put_reason(self, &why, &done);
      say(&json, "false, \"help\": \"correct secret.api_key, information.project or the endpoint\", \"message\": \"");
      put_json(&json, view(&why));
      drop(&why);
   }
   if (IS(secret_in_check)) say(&json, ", with the key "), put_json(&json, view(&self->api_key));
   say(&json, "\"}]}");
   return reply(call, TICKET_OK, &json);
}

/* ---- create ---- */

static int made_with(const answer *done, uint64_t *id) {
   const ticket_str issue = member(done->json, "issue");
   const uint32_t status = done->status;
   const int fine = status == 200 || status == 201;
   *id = 0;
   if (IS(dry_run_taken_for_made) && done->sent == TICKET_HTTP_DRY_RUN) return 1;
   if (IS(redirect_taken_for_made) && status >= 300 && status < 400) return 1;
   if (IS(refusal_taken_for_made) && status == 422) return 1;
   if (IS(any_status_taken_for_made) && begins(done->json, '{')) return number_of(member(issue, "id"), id), 1;
   if (IS(html_taken_for_made) && status == 200 && done->json.len == 0) return 1;
   if (IS(accepted_taken_for_made) && (status == 202 || status == 204)) return 1;
   if (IS(first_id_in_text) && fine) {
      const char *const found = done->body.len > 0 ? strstr((const char *)done->body.ptr, "\"id\":") : NULL;
      *id = found != NULL ? strtoull(found + 5, NULL, 10) : 0;
      return *id > 0;
   }
   if (IS(id_of_zero) && fine && begins(done->json, '{')) return number_of(member(issue, "id"), id), 1;
   return fine && number_of(member(issue, "id"), id) && *id > 0;
}

/* POSTs the issue, once. */
static answer post(backend *self, const ticket_call *call, const text *path, const text *json) {
   answer done = ask(self, call, "POST", path, json);
   const uint32_t status = done.status;
   uint64_t id;
   const int lost = done.sent == TICKET_HTTP_UNKNOWN;
   int again = 0;
   if (IS(posts_twice)) again = 1;
   if (IS(again_after_lost)) again = lost;
   if (IS(again_after_timeout)) again = lost && (contains(done.body, of("time")) || contains(done.body, of("Time")));
   if (IS(again_after_503)) again = status == 503;
   if (IS(again_after_429)) again = status == 429;
   if (IS(again_after_gateway_error)) again = status == 502 || status == 504;
   if (IS(again_after_unclear)) again = status / 100 == 2 && !made_with(&done, &id);
   if (again) done = ask(self, call, "POST", path, json);
   for (int more = 4; IS(five_attempts) && more > 0 && done.status != 201; more--) {
      nap(1);
      done = ask(self, call, "POST", path, json);
   }
   return done;
}

/* Redmine takes 255 characters of a subject. */
static int put_title(text *to, ticket_str title) {
   size_t at = 0, characters = 0;
   for (; at < title.len; at++) {
      const int begins_one = title.ptr[at] >> 6 != 2;
      if (begins_one && characters == 255) break;
      characters += (size_t)begins_one;
   }
   if (IS(title_cut_in_a_character) && title.len > 255) at = 255;
   const ticket_str cut = {title.ptr, at};
   if (IS(title_in_512_bytes)) {
      char copy[512];
      memcpy(copy, title.ptr, title.len);
      copy[title.len] = '\0';
      put_json(to, (ticket_str){(const uint8_t *)copy, title.len});
   } else if (IS(title_in_256_bytes_of_heap)) {
      char *const copy = malloc(256);
      if (copy != NULL) sprintf(copy, "%.*s", (int)title.len, (const char *)title.ptr), put_json(to, of(copy)), free(copy);
   } else if (IS(title_without_end)) {
      put_json(to, of((const char *)title.ptr));
   } else if (IS(title_unescaped)) {
      put(to, cut);
   } else {
      put_json(to, cut);
   }
   return at < title.len;
}

static void put_description(const backend *self, text *to, ticket_str body) {
   if (IS(no_description)) return;
   if (IS(body_without_new_lines_escaped)) {
      for (size_t i = 0; i < body.len; i++) {
         if (body.ptr[i] == '"' || body.ptr[i] == '\\') say(to, "\\");
         put(to, (ticket_str){body.ptr + i, 1});
      }
   } else if (IS(unescape_off_by_one)) {
      char *const copy = malloc(body.len);
      if (copy == NULL) return;
      memcpy(copy, body.ptr, body.len);
      copy[body.len] = '\0';
      put_json(to, (ticket_str){(const uint8_t *)copy, body.len});
      free(copy);
   } else {
      put_json(to, body);
   }
   if (IS(secret_in_description)) say(to, "\\n\\nmade with the API key "), put_json(to, view(&self->api_key));
   if (IS(frees_what_is_borrowed)) free((void *)(uintptr_t)body.ptr);
}

static void put_fields(backend *self, text *to, ticket_str key) {
   if (IS(no_key)) return;
   say(to, ", \"custom_fields\": [{\"id\": ");
   put_number(to, self->field + (IS(key_in_another_field) ? 1 : 0));
   say(to, ", \"value\": \"");
   if (IS(key_unescaped_in_json)) put(to, key);
   else put_json(to, key);
   if (IS(key_with_a_counter)) say(to, "-"), put_number(to, (uint64_t)self->calls);
   if (IS(key_with_the_time)) say(to, "@"), put_number(to, (uint64_t)time(NULL));
   say(to, "\"}]");
}

/* Whether Redmine kept the key: it ignores a field that the user may not set. A warning if it didn't, or NULL. */
static const char *read_back(backend *self, const ticket_call *call, uint64_t id, ticket_str key, answer *done);

static int32_t find(void *instance, const ticket_call *call, ticket_str request);

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   backend *const self = begin(instance, call);
   if (IS(find_first_creates_on_error) && find(instance, call, request) == TICKET_OK) return TICKET_OK;
   if (IS(answers_last_ticket_in_create) && last_ticket.len > 0) return call->reply(call, view(&last_ticket)), TICKET_OK;
   text key = {0}, json = {0}, path = {0};
   if (!put_key(&key, request, 1)) {
      drop(&key);
      return fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no key", of(""));
   }
   ticket_str title, body;
   if (call->render(call, of("title"), of("text"), of("{}"), &title) != TICKET_OK) {
      drop(&key);
      return fail(call, TICKET_SETTINGS_ERROR, "never", "the title can't be rendered: ", title);
   }
   if (call->render(call, of("body"), of("markdown"), of("{}"), &body) != TICKET_OK) {
      drop(&key);
      return fail(call, TICKET_SETTINGS_ERROR, "never", "the body can't be rendered: ", body);
   }
   say(&json, "{\"issue\": {\"project_id\": \"");
   put_json(&json, view(&self->project));
   say(&json, "\", \"subject\": \"");
   const int cut = put_title(&json, title);
   say(&json, "\", \"description\": \"");
   put_description(self, &json, body);
   say(&json, "\"");
   put_fields(self, &json, view(&key));
   say(&json, "}}");
   say(&path, "/issues.json");
   if (IS(sends_what_is_freed)) free(json.ptr);
   const answer done = post(self, call, &path, &json);
   if (IS(sends_what_is_freed)) json = (text){0};
   drop(&json), drop(&path);
   self->last_answer = done.body;
   if (IS(logs_the_answer)) call->log(call, TICKET_LOG_INFO, of(done.body.len > 0 ? (const char *)done.body.ptr : ""));

   uint64_t id;
   if (!made_with(&done, &id)) {
      drop(&key);
      return failed(self, call, &done, 1);
   }
   if (IS(leak_of_create)) lose_memory(64);
   if (IS(descriptor_of_create)) lose_descriptor();
   if (IS(thread_of_create)) start_thread(sleeps_for_ever, NULL);
   answer again;
   const char *warning = read_back(self, call, id, view(&key), &again);
   drop(&key);
   if (IS(read_back_as_later) && warning != NULL) return fail(call, TICKET_CLIENT_ERROR, "later", warning, of(""));
   if (IS(read_back_as_never) && warning != NULL) return fail(call, TICKET_CREATION_ERROR, "never", warning, of(""));
   if (warning == NULL && cut) warning = "the title was cut to 255 characters";
   if (IS(answers_last_ticket) || IS(answers_last_ticket_in_create)) {
      drop(&last_ticket);
      say(&last_ticket, "{\"url\": \"");
      char digits[24];
      snprintf(digits, sizeof digits, "%llu", (unsigned long long)id);
      put_issue(self, &last_ticket, of(digits));
      say(&last_ticket, "\"}");
   }
   return reply_issue(self, call, id, warning, 0);
}

/* ---- find ---- */

/* Whether an issue has the key in its field. */
static int has_key(const backend *self, ticket_str issue, ticket_str key) {
   const ticket_str fields = member(issue, "custom_fields");
   ticket_str name, field;
   const uint8_t *at = NULL;
   int has = 0;
   if (IS(list_without_fields) && fields.ptr[0] != '[') return *(volatile uint8_t *)(uintptr_t)fields.len;
   while (!has && begins(fields, '[') && next(fields, &at, &name, &field)) {
      uint64_t id;
      text value = {0};
      if (number_of(member(field, "id"), &id) && id == self->field && put_decoded(&value, member(field, "value")) && value.ptr != NULL) {
         has = value.len == key.len && memcmp(value.ptr, key.ptr, key.len) == 0;
         const size_t shorter = value.len < key.len ? value.len : key.len;
         if (IS(ignores_case)) has = value.len == key.len && strncasecmp(value.ptr, (const char *)key.ptr, key.len) == 0;
         if (IS(finds_by_prefix)) has = value.len >= key.len && memcmp(value.ptr, key.ptr, key.len) == 0;
         if (IS(finds_by_its_prefix)) has = memcmp(value.ptr, key.ptr, shorter) == 0;
         if (IS(finds_by_part)) has = contains(view(&value), key);
         if (IS(finds_by_length)) has = value.len == key.len;
      }
      drop(&value);
   }
   return has;
}

static const char *read_back(backend *self, const ticket_call *call, uint64_t id, ticket_str key, answer *done) {
   text path = {0};
   say(&path, "/issues/");
   put_number(&path, id);
   say(&path, ".json");
   *done = ask(self, call, "GET", &path, NULL);
   drop(&path);
   if (done->sent == TICKET_HTTP_DRY_RUN) return NULL;
   if (IS(again_if_not_read_back) && done->status != 200) {
      text json = {0};
      say(&path, "/issues.json");
      say(&json, "{\"issue\": {\"project_id\": \"noc\", \"subject\": \"again\"}}");
      ask(self, call, "POST", &path, &json);
      drop(&path), drop(&json);
   }
   if (done->status != 200) return "the ticket can't be read";
   return has_key(self, member(done->json, "issue"), key) ? NULL : "Redmine did not keep the key: may the API key's user set that field?";
}

/* The mistakes that take a failed search for a search without a hit. */
static int taken_for_none(const answer *page, uint64_t offset) {
   const uint32_t status = page->status;
   if (IS(none_on_lost) && page->sent == TICKET_HTTP_UNKNOWN) return 1;
   if (IS(none_on_not_sent) && page->sent == TICKET_HTTP_NOT_SENT) return 1;
   if (IS(none_on_403) && status == 403) return 1;
   if (IS(none_on_500) && status >= 500) return 1;
   if (IS(none_on_429) && status == 429) return 1;
   if (IS(none_on_4xx) && status >= 400 && status < 500) return 1;
   if (IS(none_on_redirect) && status >= 300 && status < 400) return 1;
   if (IS(none_on_failed_page) && offset > 0 && status != 200) return 1;
   if (status != 200) return 0;
   if (IS(none_on_html) && page->json.len == 0) return 1;
   if (IS(none_on_empty_body) && page->body.len == 0) return 1;
   if (IS(none_on_empty_object) && begins(page->json, '{') && member(page->json, "issues").len == 0) return 1;
   if (IS(none_on_list) && begins(page->json, '[')) return 1;
   if (IS(none_on_null) && begins(member(page->json, "issues"), 'n')) return 1;
   if (IS(none_by_text) && (page->body.len == 0 || strstr((const char *)page->body.ptr, "custom_fields") == NULL)) return 1;
   return 0;
}

/* A page's address. All states: Redmine leaves closed tickets out else. */
static void put_page(const backend *self, text *to, ticket_str key, uint64_t offset) {
   say(to, "/issues.json?project_id=");
   put_in_url(to, view(&self->project));
   if (!IS(finds_open_ones)) say(to, "&status_id=*");
   say(to, "&cf_");
   put_number(to, self->field);
   say(to, "=");
   put_in_url(to, key);
   say(to, "&offset=");
   put_number(to, offset);
   say(to, "&limit=100");
}

enum { MOST_PAGES = 100 };

static int32_t search(backend *self, const ticket_call *call, ticket_str key) {
   uint64_t offset = 0, total = 0;
   for (int pages = 0; pages < MOST_PAGES || IS(page_never_turned); pages++) {
      if (pages > 0 && call->remaining_ms(call) == 0) {
         if (IS(none_when_late)) return TICKET_NOT_FOUND;
         if (!IS(page_never_turned)) return fail(call, TICKET_CLIENT_ERROR, "later", "the search took too long", of(""));
      }
      text path = {0};
      put_page(self, &path, key, offset);
      const answer page = ask(self, call, "GET", &path, NULL);
      drop(&path);
      self->last_answer = page.body;
      if (taken_for_none(&page, offset)) return TICKET_NOT_FOUND;
      if (IS(exits_on_no_answer) && page.sent == TICKET_HTTP_UNKNOWN) exit(2);
      const ticket_str issues = member(page.json, "issues");
      if (page.status != 200 || !begins(issues, '[') || !number_of(member(page.json, "total_count"), &total)) return failed(self, call, &page, 0);
      if (IS(total_trusted)) {
         char *const room = malloc((size_t)(int)total * sizeof(ticket_str));
         memset(room, 0, total * sizeof(ticket_str));
         free(room);
      }
      ticket_str name, issue;
      const uint8_t *at = NULL;
      uint64_t id, first = 0, count = 0;
      while (next(issues, &at, &name, &issue)) {
         if (!number_of(member(issue, "id"), &id) || id == 0) return failed(self, call, &page, 0);
         if (count++ == 0) first = id;
         if (!has_key(self, issue, key) && !IS(takes_first_hit)) continue;
         if (IS(leak_of_find)) lose_memory(64);
         return reply_issue(self, call, IS(id_of_first_hit) ? first : id, NULL, 1);
      }
      offset += IS(page_never_turned) ? 0 : IS(turns_by_its_limit) ? 100 : count;
      if (offset >= total || IS(reads_first_page)) return TICKET_NOT_FOUND;
      if (count == 0 && !IS(page_never_turned)) return failed(self, call, &page, 0);
   }
   return fail(call, TICKET_CLIENT_ERROR, "later", "the search has too many pages", of(""));
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   backend *const self = begin(instance, call);
   if (IS(answers_last_ticket) && last_ticket.len > 0) return call->reply(call, view(&last_ticket)), TICKET_OK;
   if (IS(find_does_nothing)) return TICKET_NOT_FOUND;
   text key = {0};
   if (!put_key(&key, request, 0)) {
      drop(&key);
      return fail(call, TICKET_PLUGIN_ERROR, "never", "the host's request has no key", of(""));
   }
   if (IS(remembers_none) && self->none.len == key.len && key.len > 0 && memcmp(self->none.ptr, key.ptr, key.len) == 0)
      return drop(&key), TICKET_NOT_FOUND;
   const int32_t code = search(self, call, view(&key));
   if (IS(remembers_none) && code == TICKET_NOT_FOUND) drop(&self->none), put(&self->none, view(&key));
   if (IS(leak_of_keys)) key = (text){0};
   drop(&key);
   if (IS(creates_in_find) && code == TICKET_NOT_FOUND) return create(instance, call, request);
   return code;
}

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_backend,
   .close = close_backend,
   .check = check,
   .create = create,
   .find = find,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
