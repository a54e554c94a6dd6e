/* A host of another day than the plugin: other_host LIBRARY SETTINGS calls every function that it knows, and fails where the
 * plugin does what rule R3 forbids. Compiled with -DEARLIER, against the header of the day of the freeze, it is a host that knows
 * none of what came later. Otherwise it is one of a later version: its tables have grown at their end, and http() returns what no
 * plugin knows yet. */
#include "ticket_plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct later_call {
   ticket_call v1;
   int32_t (*attach)(const ticket_call *call, ticket_str file);
   uint64_t   flags[8];
} later_call;

#ifdef EARLIER
#define CALL_SIZE sizeof(ticket_call)
#define LAST_ANSWER 4
#define REQUEST "{\"incident\":{\"description\":\"x\"},\"key\":\"k\",\"dry_run\":false}"
#else
#define CALL_SIZE sizeof(later_call)
#define LAST_ANSWER 8
#define REQUEST "{\"incident\":{\"description\":\"x\",\"later\":{}},\"key\":\"k\",\"dry_run\":false,\"later\":[1]}"
#endif

static char replied[4096];
static int32_t answers;
static int stage, failures, posted;

static void expect(int what, const char *why) {
   if (what) return;
   fprintf(stderr, "stage %d: %s\n", stage, why);
   failures++;
}

static ticket_str str(const char *text) { return (ticket_str){(const uint8_t *)text, strlen(text)}; }

static void reply(const ticket_call *call, ticket_str json) {
   (void)call;
   expect(json.len < sizeof replied, "a reply of a size that nobody expects");
   snprintf(replied, sizeof replied, "%.*s", (int)json.len, (const char *)json.ptr);
}
static void log_line(const ticket_call *call, uint32_t level, ticket_str message) { (void)call, (void)level, (void)message; }
static uint64_t remaining(const ticket_call *call) { return (void)call, 30000; }
static int32_t http(const ticket_call *call, const ticket_http_request *request, ticket_http_response *response) {
   static const ticket_header headers[] = {{{(const uint8_t *)"location", 8}, {(const uint8_t *)"https://t.example.org/1", 23}}};
   expect(((const later_call *)call)->flags[7] == 7, "the call isn't the host's own");
   expect(request->size >= offsetof(ticket_http_request, body) + sizeof request->body && response->size >= sizeof *response, "sizes that version 1 doesn't have");
   posted |= request->method.len == 4 && memcmp(request->method.ptr, "POST", 4) == 0;
   if (answers != TICKET_HTTP_OK) return answers;
   response->status = 201;
   response->headers = headers;
   response->header_count = 1;
   response->body = str("{\"id\": \"1\", \"url\": \"https://t.example.org/1\"}");
   return TICKET_HTTP_OK;
}
static int32_t render(const ticket_call *call, ticket_str part, ticket_str format, ticket_str extra, ticket_str *out) {
   (void)call, (void)part, (void)format, (void)extra;
   *out = str("rendered");
   return TICKET_OK;
}
static int32_t attach(const ticket_call *call, ticket_str file) { return (void)call, (void)file, 0; }

#ifndef EARLIER
/* Whatever a plugin has of what was added, it ignores members of a later day, and says no more than that it doesn't do it. */
static void ask_for_what_was_added(const ticket_plugin *plugin, void *instance, const ticket_call *call) {
   const struct { size_t at; int32_t (*function)(void *, const ticket_call *, ticket_str); const char *request; } asked[] = {
      {offsetof(ticket_plugin, find_many), NULL, "{\"keys\":[{\"key\":\"k\",\"later\":1}],\"later\":{}}"},
      {offsetof(ticket_plugin, update), NULL, "{\"ticket\":{\"url\":\"https://t.example.org/1\",\"id\":\"1\",\"later\":1},\"key\":\"k\",\"incident\":"
         "{\"description\":\"x\"},\"again\":false,\"step\":{\"id\":\"s\",\"action\":\"merge\",\"into\":7},\"dry_run\":false}"},
      {offsetof(ticket_plugin, state), NULL, "{\"tickets\":[{\"url\":\"https://t.example.org/1\",\"later\":1}],\"later\":1}"},
      {offsetof(ticket_plugin, changes), NULL, "{\"later\":1}"},
   };
   answers = TICKET_HTTP_OK;
   for (size_t i = 0; i < sizeof asked / sizeof *asked; i++, stage++) {
      int32_t (*function)(void *, const ticket_call *, ticket_str) = NULL;
      if (plugin->size < asked[i].at + sizeof function) continue;
      memcpy(&function, (const char *)plugin + asked[i].at, sizeof function);
      if (function == NULL) continue;
      posted = 0;
      const int32_t code = function(instance, call, str(asked[i].request));
      expect(code <= TICKET_UNSUPPORTED, "it returns what version 1 doesn't have");
      if (asked[i].at == offsetof(ticket_plugin, update)) expect(code == TICKET_UNSUPPORTED && !posted, "an action that it can't know is done");
   }
   if (plugin->size >= offsetof(ticket_plugin, changes) && plugin->receive != NULL)
      expect(plugin->receive(instance, call, str("{\"method\":\"POST\",\"url\":\"https://t.example.org/\",\"headers\":[],\"later\":1}"), str("{}")) <= TICKET_UNSUPPORTED,
             "receive() returns what version 1 doesn't have");
}
#endif

int main(int argc, char **argv) {
   if (argc != 3) return 2;
   void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
   if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 2;
   const ticket_plugin *(*entry)(uint32_t) = NULL;
   *(void **)&entry = dlsym(library, "ticket_plugin_entry");
   if (entry == NULL) return fprintf(stderr, "no entry\n"), 2;
   expect(entry(2) == NULL || entry(2)->abi_version == 1, "a table for a version that it can't know");
   const ticket_plugin *plugin = entry(TICKET_PLUGIN_ABI_VERSION);
   if (plugin == NULL) return fprintf(stderr, "no table\n"), 2;
   const later_call call = {
      {CALL_SIZE, 0, NULL, reply, log_line, remaining, http, render}, attach, {0, 0, 0, 0, 0, 0, 0, 7},
   };
   const ticket_str request = str(REQUEST);
   void *instance = NULL;
   stage = 1;
   expect(plugin->open(&call.v1, str(argv[2]), &instance) == TICKET_OK && instance != NULL, "open() fails");
   if (failures > 0) return 1;
   for (answers = 0; answers <= LAST_ANSWER; answers += 4, stage++) {
      posted = 0;
      expect(plugin->check(instance, &call.v1) <= TICKET_UNSUPPORTED, "check() returns what version 1 doesn't have");
      const int32_t created = plugin->create(instance, &call.v1, request);
      /* 4 is a dry run; 8 no plugin of version 1 knows: unknown. */
      if (answers == 8) expect(created != TICKET_OK, "there can be no ticket");
      if (answers == 8 && posted) expect(strstr(replied, "unknown") != NULL, "an outcome that it can't know isn't unknown");
      if (plugin->find != NULL) expect(plugin->find(instance, &call.v1, request) <= TICKET_UNSUPPORTED, "find() returns what version 1 doesn't have");
   }
#ifndef EARLIER
   ask_for_what_was_added(plugin, instance, &call.v1);
#endif
   plugin->close(instance);
   return failures > 0;
}
