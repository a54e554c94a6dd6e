/* A ticket plugin in C99: POSTs each request, as the host gave it, to a webhook (see README.md). */
#include "ticket_plugin_helpers.h"

static const char manifest[] =
   "{\"name\": \"webhook\", \"version\": \"0.1.0\", \"license\": \"MIT OR Apache-2.0\","
   " \"description\": \"POSTs each incident as JSON to a webhook of your own\","
   " \"actions\": [\"comment\", \"close\", \"reopen\"], \"marks\": true,"
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\":"
   " {\"type\": \"string\", \"pattern\": \"^[!-~]+$\", \"description\": \"sent as Bearer token\"}}},"
   " \"information_schema\": {\"type\": \"object\"}}";

typedef struct webhook { ticket_text endpoint, authorization; } webhook;

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   webhook *self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   ticket_put_unescaped(&self->endpoint, ticket_member(settings, "endpoint"));
   ticket_put(&self->authorization, ticket_of("Bearer "), TICKET_AS_IS);
   ticket_put_unescaped(&self->authorization, ticket_member(ticket_member(settings, "secret"), "token"));
   if (ticket_fits(&self->authorization) && ticket_fits(&self->endpoint)) return *instance = self, TICKET_OK;
   free(self);
   return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "secret.token or endpoint is over 8 KiB", ticket_of(""));
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
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
