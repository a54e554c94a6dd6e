/* A plugin of the day when ABI version 1 was frozen. Never edit it: see README.md. */
#include "ticket_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) ((ticket_str){(const uint8_t *)(literal), sizeof(literal) - 1})

static const char manifest[] =
   "{\"name\": \"frozen\", \"version\": \"1.0.0\", \"vendor\": \"Frozen Ltd.\", \"license\": \"proprietary\","
   " \"description\": \"ABI version 1 as it was frozen\", \"homepage\": \"https://frozen.example.org\","
   " \"aliases\": [\"frozen.TicketPlugin\"],"
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\": {\"type\": \"string\"}}},"
   " \"information_schema\": {\"type\": \"object\"}, \"permissions\": [], \"dry_run\": true}";

typedef struct frozen { char endpoint[512]; } frozen;

/* The text of a member that stands first of that name; good enough for what the tests send. */
static void member(ticket_str json, const char *name, char *out, size_t size) {
   char wanted[64];
   const int length = snprintf(wanted, sizeof wanted, "\"%s\":\"", name);
   size_t end = 0;
   for (size_t at = 0; at + (size_t)length < json.len; at++) {
      if (memcmp(json.ptr + at, wanted, (size_t)length) != 0) continue;
      for (at += (size_t)length; at < json.len && json.ptr[at] != '"' && end + 1 < size; at++) out[end++] = (char)json.ptr[at];
      break;
   }
   out[end] = '\0';
}

static int32_t fail(const ticket_call *call, int32_t code, ticket_str reply) {
   call->reply(call, reply);
   return code;
}

static int32_t open_frozen(const ticket_call *call, ticket_str settings, void **instance) {
   frozen *self = calloc(1, sizeof *self);
   if (self == NULL) return fail(call, TICKET_PLUGIN_ERROR, TEXT("{\"message\": \"out of memory\", \"retry\": \"later\"}"));
   member(settings, "endpoint", self->endpoint, sizeof self->endpoint);
   if (self->endpoint[0] == '\0') {
      free(self);
      return fail(call, TICKET_SETTINGS_ERROR, TEXT("{\"message\": \"no endpoint\", \"retry\": \"never\"}"));
   }
   *instance = self;
   return TICKET_OK;
}

static int32_t ask(frozen *self, const ticket_call *call, const char *method, const char *path, ticket_str body, ticket_http_response *response) {
   char url[1024];
   const int length = snprintf(url, sizeof url, "%s%s", self->endpoint, path);
   const ticket_header headers[] = {{TEXT("authorization"), TEXT("Frozen token")}, {TEXT("content-type"), TEXT("application/json")}};
   const ticket_http_request request = {
      sizeof request, 2, {(const uint8_t *)method, strlen(method)}, {(const uint8_t *)url, (size_t)length}, headers, body,
   };
   memset(response, 0, sizeof *response);
   response->size = sizeof *response;
   return call->http(call, &request, response);
}

static int32_t check(void *instance, const ticket_call *call) {
   ticket_http_response response;
   const int32_t sent = ask(instance, call, "GET", "health", TEXT(""), &response);
   call->log(call, TICKET_LOG_INFO, TEXT("checked"));
   return fail(call, TICKET_OK,
               sent == TICKET_HTTP_OK && response.status == 200
                  ? TEXT("{\"checks\": [{\"name\": \"health\", \"ok\": true, \"message\": \"well\"}]}")
                  : TEXT("{\"checks\": [{\"name\": \"health\", \"ok\": false, \"message\": \"unwell\", \"help\": \"is it on?\"}]}"));
}

static int32_t outcome(const ticket_call *call, int32_t sent, const ticket_http_response *response) {
   if (sent == TICKET_HTTP_OK && response->status / 100 == 2) {
      for (uint32_t i = 0; i < response->header_count; i++) {
         const ticket_header *header = &response->headers[i];
         if (header->name.len != 8 || memcmp(header->name.ptr, "location", 8) != 0) continue;
         char reply[1024];
         const int length = snprintf(reply, sizeof reply, "{\"url\": \"%.*s\", \"id\": \"1\"}", (int)header->value.len, (const char *)header->value.ptr);
         return fail(call, TICKET_OK, (ticket_str){(const uint8_t *)reply, (size_t)length});
      }
   }
   if (sent == TICKET_HTTP_NOT_SENT || sent == TICKET_HTTP_DRY_RUN)
      return fail(call, TICKET_CLIENT_ERROR, TEXT("{\"message\": \"not sent\", \"retry\": \"later\", \"retry_after_ms\": 1000}"));
   if (sent == TICKET_HTTP_DENIED) return fail(call, TICKET_SETTINGS_ERROR, TEXT("{\"message\": \"denied\"}"));
   return fail(call, TICKET_CLIENT_ERROR, TEXT("{\"message\": \"nobody knows\", \"retry\": \"unknown\"}"));
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   ticket_str title = {0}, body = {0};
   char key[256], text[4096];
   ticket_http_response response;
   member(request, "key", key, sizeof key);
   if (call->remaining_ms(call) == 0) return fail(call, TICKET_CLIENT_ERROR, TEXT("{\"message\": \"no time\", \"retry\": \"later\"}"));
   if (call->render(call, TEXT("title"), TEXT("text"), TEXT("{}"), &title) != TICKET_OK ||
       call->render(call, TEXT("body"), TEXT("markdown"), TEXT("{\"missing_fields\": []}"), &body) != TICKET_OK)
      return fail(call, TICKET_SETTINGS_ERROR, TEXT("{\"message\": \"the template\"}"));
   const int length = snprintf(text, sizeof text, "{\"key\": \"%s\", \"title bytes\": %u, \"body bytes\": %u}", key, (unsigned)title.len, (unsigned)body.len);
   const int32_t sent = ask(instance, call, "POST", "tickets", (ticket_str){(const uint8_t *)text, (size_t)length}, &response);
   return outcome(call, sent, &response);
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   char key[256], path[512];
   ticket_http_response response;
   member(request, "key", key, sizeof key);
   snprintf(path, sizeof path, "tickets?key=%s", key);
   const int32_t sent = ask(instance, call, "GET", path, TEXT(""), &response);
   return sent == TICKET_HTTP_OK && response.status == 204 ? TICKET_NOT_FOUND : outcome(call, sent, &response);
}

static const ticket_plugin table = {
   sizeof table, TICKET_PLUGIN_ABI_VERSION, {(const uint8_t *)manifest, sizeof manifest - 1}, open_frozen, free, check, create, find,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
