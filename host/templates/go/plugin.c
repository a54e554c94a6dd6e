/* The static half of the plugin: its table, and what Go can't express in C's types. */
#include "plugin.h"
#include "_cgo_export.h"

static const char manifest[] =
   "{\"name\": \"{{name}}\", \"version\": \"0.1.0\", \"description\": \"Tickets in {{name}}\","
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\":"
   " {\"type\": \"string\", \"pattern\": \"^[!-~]+$\", \"description\": \"An API token that may create and list tickets\"}}},"
   " \"information_schema\": {\"type\": \"object\", \"required\": [\"project\"], \"properties\": {\"project\":"
   " {\"type\": \"string\", \"minLength\": 1, \"description\": \"The project that tickets go to\"}}}}";

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   uintptr_t handle = 0;
   if (call == NULL || instance == NULL) return TICKET_PLUGIN_ERROR;
   const int32_t code = goOpen((ticket_call *)call, settings, &handle);
   if (code == TICKET_OK) *instance = (void *)handle;
   return code;
}

static void close_backend(void *instance) { goClose((uintptr_t)instance); }

static int32_t check(void *instance, const ticket_call *call) {
   return call != NULL ? goCheck((uintptr_t)instance, (ticket_call *)call) : TICKET_PLUGIN_ERROR;
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   return call != NULL ? goCreate((uintptr_t)instance, (ticket_call *)call, request) : TICKET_PLUGIN_ERROR;
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   return call != NULL ? goFind((uintptr_t)instance, (ticket_call *)call, request) : TICKET_PLUGIN_ERROR;
}

static const ticket_plugin table = {
   sizeof table, TICKET_PLUGIN_ABI_VERSION, {(const uint8_t *)manifest, sizeof manifest - 1},
   open_backend, close_backend, check, create, find,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}

/* Go can't call a function pointer, and may pass no pointer to memory that has Go's pointers in it. */

void call_reply(const ticket_call *call, ticket_str json) { call->reply(call, json); }

int32_t call_http(const ticket_call *call, ticket_str method, ticket_str url, ticket_str authorization, ticket_str body,
                  ticket_http_response *response) {
   static const char names[] = "authorization" "content-type" "application/json";
   const uint8_t *const name = (const uint8_t *)names;
   const ticket_header headers[] = {{{name, 13}, authorization}, {{name + 13, 12}, {name + 25, 16}}};
   const ticket_http_request request = {sizeof request, body.len > 0 ? 2 : 1, method, url, headers, body};
   response->size = sizeof *response;
   return call->http(call, &request, response);
}

int32_t call_render(const ticket_call *call, ticket_str part, ticket_str format, ticket_str extra, ticket_str *out) {
   return call->render(call, part, format, extra, out);
}
