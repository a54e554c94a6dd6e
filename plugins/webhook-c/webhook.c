/* A ticket plugin in C99: POSTs each request, as the host gave it, to a webhook (see README.md). */
#include "ticket_plugin_helpers.h"

static const char manifest[] =
   "{\"name\": \"webhook\", \"version\": \"0.1.0\", \"license\": \"MIT OR Apache-2.0\","
   " \"description\": \"POSTs each incident as JSON to a webhook of your own\","
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

static ticket_exchange ask(const webhook *self, const ticket_call *call, const char *method, const ticket_text *url, ticket_str body) {
   const ticket_header headers[] = {{ticket_of("authorization"), ticket_view(&self->authorization)},
                                    {ticket_of("content-type"), ticket_of("application/json")}};
   return ticket_http(call, method, ticket_view(url), headers, body.len > 0 ? 2 : 1, body);
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
   ticket_text key = {0}, url = self->endpoint;
   ticket_put_unescaped(&key, ticket_member(request, "key"));
   ticket_put(&url, ticket_of(memchr(url.bytes, '?', url.len) ? "&key=" : "?key="), TICKET_AS_IS);
   ticket_put(&url, ticket_view(&key), TICKET_IN_URL);
   if (!ticket_fits(&key) || !ticket_fits(&url))
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "a URL over 8 KiB", ticket_of(""));
   const ticket_exchange done = ask(self, call, "GET", &url, ticket_of(""));
   return done.response.status == 204 ? TICKET_NOT_FOUND : ticket(call, &done);
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
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
