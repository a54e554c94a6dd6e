/* A plugin of the day when ABI version 1 grew to eleven functions. Never edit it: see ../README.md. */
#include "ticket_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) ((ticket_str){(const uint8_t *)(literal), sizeof(literal) - 1})

static const char manifest[] =
   "{\"name\": \"grown\", \"version\": \"1.0.0\", \"vendor\": \"Frozen Ltd.\", \"license\": \"proprietary\","
   " \"description\": \"ABI version 1 as it had grown\", \"actions\": [\"comment\", \"close\", \"reopen\"], \"marks\": true,"
   " \"not_done\": [503], \"settle_seconds\": 1,"
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"token\"], \"properties\": {\"token\": {\"type\": \"string\"}}},"
   " \"information_schema\": {\"type\": \"object\"}}";

typedef struct grown { char endpoint[512], token[128], host[128]; } grown;

/* Where the text of the next member of that name begins, from `from` on; the length of the JSON if there is none. What this host
 * sends has no white space. Texts keep their escapes, so that they can be put into JSON as they are. */
static size_t next(ticket_str json, size_t from, const char *name) {
   char wanted[64];
   const size_t length = (size_t)snprintf(wanted, sizeof wanted, "\"%s\":\"", name);
   for (size_t at = from; at + length < json.len; at++)
      if (memcmp(json.ptr + at, wanted, length) == 0) return at + length;
   return json.len;
}

/* Where an object of that name begins. */
static size_t object(ticket_str json, const char *name) {
   char wanted[64];
   const size_t length = (size_t)snprintf(wanted, sizeof wanted, "\"%s\":{", name);
   for (size_t at = 0; at + length < json.len; at++)
      if (memcmp(json.ptr + at, wanted, length) == 0) return at + length;
   return json.len;
}

static size_t copy(ticket_str json, size_t from, char *out, size_t size) {
   size_t end = 0;
   for (; from < json.len && json.ptr[from] != '"' && end + 2 < size; from++) {
      if (json.ptr[from] == '\\') out[end++] = (char)json.ptr[from++];
      if (from < json.len) out[end++] = (char)json.ptr[from];
   }
   out[end] = '\0';
   return from;
}

static void member(ticket_str json, const char *name, char *out, size_t size) { copy(json, next(json, 0, name), out, size); }

/* A text as it stands in JSON, cut where there is no room for more. */
static void escape(ticket_str text, char *out, size_t size) {
   size_t end = 0;
   for (size_t i = 0; i < text.len && end + 8 < size; i++) {
      const uint8_t c = text.ptr[i];
      if (c < ' ') end += (size_t)snprintf(out + end, size - end, "\\u%04x", (unsigned)c);
      else {
         if (c == '"' || c == '\\') out[end++] = '\\';
         out[end++] = (char)c;
      }
   }
   while (end > 0 && end + 8 >= size && (out[end - 1] & 0x80)) end--; /* no half of a character */
   out[end] = '\0';
}

static int has(ticket_str text, const char *what) {
   for (size_t i = 0; i + strlen(what) <= text.len; i++)
      if (memcmp(text.ptr + i, what, strlen(what)) == 0) return 1;
   return 0;
}

static int32_t say(const ticket_call *call, int32_t code, const char *text) {
   call->reply(call, (ticket_str){(const uint8_t *)text, strlen(text)});
   return code;
}

static int32_t open_grown(const ticket_call *call, ticket_str settings, void **instance) {
   grown *self = calloc(1, sizeof *self);
   if (self == NULL) return say(call, TICKET_PLUGIN_ERROR, "{\"message\": \"out of memory\", \"retry\": \"later\"}");
   member(settings, "endpoint", self->endpoint, sizeof self->endpoint);
   member(settings, "token", self->token, sizeof self->token);
   copy(settings, next(settings, object(settings, "host"), "name"), self->host, sizeof self->host);
   if (self->endpoint[0] != '\0') return *instance = self, TICKET_OK;
   free(self);
   return say(call, TICKET_SETTINGS_ERROR, "{\"message\": \"no endpoint\", \"retry\": \"never\"}");
}

static int32_t ask(grown *self, const ticket_call *call, const char *method, const char *path, const char *body, ticket_http_response *response) {
   char url[1024];
   const int length = snprintf(url, sizeof url, "%s%s", self->endpoint, path);
   const ticket_header headers[] = {{TEXT("content-type"), TEXT("application/json")}};
   const ticket_http_request request = {
      .size = sizeof request, .header_count = 1, .method = {(const uint8_t *)method, strlen(method)},
      .url = {(const uint8_t *)url, (size_t)length}, .headers = headers, .body = {(const uint8_t *)body, strlen(body)},
   };
   memset(response, 0, sizeof *response);
   response->size = sizeof *response;
   return call->http(call, &request, response);
}

/* The error that an exchange stands for. */
static int32_t fail(const ticket_call *call, int32_t sent, const ticket_http_response *response) {
   if (sent == TICKET_HTTP_NOT_SENT || sent == TICKET_HTTP_DRY_RUN || (sent == TICKET_HTTP_OK && (response->status == 503 || response->status == 429)))
      return say(call, TICKET_CLIENT_ERROR, "{\"message\": \"not done\", \"retry\": \"later\", \"retry_after_ms\": 1000}");
   if (sent == TICKET_HTTP_DENIED) return say(call, TICKET_SETTINGS_ERROR, "{\"message\": \"denied\"}");
   if (sent == TICKET_HTTP_OK && response->status / 100 == 4) return say(call, TICKET_CREATION_ERROR, "{\"message\": \"refused\"}");
   return say(call, TICKET_CLIENT_ERROR, "{\"message\": \"nobody knows\", \"retry\": \"unknown\"}");
}

static int32_t check(void *instance, const ticket_call *call) {
   grown *self = instance;
   ticket_http_response response;
   char reply[512];
   const int ok = ask(self, call, "GET", "health", "", &response) == TICKET_HTTP_OK && response.status == 200;
   snprintf(reply, sizeof reply, "{\"checks\": [{\"name\": \"health\", \"ok\": %s, \"message\": \"seen by %s\"}]}", ok ? "true" : "false", self->host);
   return say(call, TICKET_OK, reply);
}

static int32_t ticket(const ticket_call *call, int32_t sent, const ticket_http_response *response) {
   char url[512], reply[1024];
   if (sent != TICKET_HTTP_OK || response->status / 100 != 2) return fail(call, sent, response);
   member(response->body, "url", url, sizeof url);
   snprintf(reply, sizeof reply, "{\"url\": \"%s\", \"id\": \"%s\"}", url, strrchr(url, '/') == NULL ? "" : strrchr(url, '/') + 1);
   return url[0] == '\0' ? say(call, TICKET_PLUGIN_ERROR, "{\"message\": \"no url\", \"retry\": \"unknown\"}") : say(call, TICKET_OK, reply);
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   char key[256], since[64], body[512];
   ticket_http_response response;
   member(request, "key", key, sizeof key);
   member(request, "not_before", since, sizeof since);
   snprintf(body, sizeof body, "{\"key\":\"%s\",\"since\":\"%s\"}", key, since);
   const int32_t sent = ask(instance, call, "POST", "tickets", body, &response);
   return ticket(call, sent, &response);
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   char key[256], since[64], path[512];
   ticket_http_response response;
   member(request, "key", key, sizeof key);
   member(request, "not_before", since, sizeof since);
   snprintf(path, sizeof path, "tickets?key=%s&since=%s", key, since);
   const int32_t sent = ask(instance, call, "GET", path, "", &response);
   return sent == TICKET_HTTP_OK && response.status == 204 ? TICKET_NOT_FOUND : ticket(call, sent, &response);
}

/* One page of a listing that has "key":"...","url":"..." of each ticket, and "next":"..." if there is another one. */
static int32_t find_many(void *instance, const ticket_call *call, ticket_str request) {
   char since[64], after[64], cursor[256], path[512], next_page[256], *reply = malloc(1 << 20);
   ticket_http_response response;
   member(request, "not_before", since, sizeof since);
   member(request, "not_after", after, sizeof after);
   member(request, "cursor", cursor, sizeof cursor);
   snprintf(path, sizeof path, "tickets?since=%s&until=%s&page=%s", since, after, cursor);
   const int32_t sent = ask(instance, call, "GET", path, "", &response);
   if (reply == NULL || sent != TICKET_HTTP_OK || response.status != 200 || !has(response.body, "\"tickets\":")) {
      free(reply);
      return fail(call, sent, &response);
   }
   member(response.body, "next", next_page, sizeof next_page);
   char none[1 << 15] = "";
   size_t length = (size_t)sprintf(reply, "{\"found\": ["), nones = 0;
   const char *comma = "";
   for (size_t at = next(request, 0, "key"); at < request.len; at = next(request, at, "key")) {
      char key[256], wanted[320], url[512];
      at = copy(request, at, key, sizeof key);
      snprintf(wanted, sizeof wanted, "\"key\":\"%s\",\"url\":\"", key);
      size_t found = 0;
      while (found + strlen(wanted) < response.body.len && memcmp(response.body.ptr + found, wanted, strlen(wanted)) != 0) found++;
      if (found + strlen(wanted) < response.body.len) {
         copy(response.body, found + strlen(wanted), url, sizeof url);
         length += (size_t)sprintf(reply + length, "%s{\"key\": \"%s\", \"ticket\": {\"url\": \"%s\"}}", comma, key, url);
         comma = ", ";
      } else if (next_page[0] == '\0' && cursor[0] == '\0' && nones + 300 < sizeof none) {
         nones += (size_t)sprintf(none + nones, "%s\"%s\"", nones > 0 ? ", " : "", key);
      }
   }
   length += (size_t)sprintf(reply + length, "], \"none\": [%s]", none);
   if (next_page[0] != '\0') length += (size_t)sprintf(reply + length, ", \"cursor\": \"%s\"", next_page);
   sprintf(reply + length, "}");
   say(call, TICKET_OK, reply);
   free(reply);
   return TICKET_OK;
}

static int32_t update(void *instance, const ticket_call *call, ticket_str request) {
   char id[64], step[128], what[32], path[256], mark[192], said[4096], body[5120];
   ticket_http_response response;
   ticket_str text = {0};
   const int again = has(request, "\"again\":true");
   member(request, "action", what, sizeof what);
   const int close = strcmp(what, "close") == 0, reopen = strcmp(what, "reopen") == 0;
   if (!close && !reopen && strcmp(what, "comment") != 0) return TICKET_UNSUPPORTED;
   copy(request, next(request, object(request, "ticket"), "id"), id, sizeof id);
   copy(request, next(request, object(request, "step"), "id"), step, sizeof step);
   snprintf(path, sizeof path, "tickets/%s", id);
   snprintf(mark, sizeof mark, "\"%s\"", step);
   int32_t sent = ask(instance, call, "GET", path, "", &response);
   if (sent == TICKET_HTTP_OK && response.status == 410) return TICKET_NOT_FOUND;
   if (sent != TICKET_HTTP_DRY_RUN && (sent != TICKET_HTTP_OK || response.status != 200 || !has(response.body, "\"state\":")))
      return say(call, TICKET_CLIENT_ERROR, "{\"message\": \"the ticket can't be read\", \"retry\": \"later\"}");
   const int is_closed = has(response.body, "\"state\":\"closed\""), is_marked = again && has(response.body, mark);
   if (!is_marked && is_closed != reopen)
      return say(call, TICKET_OK, is_closed ? "{\"done\": false, \"state\": \"closed\"}" : "{\"done\": false, \"state\": \"open\"}");
   if (!is_marked) {
      const ticket_str part = close ? TEXT("closing") : TEXT("comment");
      if (call->render(call, part, TEXT("text"), TEXT("{}"), &text) != TICKET_OK) return say(call, TICKET_SETTINGS_ERROR, "{\"message\": \"the template\"}");
      snprintf(path, sizeof path, "tickets/%s/comments", id);
      escape(text, said, sizeof said);
      snprintf(body, sizeof body, "{\"mark\":\"%s\",\"text\":\"%s\"}", step, said);
      sent = ask(instance, call, "POST", path, body, &response);
      if (sent != TICKET_HTTP_OK || response.status / 100 != 2) return fail(call, sent, &response);
   }
   if (!close && !reopen) return say(call, TICKET_OK, "{\"done\": true, \"state\": \"open\"}");
   snprintf(path, sizeof path, "tickets/%s", id);
   sent = ask(instance, call, "PUT", path, close ? "{\"state\":\"closed\"}" : "{\"state\":\"open\"}", &response);
   if (sent == TICKET_HTTP_NOT_SENT || (sent == TICKET_HTTP_OK && response.status == 429))
      return say(call, TICKET_CLIENT_ERROR, "{\"message\": \"the state is to be changed yet\", \"retry\": \"later\", \"partial\": true}");
   if (sent == TICKET_HTTP_OK && response.status / 100 == 4)
      return say(call, TICKET_CREATION_ERROR, "{\"message\": \"refused to change the state\", \"partial\": true}");
   if (sent != TICKET_HTTP_OK || response.status / 100 != 2)
      return say(call, TICKET_CLIENT_ERROR, "{\"message\": \"the state may have changed\", \"retry\": \"unknown\", \"partial\": true}");
   return say(call, TICKET_OK, close ? "{\"done\": true, \"state\": \"closed\"}" : "{\"done\": true, \"state\": \"open\"}");
}

static int32_t state(void *instance, const ticket_call *call, ticket_str request) {
   char url[512], id[64], path[256], reply[1 << 14] = "{\"tickets\": [";
   size_t length = strlen(reply);
   const char *comma = "";
   for (size_t at = next(request, 0, "url"); at < request.len && length + 700 < sizeof reply; at = next(request, at, "url")) {
      ticket_http_response response;
      at = copy(request, at, url, sizeof url);
      const char *last = strrchr(url, '/');
      snprintf(id, sizeof id, "%s", last == NULL ? "" : last + 1);
      snprintf(path, sizeof path, "tickets/%s", id);
      const int32_t sent = ask(instance, call, "GET", path, "", &response);
      if (sent != TICKET_HTTP_OK) return fail(call, sent, &response);
      const char *word = NULL;
      if (response.status == 410) word = "gone";
      if (response.status == 200 && has(response.body, "\"state\":\"open\"")) word = "open";
      if (response.status == 200 && has(response.body, "\"state\":\"closed\"")) word = "closed";
      if (word == NULL) continue;
      length += (size_t)snprintf(reply + length, sizeof reply - length, "%s{\"url\": \"%s\", \"id\": \"%s\", \"state\": \"%s\"}", comma, url, id, word);
      comma = ", ";
   }
   snprintf(reply + length, sizeof reply - length, "]}");
   return say(call, TICKET_OK, reply);
}

static int32_t receive(void *instance, const ticket_call *call, ticket_str request, ticket_str body) {
   grown *self = instance;
   char signed_by[256], id[64], reply[256];
   snprintf(signed_by, sizeof signed_by, "[\"x-token\",\"%s\"]", self->token);
   if (!has(request, signed_by)) return say(call, TICKET_OK, "{\"forged\": \"x-token is missing or wrong\"}");
   member(body, "id", id, sizeof id);
   if (id[0] == '\0') return say(call, TICKET_OK, "{\"tickets\": []}");
   snprintf(reply, sizeof reply, "{\"tickets\": [{\"id\": \"%s\"}]}", id);
   return say(call, TICKET_OK, reply);
}

static int32_t changes(void *instance, const ticket_call *call, ticket_str request) {
   char cursor[64], now[64], id[64], path[128], reply[1 << 14] = "{\"tickets\": [";
   size_t length = strlen(reply);
   ticket_http_response response;
   member(request, "cursor", cursor, sizeof cursor);
   snprintf(path, sizeof path, "changes?since=%s", cursor);
   const int32_t sent = ask(instance, call, "GET", path, "", &response);
   if (sent != TICKET_HTTP_OK || response.status != 200) return fail(call, sent, &response);
   member(response.body, "now", now, sizeof now);
   if (now[0] == '\0') return say(call, TICKET_PLUGIN_ERROR, "{\"message\": \"an answer without the time\"}");
   const char *comma = "";
   for (size_t at = next(response.body, 0, "id"); cursor[0] != '\0' && at < response.body.len && length + 200 < sizeof reply; at = next(response.body, at, "id")) {
      at = copy(response.body, at, id, sizeof id);
      length += (size_t)snprintf(reply + length, sizeof reply - length, "%s{\"id\": \"%s\"}", comma, id);
      comma = ", ";
   }
   snprintf(reply + length, sizeof reply - length, "], \"cursor\": \"%s\", \"more\": false}", now);
   return say(call, TICKET_OK, reply);
}

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_grown,
   .close = free,
   .check = check,
   .create = create,
   .find = find,
   .find_many = find_many,
   .update = update,
   .state = state,
   .receive = receive,
   .changes = changes,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
