/* SPDX-License-Identifier: MIT-0 */
/* The static half of the plugin: its table, and what Go can't express in C's types. */
#include "plugin.h"
#include "_cgo_export.h"

static const char manifest[] =
   "{\"name\": \"{{name}}\", \"version\": \"0.1.0\", \"description\": \"Tickets in {{name}}\","
   " \"actions\": [\"comment\", \"close\", \"reopen\"], \"marks\": true,"
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

/* What goAsk() returns for a request. */
static int32_t ask(int32_t function, void *instance, const ticket_call *call, ticket_str request) {
   return call != NULL ? goAsk(function, (uintptr_t)instance, (ticket_call *)call, request) : TICKET_PLUGIN_ERROR;
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) { return ask(CREATE, instance, call, request); }
static int32_t find(void *instance, const ticket_call *call, ticket_str request) { return ask(FIND, instance, call, request); }
static int32_t find_many(void *instance, const ticket_call *call, ticket_str request) { return ask(FIND_MANY, instance, call, request); }
static int32_t update(void *instance, const ticket_call *call, ticket_str request) { return ask(UPDATE, instance, call, request); }
static int32_t state(void *instance, const ticket_call *call, ticket_str request) { return ask(STATE, instance, call, request); }

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_backend,
   .close = close_backend,
   .check = check,
   .create = create,
   .find = find,
   .find_many = find_many,
   .update = update,
   .state = state,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}

/* Go can't call a function pointer, and may pass no pointer to memory that has Go's pointers in it. */

void call_reply(const ticket_call *call, ticket_str json) { call->reply(call, json); }

static ticket_str next(const uint8_t **at, size_t len) {
   const ticket_str text = {*at, len};
   *at += len;
   return text;
}

uint64_t call_remaining_ms(const ticket_call *call) { return call->remaining_ms(call); }

int32_t call_http(const ticket_call *call, uint32_t flags, ticket_str method, ticket_str url, ticket_str headers, const size_t *lengths,
                  uint32_t header_count, ticket_str body, ticket_http_response *response) {
   ticket_header all[MOST_HEADERS];
   if (header_count > MOST_HEADERS) return TICKET_HTTP_DENIED;
   const uint8_t *at = headers.ptr;
   for (uint32_t i = 0; i < header_count; i++) {
      all[i].name = next(&at, lengths[2 * i]);
      all[i].value = next(&at, lengths[2 * i + 1]);
   }
   const ticket_http_request request = {sizeof request, header_count, method, url, all, body, flags, 0};
   response->size = sizeof *response;
   return call->http(call, &request, response);
}

int32_t call_render(const ticket_call *call, ticket_str part, ticket_str format, ticket_str extra, ticket_str *out) {
   return call->render(call, part, format, extra, out);
}
