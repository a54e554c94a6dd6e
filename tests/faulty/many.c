/* The webhook, with a search for many tickets that asks once and then comes to what the last part of the endpoint's path says. */
#define ticket_plugin_entry webhook_entry
#include "../../plugins/webhook-c/webhook.c"
#undef ticket_plugin_entry

static int ends(const ticket_text *text, const char *with) {
   const size_t length = strlen(with);
   return text->len >= length && memcmp(text->bytes + text->len - length, with, length) == 0;
}

static int32_t find_many(void *instance, const ticket_call *call, ticket_str request) {
   const ticket_text *url = &((webhook *)instance)->endpoint;
   (void)request;
   const ticket_exchange done = ask(instance, call, "GET", url, ticket_of(""));
   if (ends(url, "/unsupported")) return TICKET_UNSUPPORTED;
   if (ends(url, "/refused"))
      return ticket_fail(call, TICKET_CREATION_ERROR, "never", "one of the keys is odd", ticket_of(""));
   if (done.response.status != 200) return ticket_fail(call, TICKET_CLIENT_ERROR, "later", done.what, done.why);
   /* It can tell of none of them. */
   return ticket_reply(call, TICKET_OK, "{\"found\": [], \"none\": []}", "", ticket_of(""), "");
}

TICKET_PLUGIN_EXPORT const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   static ticket_plugin many;
   many = table;
   many.find_many = find_many;
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &many : NULL;
}
