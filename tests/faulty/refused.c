/* A plugin that makes system calls which the sandbox refuses, and does its work all the same: one when it is loaded,
 * and in each create() three of one kind and one of another. With `information.spins` it goes on until create()'s time is over. */
#include "ticket_plugin_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const char manifest[] = "{\"name\": \"refused\", \"version\": \"1\", \"license\": \"MIT\","
   " \"description\": \"makes refused calls\", \"secret_schema\": {\"type\": \"object\"},"
   " \"information_schema\": {\"type\": \"object\"}}";

static int asked = 0, refused = 0;

static void note(int result) {
   asked++;
   refused += result == -1 && errno == EPERM;
}

static int socket_of_its_own(void) { return socket(AF_INET, SOCK_STREAM, 0); }

__attribute__((constructor)) static void start(void) { note(personality(0xffffffff)); }

static int32_t open_spinner(const ticket_call *call, ticket_str settings, void **instance) {
   (void)call;
   const ticket_str spins = ticket_member(ticket_member(settings, "information"), "spins");
   return *instance = spins.len > 0 ? &asked : &refused, TICKET_OK;
}

static void close_spinner(void *instance) { (void)instance; }

static int32_t check(void *instance, const ticket_call *call) {
   return (void)instance, ticket_reply(call, TICKET_OK, "{\"checks\": []}", "", ticket_of(""), "");
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   char count[32];
   (void)request;
   for (int i = 0; i < 3; i++) note(socket_of_its_own());
   note(mkdirat(AT_FDCWD, "/tmp/refused", 0700));
   while (instance == &asked && call->remaining_ms(call) > 0) note(socket_of_its_own());
   if (refused != asked) return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "a call did not fail with EPERM", ticket_of(""));
   snprintf(count, sizeof count, "%d", refused);
   return ticket_reply(call, TICKET_OK, "{\"url\": \"https://tickets.example.org/", count, ticket_of(""), "\"}");
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   return (void)instance, (void)call, (void)request, TICKET_NOT_FOUND;
}

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_spinner,
   .close = close_spinner,
   .check = check,
   .create = create,
   .find = find,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
