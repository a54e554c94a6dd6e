/* An honest plugin for a ticket system with one address: it logs in by POST, keeps the session, renews it when it is
 * refused, and looks up, searches and creates by POST (GraphQL). No mistake is planted here. */
#include "json.h"
#include "ticket_plugin_helpers.h"

static const char manifest[] =
   "{\"name\": \"login\", \"version\": \"1.0.0\", \"license\": \"MIT-0\", \"description\": \"Tickets behind a login\","
   " \"secret_schema\": {\"type\": \"object\", \"required\": [\"user\", \"password\"], \"properties\": {"
   "\"user\": {\"type\": \"string\", \"minLength\": 1, \"x-ticket-public\": true, \"description\": \"Who logs in\"},"
   "\"password\": {\"type\": \"string\", \"minLength\": 1, \"description\": \"The user's password\"}}},"
   " \"information_schema\": {\"type\": \"object\", \"required\": [\"project\"], \"properties\": {\"project\":"
   " {\"type\": \"string\", \"minLength\": 1, \"description\": \"The project that tickets go to\"}}}}";

typedef struct backend { text endpoint, user, password, project, session; } backend;

static void drop_backend(backend *self) {
   drop(&self->endpoint), drop(&self->user), drop(&self->password), drop(&self->project), drop(&self->session);
   free(self);
}

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   backend *const self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", of(""));
   const ticket_str all = json_of(settings), secret = member(all, "secret");
   const char *wrong = NULL;
   if (!put_decoded(&self->endpoint, member(all, "endpoint")) || self->endpoint.len == 0) wrong = "the endpoint is no text";
   else if (!put_decoded(&self->user, member(secret, "user")) || self->user.len == 0) wrong = "secret.user is no text";
   else if (!put_decoded(&self->password, member(secret, "password")) || self->password.len == 0) wrong = "secret.password is no text";
   else if (!put_decoded(&self->project, member(member(all, "information"), "project")) || self->project.len == 0)
      wrong = "information.project is no text";
   if (wrong != NULL) {
      drop_backend(self);
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", wrong, of(""));
   }
   while (self->endpoint.len > 0 && self->endpoint.ptr[self->endpoint.len - 1] == '/') self->endpoint.len--;
   *instance = self;
   return TICKET_OK;
}

static void close_backend(void *instance) { drop_backend(instance); }

static ticket_exchange post(const backend *self, const ticket_call *call, const char *path, const text *body) {
   text url = {0}, authorization = {0};
   put(&url, view(&self->endpoint));
   say(&url, path);
   say(&authorization, "Bearer ");
   put(&authorization, view(&self->session));
   const ticket_header headers[] = {{of("content-type"), of("application/json")}, {of("authorization"), view(&authorization)}};
   ticket_exchange done = {.sent = TICKET_HTTP_NOT_SENT, .why = of("out of memory")};
   if (!url.failed && !authorization.failed && !body->failed)
      done = ticket_http(call, "POST", view(&url), headers, self->session.len > 0 ? 2 : 1, view(body));
   drop(&url), drop(&authorization);
   return done;
}

static uint32_t status_of(const ticket_exchange *done) { return done->sent == TICKET_HTTP_OK ? done->response.status : 0; }

/* Logs in. Whether the session is there; if not, `done` says why. */
static int log_in(backend *self, const ticket_call *call, ticket_exchange *done) {
   text body = {0}, session = {0};
   drop(&self->session);
   say(&body, "{\"user\": \"");
   put_json(&body, view(&self->user));
   say(&body, "\", \"password\": \"");
   put_json(&body, view(&self->password));
   say(&body, "\"}");
   *done = post(self, call, "/session", &body);
   drop(&body);
   int usable = status_of(done) / 100 == 2 && put_decoded(&session, member(json_of(done->response.body), "token")) && session.len > 0;
   for (size_t i = 0; usable && i < session.len; i++) usable = session.ptr[i] >= '!' && session.ptr[i] <= '~';
   if (usable) self->session = session;
   else drop(&session);
   return usable;
}

/* Replies the error that an exchange stands for. `creates`: it may have made a ticket. An answer may have a password in it. */
static int32_t failed(const ticket_call *call, const ticket_exchange *done, int creates) {
   const uint32_t status = status_of(done);
   const char *const unclear = creates ? "unknown" : "later";
   char what[64];
   snprintf(what, sizeof what, status > 0 ? "the desk answered %u" : "the desk gave no answer", (unsigned)status);
   if (done->sent == TICKET_HTTP_DENIED || status == 401 || status == 403 || status == 404)
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", what, of(""));
   if (done->sent == TICKET_HTTP_NOT_SENT || done->sent == TICKET_HTTP_DRY_RUN || status == 425 || status == 429)
      return ticket_fail(call, TICKET_CLIENT_ERROR, "later", what, of(""));
   if (status == 0 || status == 408 || status >= 500) return ticket_fail(call, TICKET_CLIENT_ERROR, unclear, what, of(""));
   if (status >= 400) return ticket_fail(call, TICKET_CREATION_ERROR, "never", what, of(""));
   return ticket_fail(call, TICKET_PLUGIN_ERROR, unclear, what, of(", and not as documented"));
}

/* Does one operation of the API, in a session. A 401 means that it was not carried out, and the session is over: it is
 * done again in a new one. 0: there is no session, and `done` says why. */
static int ask(backend *self, const ticket_call *call, const char *query, ticket_str key, const text *more, ticket_exchange *done) {
   text body = {0};
   say(&body, "{\"query\": \"");
   put_json(&body, of(query));
   say(&body, "\", \"variables\": {\"project\": \"");
   put_json(&body, view(&self->project));
   say(&body, "\", \"key\": \"");
   put_json(&body, key);
   say(&body, "\"");
   if (more != NULL) put(&body, view(more));
   say(&body, "}}");
   const int old = self->session.len > 0;
   int in_session = old || log_in(self, call, done);
   if (in_session) *done = post(self, call, "/graphql", &body);
   if (in_session && old && status_of(done) == 401) {
      in_session = log_in(self, call, done);
      if (in_session) *done = post(self, call, "/graphql", &body);
   }
   drop(&body);
   return in_session;
}

static ticket_str data_of(const ticket_exchange *done, const char *name) {
   const ticket_str none = of("");
   return status_of(done) == 200 ? member(member(json_of(done->response.body), "data"), name) : none;
}

static int32_t check(void *instance, const ticket_call *call) {
   ticket_exchange done;
   const int in_session = ask(instance, call, "query ($project: ID!) { project(id: $project) { name } }", of(""), NULL, &done);
   const uint32_t status = status_of(&done);
   const int ok = in_session && begins(data_of(&done, "project"), '{');
   if (!ok && status != 200 && status != 401 && status != 403 && status != 404) return failed(call, &done, 0);
   const char *const line = ok ? "the login works, and the project exists\", \"ok\": true}]}" :
      in_session ? "there is no such project\", \"ok\": false, \"help\": \"correct information.project\"}]}" :
                   "the login failed\", \"ok\": false, \"help\": \"correct secret.user and secret.password\"}]}";
   return ticket_reply(call, TICKET_OK, "{\"checks\": [{\"name\": \"project\", \"message\": \"", "", of(""), line);
}

/* Replies a ticket that the API gave; 0 if it isn't whole. */
static int reply_ticket(const ticket_call *call, ticket_str ticket) {
   const ticket_str url = member(ticket, "url");
   if (!begins(url, '"') || url.len < 3) return 0;
   text json = {0};
   say(&json, "{\"url\": ");
   put(&json, url);
   say(&json, "}");
   if (!json.failed) call->reply(call, view(&json));
   const int whole = !json.failed;
   drop(&json);
   return whole;
}

static int key_of(text *key, ticket_str request) { return put_decoded(key, member(json_of(request), "key")) && key->len > 0; }

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   text key = {0}, more = {0};
   ticket_str title, body;
   if (!key_of(&key, request)) {
      drop(&key);
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the request has no key", of(""));
   }
   if (call->render(call, of("title"), of("text"), of("{}"), &title) != TICKET_OK ||
       call->render(call, of("body"), of("markdown"), of("{}"), &body) != TICKET_OK) {
      drop(&key);
      return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "a template can't be rendered", of(""));
   }
   say(&more, ", \"title\": \"");
   put_json(&more, title);
   say(&more, "\", \"body\": \"");
   put_json(&more, body);
   say(&more, "\"");
   ticket_exchange done;
   const int sent = ask(instance, call, "mutation ($project: ID!, $key: String!, $title: String!, $body: String!) "
      "{ createTicket(project: $project, key: $key, title: $title, body: $body) { url } }", view(&key), &more, &done);
   drop(&key), drop(&more);
   if (sent && reply_ticket(call, data_of(&done, "createTicket"))) return TICKET_OK;
   return failed(call, &done, sent);
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   text key = {0};
   ticket_exchange done;
   if (!key_of(&key, request)) {
      drop(&key);
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "the request has no key", of(""));
   }
   const int sent = ask(instance, call, "query ($project: ID!, $key: String!) { tickets(project: $project, key: $key) { url key } }",
                        view(&key), NULL, &done);
   const ticket_str tickets = sent ? data_of(&done, "tickets") : of("");
   ticket_str name, ticket;
   const uint8_t *at = NULL;
   int32_t code = begins(tickets, '[') ? TICKET_NOT_FOUND : failed(call, &done, 0);
   while (code == TICKET_NOT_FOUND && next(tickets, &at, &name, &ticket)) {
      text its = {0};
      if (!put_decoded(&its, member(ticket, "key"))) code = failed(call, &done, 0);
      else if (its.len == key.len && memcmp(its.ptr, key.ptr, key.len) == 0)
         code = reply_ticket(call, ticket) ? TICKET_OK : failed(call, &done, 0);
      drop(&its);
   }
   drop(&key);
   return code;
}

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_backend,
   .close = close_backend,
   .check = check,
   .create = create,
   .find = find,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
