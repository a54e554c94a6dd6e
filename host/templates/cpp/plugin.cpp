// SPDX-License-Identifier: MIT-0
// {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one.
#include <algorithm>
#include <memory>
#include <optional>

#include "json.hpp"
#include "ticket_plugin.h"

namespace {

constexpr std::string_view manifest = R"({
   "name": "{{name}}", "version": "0.1.0", "description": "Tickets in {{name}}",
   "secret_schema": {"type": "object", "required": ["token"], "properties": {"token":
      {"type": "string", "pattern": "^[!-~]+$", "description": "An API token that may create and list tickets"}}},
   "information_schema": {"type": "object", "required": ["project"], "properties": {"project":
      {"type": "string", "minLength": 1, "description": "The project that tickets go to"}}}
})";

constexpr std::size_t shown_bytes = 200;    // of an answer, in an error
constexpr long longest_wait = 24 * 60 * 60; // seconds

std::string_view view(ticket_str s) { return {reinterpret_cast<const char *>(s.ptr), s.len}; }
ticket_str borrow(std::string_view s) { return {reinterpret_cast<const uint8_t *>(s.data()), s.size()}; }

/// What a call fails with. `retry` is "unknown" if the ticket may exist, else "never" or "later".
struct Failure {
   int32_t code;
   const char *retry;
   std::string message;
   std::optional<long> retry_after{}; // seconds
};

/// The result of `function`, which replies; its exceptions as error replies. None gets out.
template <class Function>
int32_t guarded(const ticket_call *call, const void *instance, const char *retry, Function function) noexcept {
   if (call == nullptr || instance == nullptr) return TICKET_PLUGIN_ERROR;
   const auto fail = [&](const Failure &failure) {
      std::string json = "{\"message\": " + quoted(failure.message) + ", \"retry\": \"" + failure.retry + "\"";
      if (failure.retry_after) json += ", \"retry_after_ms\": " + std::to_string(*failure.retry_after) + "000";
      call->reply(call, borrow(json += "}"));
      return failure.code;
   };
   try {
      try {
         return function();
      } catch (const Failure &failure) {
         return fail(failure);
      } catch (const std::exception &cause) {
         return fail({TICKET_PLUGIN_ERROR, retry, cause.what()});
      }
   } catch (...) { // not even memory for the reply
      return TICKET_PLUGIN_ERROR;
   }
}

std::optional<Json> parsed(std::string_view s) {
   try {
      return Json::parse(s);
   } catch (const std::runtime_error &) {
      return std::nullopt;
   }
}

std::string escaped(std::string_view s) {
   std::string out;
   for (const char c : s) {
      static const std::string_view plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
      char hex[4] = {c};
      if (plain.find(c) == plain.npos) std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned char>(c));
      out += hex;
   }
   return out;
}

/// One exchange; what it points to is valid until the plugin's function returns.
struct Answer {
   int32_t sent = TICKET_HTTP_UNKNOWN;
   uint32_t status = 0;
   std::string_view body;
   std::optional<long> retry_after{};
};

std::optional<long> seconds_of(std::string_view s) {
   if (s.empty() || s.find_first_not_of("0123456789") != s.npos) return std::nullopt; // a date: the host looks at that itself
   return s.size() > 9 ? longest_wait : std::min(std::stol(std::string(s)), longest_wait);
}

struct Ticket {
   std::string url, id, key;
   std::string reply() const { return "{\"url\": " + quoted(url) + ", \"id\": " + quoted(id) + "}"; }
};

/// A ticket as the API shows it.
std::optional<Ticket> ticket_of(const Json &json) {
   if (json["url"].text.empty() || json["url"].kind != Json::string || json["id"].kind != Json::string) return std::nullopt;
   return Ticket{json["url"].text, json["id"].text, json["key"].text};
}

std::string key_of(std::string_view request) {
   const auto json = parsed(request);
   if (!json || (*json)["key"].kind != Json::string) throw Failure{TICKET_PLUGIN_ERROR, "never", "the host's request has no key"};
   return (*json)["key"].text;
}

std::string_view render(const ticket_call *call, std::string_view part, std::string_view format) {
   ticket_str out = {};
   if (call->render(call, borrow(part), borrow(format), borrow("{}"), &out) != TICKET_OK)
      throw Failure{TICKET_SETTINGS_ERROR, "never", "the " + std::string(part) + " can't be rendered: " + std::string(view(out))};
   return view(out);
}

class Backend {
 public:
   explicit Backend(std::string_view settings) {
      const auto json = parsed(settings);
      if (!json) throw Failure{TICKET_SETTINGS_ERROR, "never", "the settings are no JSON"};
      endpoint = text((*json)["endpoint"], "the endpoint");
      token = text((*json)["secret"]["token"], "secret.token");
      project = text((*json)["information"]["project"], "information.project");
      endpoint.erase(endpoint.find_last_not_of('/') + 1);
   }

   int32_t check(const ticket_call *call) const {
      const Answer answer = ask(call, "GET", "/projects/" + escaped(project));
      const auto json = parsed(answer.body);
      const bool ok = answer.status == 200 && json && json->kind == Json::object;
      std::string help;
      switch (answer.status) {
         case 200: help = "this is no project: is the endpoint the URL of the API?"; break;
         case 401: help = "correct secret.token"; break;
         case 403: help = "give the token's user access to the project"; break;
         case 404: help = "correct information.project, or the endpoint"; break;
         default: throw failure(answer, false);
      }
      const std::string line = ok ? "\"ok\": true, \"message\": \"reachable, authenticated, and the project exists\""
                                  : "\"ok\": false, \"message\": " + quoted(said(answer)) + ", \"help\": " + quoted(help);
      call->reply(call, borrow("{\"checks\": [{\"name\": \"project\", " + line + "}]}"));
      return TICKET_OK;
   }

   int32_t create(const ticket_call *call, std::string_view request) const {
      const std::string key = key_of(request);
      const std::string body = "{\"project\": " + quoted(project) + ", \"title\": " + quoted(render(call, "title", "text")) +
                               ", \"body\": " + quoted(render(call, "body", "markdown")) + ", \"key\": " + quoted(key) + "}";
      const Answer answer = ask(call, "POST", "/tickets", body);
      const auto json = parsed(answer.body);
      const auto ticket = json ? ticket_of(*json) : std::nullopt;
      if ((answer.status != 200 && answer.status != 201) || !ticket) throw failure(answer, true);
      call->reply(call, borrow(ticket->reply()));
      return TICKET_OK;
   }

   /// The API's search may find more than the key, so each ticket's key is compared.
   int32_t find(const ticket_call *call, std::string_view request) const {
      const std::string key = key_of(request);
      const Answer answer = ask(call, "GET", "/tickets?key=" + escaped(key));
      const auto list = parsed(answer.body);
      if (answer.status != 200 || !list || list->kind != Json::array) throw failure(answer, false);
      for (const Json &item : list->items) {
         const auto ticket = ticket_of(item);
         if (!ticket || item["key"].kind != Json::string) throw failure(answer, false);
         if (ticket->key != key) continue;
         call->reply(call, borrow(ticket->reply()));
         return TICKET_OK;
      }
      return TICKET_NOT_FOUND;
   }

 private:
   std::string endpoint, token, project;

   static std::string text(const Json &json, const char *name) {
      if (json.kind != Json::string || json.text.empty()) throw Failure{TICKET_SETTINGS_ERROR, "never", std::string(name) + " is missing, or is no text"};
      return json.text;
   }

   Answer ask(const ticket_call *call, std::string_view method, const std::string &path, std::string_view body = {}) const {
      const std::string url = endpoint + path, authorization = "Bearer " + token;
      const ticket_header headers[] = {{borrow("authorization"), borrow(authorization)}, {borrow("content-type"), borrow("application/json")}};
      const ticket_http_request request = {sizeof request, body.empty() ? 1u : 2u, borrow(method), borrow(url), headers, borrow(body), 0, 0};
      ticket_http_response response = {};
      response.size = sizeof response;
      Answer answer;
      answer.sent = call->http(call, &request, &response);
      answer.body = view(response.body);
      if (answer.sent != TICKET_HTTP_OK) return answer;
      answer.status = response.status;
      for (uint32_t i = 0; i < response.header_count; i++)
         if (view(response.headers[i].name) == "retry-after") answer.retry_after = seconds_of(view(response.headers[i].value));
      return answer;
   }

   /// What an exchange says for itself: the begin of the answer, unless that has the token.
   std::string said(const Answer &answer) const {
      if (answer.sent == TICKET_HTTP_DRY_RUN) return "a dry run: the request was not sent";
      const std::string begin = answer.sent == TICKET_HTTP_OK ? "the ticket system answered " + std::to_string(answer.status) + ": " : "no answer: ";
      if (answer.body.find(token) != answer.body.npos) return begin + "(an answer with the token in it)";
      std::size_t end = 0;
      while (end < answer.body.size() && end < shown_bytes && utf8_length(answer.body.substr(end)) > 0) end += utf8_length(answer.body.substr(end));
      return begin + std::string(answer.body.substr(0, end));
   }

   /// The error that an exchange stands for. `creates`: the ticket may exist where no clear answer came.
   Failure failure(const Answer &answer, bool creates) const {
      const uint32_t status = answer.status;
      if (answer.sent == TICKET_HTTP_DENIED || status == 401 || status == 403 || status == 404 || status == 410)
         return {TICKET_SETTINGS_ERROR, "never", said(answer)};
      if (answer.sent == TICKET_HTTP_NOT_SENT || answer.sent == TICKET_HTTP_DRY_RUN || status == 408 || status == 425 || status == 429 || status == 503)
         return {TICKET_CLIENT_ERROR, "later", said(answer), answer.retry_after};
      if (answer.sent != TICKET_HTTP_OK || status >= 500)
         return {TICKET_CLIENT_ERROR, creates ? "unknown" : "later", said(answer)};
      if (status >= 400) return {TICKET_CREATION_ERROR, "never", said(answer)};
      return {TICKET_PLUGIN_ERROR, creates ? "unknown" : "never", "not what the API documents: " + said(answer)};
   }
};

} // namespace

// ---- The boundary: nothing is thrown out of these ----

extern "C" {

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   return guarded(call, instance, "never", [&] {
      auto backend = std::make_unique<Backend>(view(settings));
      *instance = backend.release();
      return TICKET_OK;
   });
}

static void close_backend(void *instance) { delete static_cast<Backend *>(instance); }

static int32_t check(void *instance, const ticket_call *call) {
   return guarded(call, instance, "never", [&] { return static_cast<Backend *>(instance)->check(call); });
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   return guarded(call, instance, "unknown", [&] { return static_cast<Backend *>(instance)->create(call, view(request)); });
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   return guarded(call, instance, "later", [&] { return static_cast<Backend *>(instance)->find(call, view(request)); });
}

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   static const ticket_plugin table = [] {
      ticket_plugin own = {}; // what isn't set is NULL: this plugin doesn't do that
      own.size = sizeof own;
      own.abi_version = TICKET_PLUGIN_ABI_VERSION;
      own.manifest = borrow(manifest);
      own.open = open_backend;
      own.close = close_backend;
      own.check = check;
      own.create = create;
      own.find = find;
      return own;
   }();
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : nullptr;
}
}
