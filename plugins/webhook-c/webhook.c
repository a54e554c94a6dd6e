/* A ticket plugin in C99: POSTs each request, as the host gave it, to a webhook (see README.md). */
#include "ticket_plugin_helpers.h"

static const char manifest[] =
   "{\"name\": \"webhook\", \"version\": \"0.1.0\", \"license\": \"MIT OR Apache-2.0\","
   " \"description\": \"POSTs each incident as JSON to a webhook of your own\","
   " \"actions\": [\"comment\", \"close\", \"reopen\"], \"marks\": true,"
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\":"
   " {\"type\": \"string\", \"pattern\": \"^[!-~]+$\", \"description\": \"sent as Bearer token\"}, \"webhook_secret\":"
   " {\"type\": \"string\", \"minLength\": 16, \"description\": \"what webhooks have in X-Webhook-Secret; without it none is taken\"}}},"
   " \"information_schema\": {\"type\": \"object\"}}";

typedef struct webhook { ticket_text endpoint, authorization, webhook_secret; } webhook;

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   webhook *self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   ticket_put_unescaped(&self->endpoint, ticket_member(settings, "endpoint"));
   ticket_put(&self->authorization, ticket_of("Bearer "), TICKET_AS_IS);
   ticket_put_unescaped(&self->authorization, ticket_member(ticket_member(settings, "secret"), "token"));
   ticket_put_unescaped(&self->webhook_secret, ticket_member(ticket_member(settings, "secret"), "webhook_secret"));
   if (ticket_fits(&self->authorization) && ticket_fits(&self->endpoint) && ticket_fits(&self->webhook_secret))
      return *instance = self, TICKET_OK;
   free(self);
   return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "endpoint, secret.token or secret.webhook_secret is over 8 KiB", ticket_of(""));
}

/* What has no body is a GET, which changes nothing. */
static ticket_exchange ask(const webhook *self, const ticket_call *call, const char *method, const ticket_text *url, ticket_str body) {
   const ticket_header headers[] = {{ticket_of("authorization"), ticket_view(&self->authorization)},
                                    {ticket_of("content-type"), ticket_of("application/json")}};
   if (body.len > 0) return ticket_http(call, method, ticket_view(url), headers, 2, body);
   return ticket_http_flagged(call, TICKET_HTTP_CHANGES_NOTHING, method, ticket_view(url), headers, 1, body);
}

/* Adds a parameter to a URL: what this JSON string says. */
static void put_parameter(ticket_text *url, const char *name, ticket_str json) {
   const ticket_str before = ticket_view(url);
   ticket_text value = {0};
   ticket_put_unescaped(&value, json);
   ticket_put(url, ticket_of(memchr(before.ptr, '?', before.len) ? "&" : "?"), TICKET_AS_IS);
   ticket_put(url, ticket_of(name), TICKET_AS_IS);
   ticket_put(url, ticket_of("="), TICKET_AS_IS);
   ticket_put(url, ticket_view(&value), TICKET_IN_URL);
}

/* The answer's location is the ticket's URL. */
static int32_t ticket(const ticket_call *call, const ticket_exchange *done) {
   const ticket_str url = ticket_header_value(&done->response, "location");
   const uint32_t status = done->response.status;
   if ((status == 200 || status == 201) && url.len > 0)
      return ticket_reply(call, TICKET_OK, "{\"url\": \"", "", url, "\"}");
   return ticket_http_error(call, done);
}

static int32_t check(void *instance, const ticket_call *call) {
   const ticket_exchange done = ask(instance, call, "GET", &((webhook *)instance)->endpoint, ticket_of(""));
   const uint32_t status = done.response.status;
   const int ok = done.sent == TICKET_HTTP_OK && status < 500 && status != 401 && status != 403 && status != 404;
   return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"webhook\", \"message\": \"", done.what, done.why,
                       ok ? "\", \"ok\": true}]}" : "\", \"ok\": false, \"help\": \"is the endpoint right, and the token?\"}]}");
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   const ticket_exchange done = ask(instance, call, "POST", &((webhook *)instance)->endpoint, request);
   return ticket(call, &done);
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   const webhook *self = instance;
   ticket_text url = self->endpoint;
   put_parameter(&url, "key", ticket_member(request, "key"));
   if (!ticket_fits(&url)) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "a URL over 8 KiB", ticket_of(""));
   const ticket_exchange done = ask(self, call, "GET", &url, ticket_of(""));
   return done.response.status == 204 ? TICKET_NOT_FOUND : ticket(call, &done);
}

/* The ticket's state as an answer has it, or NULL. */
static const char *state_of(const ticket_exchange *done) {
   static const char *const words[] = {"open", "closed", "cancelled", "gone", "foreign"};
   if (done->response.status != 200 || !ticket_is_json(done->response.body, '{')) return NULL;
   const ticket_str state = ticket_member(done->response.body, "state");
   for (size_t i = 0; i < sizeof words / sizeof *words; i++)
      if (ticket_says(state, ticket_of(words[i]))) return words[i];
   return NULL;
}

static int is_closed(const char *state) { return strcmp(state, "closed") == 0 || strcmp(state, "cancelled") == 0; }

static int32_t reply_step(const ticket_call *call, int done, const char *state) {
   return ticket_reply(call, TICKET_OK, done ? "{\"done\": true, \"state\": \"" : "{\"done\": false, \"state\": \"", state,
                       ticket_of(""), "\"}");
}

/* One request looks at the ticket, and one carries the step out: with the comment, unless an earlier try wrote it. */
static int32_t update(void *instance, const ticket_call *call, ticket_str request) {
   const webhook *self = instance;
   const ticket_str ticket = ticket_member(request, "ticket"), step = ticket_member(request, "step");
   const ticket_str action = ticket_member(step, "action");
   const int comments = ticket_says(action, ticket_of("comment")), reopens = ticket_says(action, ticket_of("reopen"));
   if (!comments && !reopens && !ticket_says(action, ticket_of("close"))) return TICKET_UNSUPPORTED;

   ticket_text url = self->endpoint;
   put_parameter(&url, "ticket", ticket_member(ticket, "url"));
   put_parameter(&url, "step", ticket_member(step, "id"));
   if (!ticket_fits(&url)) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "a URL over 8 KiB", ticket_of(""));
   const ticket_exchange look = ask(self, call, "GET", &url, ticket_of(""));
   const int dry = look.sent == TICKET_HTTP_DRY_RUN; /* which shows the requests, and answers none */
   const char *const was = dry ? "open" : state_of(&look);
   if (was == NULL) return ticket_http_error(call, &look);
   if (strcmp(was, "gone") == 0) return TICKET_NOT_FOUND;
   if (strcmp(was, "foreign") == 0) return reply_step(call, 0, was);
   const ticket_str its_comment = dry ? ticket_of("\"missing\"") : ticket_member(look.response.body, "comment");
   const int written = ticket_says(its_comment, ticket_of("written"));
   if (!written && !ticket_says(its_comment, ticket_of("missing"))) return ticket_http_error(call, &look);
   /* It is as it is to be: by an earlier try, or a person was there first. */
   if (!dry && is_closed(was) != reopens) return reply_step(call, written, was);

   const char *const part = comments || reopens ? "comment" : "closing";
   ticket_str text = ticket_of("");
   if (!written && call->render(call, ticket_of(part), ticket_of("markdown"), ticket_of("{}"), &text) != TICKET_OK)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "the comment can't be rendered: ", text);
   if (comments && text.len == 0) return reply_step(call, !dry, was); /* nothing is missing */
   ticket_long body = {0};
   ticket_add_text(&body, "{\"ticket\": ");
   ticket_add(&body, ticket, TICKET_AS_IS);
   ticket_add_text(&body, ", \"step\": ");
   ticket_add(&body, step, TICKET_AS_IS);
   ticket_add_text(&body, ", \"comment\": \"");
   ticket_add(&body, text, TICKET_IN_JSON);
   ticket_add_text(&body, "\"}");
   if (body.failed) return free(body.ptr), ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   const ticket_exchange done = ask(self, call, "PATCH", &self->endpoint, ticket_long_view(&body));
   free(body.ptr);
   const char *const now = state_of(&done);
   if (now != NULL && (comments || (reopens ? strcmp(now, "open") == 0 : is_closed(now)))) return reply_step(call, 1, now);
   return ticket_step_error(call, &done, written);
}

/* Adds a member that a ticket has, if it is a text of no more than 1 KiB. */
static void add_member(ticket_long *json, ticket_str ticket, const char *name) {
   const ticket_str text = ticket_string_member(ticket, name);
   if (text.len == 0 || text.len > 1024) return;
   ticket_add_text(json, ", \"");
   ticket_add_text(json, name);
   ticket_add_text(json, "\": ");
   ticket_add(json, text, TICKET_AS_IS);
}

/* Adds for how long an answer wants the desk to be left alone, if it says so in seconds: a day at most. */
static void add_retry_after(ticket_long *json, const ticket_exchange *done) {
   enum { DAY = 24 * 60 * 60 };
   const ticket_str value = ticket_header_value(&done->response, "retry-after");
   long seconds = 0;
   for (size_t i = 0; i < value.len; i++) {
      if (value.ptr[i] < '0' || value.ptr[i] > '9') return;
      seconds = seconds < DAY ? seconds * 10 + (value.ptr[i] - '0') : DAY;
   }
   char text[48];
   snprintf(text, sizeof text, ", \"retry_after_ms\": %ld", 1000 * (seconds < DAY ? seconds : DAY));
   if (value.len > 0) ticket_add_text(json, text);
}

/* One request for each ticket. Of one that can't be read nothing is said. A 404 or 410 may be about that ticket alone, and so is no
 * error of the backend's. */
static int32_t state(void *instance, const ticket_call *call, ticket_str request) {
   enum { TIME_FOR_A_TICKET = 2000 };
   const webhook *self = instance;
   const ticket_str tickets = ticket_member(request, "tickets");
   ticket_long json = {0};
   ticket_exchange done = {0}, failed = {0};
   int asked = 0, told = 0, fails = 0, limited = 0;
   ticket_add_text(&json, "{\"tickets\": [");
   for (ticket_str ticket = {0}; !limited && ticket_item(tickets, &ticket);) {
      if (asked++ > 0 && call->remaining_ms(call) < TIME_FOR_A_TICKET) break;
      ticket_text url = self->endpoint;
      put_parameter(&url, "ticket", ticket_member(ticket, "url"));
      if (!ticket_fits(&url)) continue;
      done = ask(self, call, "GET", &url, ticket_of(""));
      const char *const word = state_of(&done);
      if (word == NULL) {
         const uint32_t status = done.response.status;
         if (status != 404 && status != 410 && fails++ == 0) failed = done;
         limited = status == 429 || ticket_header_value(&done.response, "retry-after").len > 0;
         continue;
      }
      ticket_add_text(&json, told++ > 0 ? ", {\"url\": " : "{\"url\": ");
      ticket_add(&json, ticket_member(ticket, "url"), TICKET_AS_IS);
      ticket_add_text(&json, ", \"state\": \"");
      ticket_add_text(&json, word);
      ticket_add_text(&json, "\"");
      /* The id by which the host knows it stays. */
      if (ticket_string_member(ticket, "id").len == 0) add_member(&json, done.response.body, "id");
      add_member(&json, done.response.body, "by");
      add_member(&json, done.response.body, "at");
      add_member(&json, done.response.body, "detail");
      ticket_add_text(&json, "}");
   }
   ticket_add_text(&json, "]");
   if (limited) add_retry_after(&json, &done);
   ticket_add_text(&json, "}");
   const int replies = !json.failed && (told > 0 || fails == 0);
   if (replies) call->reply(call, ticket_long_view(&json));
   free(json.ptr);
   if (replies) return TICKET_OK;
   if (told == 0 && fails > 0) return ticket_http_error(call, &failed);
   return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
}

/* All webhooks have the same token: to check a signature this file would need a library, or code that nobody should copy. */
static int32_t receive(void *instance, const ticket_call *call, ticket_str request, ticket_str body) {
   const webhook *self = instance;
   ticket_text secret = {0};
   if (self->webhook_secret.len == 0)
      return ticket_reply(call, TICKET_OK, "{\"forged\": \"", "secret.webhook_secret is not set, and so no webhook is taken", ticket_of(""), "\"}");
   ticket_put_unescaped(&secret, ticket_webhook_header(request, "x-webhook-secret"));
   if (!ticket_fits(&secret) || !ticket_same_secret(ticket_view(&secret), ticket_view(&self->webhook_secret)))
      return ticket_reply(call, TICKET_OK, "{\"forged\": \"", "X-Webhook-Secret is missing, or is not secret.webhook_secret", ticket_of(""), "\"}");
   const ticket_str url = ticket_is_json(body, '{') ? ticket_string_member(ticket_member(body, "ticket"), "url") : ticket_of("");
   ticket_text unescaped = {0};
   ticket_put_unescaped(&unescaped, url);
   if (unescaped.len == 0 || !ticket_fits(&unescaped))
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the webhook's body has no ", ticket_of("{\"ticket\": {\"url\": \"...\"}}"));
   return ticket_reply(call, TICKET_OK, "{\"tickets\": [{\"url\": \"", "", ticket_view(&unescaped), "\"}]}");
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
   .update = update,
   .state = state,
   .receive = receive,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
