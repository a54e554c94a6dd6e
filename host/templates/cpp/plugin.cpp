// SPDX-License-Identifier: MIT-0
// {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "json.hpp"
#include "ticket_plugin.h"

namespace {

constexpr std::string_view manifest = R"({
   "name": "{{name}}", "version": "0.1.0", "description": "Tickets in {{name}}",
   "actions": ["comment", "close", "reopen"], "marks": true,
   "secret_schema": {"type": "object", "required": ["token"], "properties": {"token":
      {"type": "string", "pattern": "^[!-~]+$", "description": "An API token that may create and list tickets"}}},
   "information_schema": {"type": "object", "required": ["project"], "properties": {"project":
      {"type": "string", "minLength": 1, "description": "The project that tickets go to"}}}
})";

constexpr uint64_t time_for_a_page = 5000; // milliseconds
constexpr std::size_t most_bytes = 32 << 20; // of one call's pages
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
   bool partial = false;              // a step's comment is on the ticket, and the rest isn't done
};

/// The result of `function`, which replies; its exceptions as error replies. None gets out.
template <class Function>
int32_t guarded(const ticket_call *call, const void *instance, const char *retry, Function function) noexcept {
   if (call == nullptr || instance == nullptr) return TICKET_PLUGIN_ERROR;
   const auto fail = [&](const Failure &failure) {
      std::string json = "{\"message\": " + quoted(failure.message) + ", \"retry\": \"" + failure.retry + "\"";
      if (failure.retry_after) json += ", \"retry_after_ms\": " + std::to_string(*failure.retry_after) + "000";
      if (failure.partial) json += ", \"partial\": true";
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
   return Ticket{json["url"].text, json["id"].text, json["key"].said()};
}

Failure bad_request(const char *what) { return {TICKET_PLUGIN_ERROR, "never", std::string("the host's request has no ") + what}; }

const std::string &key_of(const Json &request) {
   if (request["key"].kind != Json::string) throw bad_request("key");
   return request["key"].text;
}

/// `&since=...` for a ticket that is no older than this: the day before leaves room for clocks. Without one all are read.
std::string since(const Json &not_before) {
   int year = 0, month = 0, day = 0;
   char rest = 0;
   if (std::sscanf(not_before.said().c_str(), "%4d-%2d-%2dT%c", &year, &month, &day, &rest) != 4) return "";
   if (--day == 0) {
      if (--month == 0) year--, month = 12;
      day = month == 2 ? 28 : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
   }
   char date[48];
   std::snprintf(date, sizeof date, "&since=%04d-%02d-%02d", year, month, day);
   return date;
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
         default: throw failure(answer, reads);
      }
      const std::string line = ok ? "\"ok\": true, \"message\": \"reachable, authenticated, and the project exists\""
                                  : "\"ok\": false, \"message\": " + quoted(said(answer)) + ", \"help\": " + quoted(help);
      call->reply(call, borrow("{\"checks\": [{\"name\": \"project\", " + line + "}]}"));
      return TICKET_OK;
   }

   int32_t create(const ticket_call *call, const Json &request) const {
      const std::string key = key_of(request);
      const std::string body = "{\"project\": " + quoted(project) + ", \"title\": " + quoted(render(call, "title", "text")) +
                               ", \"body\": " + quoted(render(call, "body", "markdown")) + ", \"key\": " + quoted(key) + "}";
      const Answer answer = ask(call, "POST", "/tickets", body);
      const auto json = parsed(answer.body);
      const auto ticket = json ? ticket_of(*json) : std::nullopt;
      if ((answer.status != 200 && answer.status != 201) || !ticket) throw failure(answer, writes);
      call->reply(call, borrow(ticket->reply()));
      return TICKET_OK;
   }

   /// The API's search may find more than the key, so each ticket's key is compared. It lists tickets of every state.
   int32_t find(const ticket_call *call, const Json &request) const {
      const std::string key = key_of(request);
      const Answer answer = ask(call, "GET", "/tickets?key=" + escaped(key) + since(request["not_before"]));
      for (const Json &item : list(answer).items) {
         const auto ticket = ticket_of(item);
         if (!ticket || item["key"].kind != Json::string) throw failure(answer, reads);
         if (ticket->key != key) continue;
         call->reply(call, borrow(ticket->reply()));
         return TICKET_OK;
      }
      return TICKET_NOT_FOUND;
   }

   /// One listing by time of creation for all keys, until they are found, it is at its end, the call should end, or a page doesn't come.
   int32_t find_many(const ticket_call *call, const Json &request) const {
      std::vector<std::string> missing;
      for (const Json &wanted : request["keys"].items) missing.push_back(key_of(wanted));
      if (missing.empty()) throw bad_request("keys");
      const std::string from = since(request["keys"].items[0]["not_before"]); // of the key whose ticket can be the oldest
      std::string after = request["cursor"].said(), found, rest;
      std::size_t bytes = 0;
      bool more = false;
      for (bool first = true; !missing.empty(); first = false) {
         if (!first && (call->remaining_ms(call) < time_for_a_page || bytes > most_bytes)) {
            more = true;
            break;
         }
         const Answer answer = ask(call, "GET", "/tickets?sort=created&after=" + escaped(after) + from);
         const auto page = answer.status == 200 ? parsed(answer.body) : std::nullopt;
         if (!page || page->kind != Json::array) {
            if (first) throw failure(answer, reads);
            more = true;
            if (answer.retry_after) rest = ", \"retry_after_ms\": " + std::to_string(*answer.retry_after) + "000";
            break;
         }
         if (page->items.empty()) break;
         bytes += answer.body.size();
         for (const Json &item : page->items) {
            const auto ticket = ticket_of(item);
            if (!ticket || ticket->id.empty()) throw failure(answer, reads);
            after = ticket->id;
            const auto key = std::find(missing.begin(), missing.end(), ticket->key);
            if (key == missing.end()) continue; // another one's, or not the oldest with this key
            found += (found.empty() ? "{\"key\": " : ", {\"key\": ") + quoted(*key) + ", \"ticket\": " + ticket->reply() + "}";
            missing.erase(key);
         }
      }
      std::string none;
      if (more) rest += ", \"cursor\": " + quoted(after);
      else for (const std::string &key : missing) none += (none.empty() ? "" : ", ") + quoted(key);
      call->reply(call, borrow("{\"found\": [" + found + "], \"none\": [" + none + "]" + rest + "}"));
      return TICKET_OK;
   }

   /// A ticket that the API doesn't show, or by a word that this plugin doesn't know, is left out.
   int32_t state(const ticket_call *call, const Json &request) const {
      std::vector<std::string> urls;
      for (const Json &ticket : request["tickets"].items) urls.push_back(ticket["url"].said());
      if (urls.empty()) throw bad_request("tickets");
      const Json shown = look_up(call, urls);
      std::string told;
      for (const std::string &url : urls) {
         const Json &ticket = with_url(shown, url);
         const std::string word = state_of(ticket);
         if (word.empty()) continue;
         told += (told.empty() ? "{\"url\": " : ", {\"url\": ") + quoted(url) + ", \"state\": " + quoted(word) + ", \"detail\": " + quoted(ticket["state"].said()) + "}";
      }
      call->reply(call, borrow("{\"tickets\": [" + told + "]}"));
      return TICKET_OK;
   }

   int32_t update(const ticket_call *call, const Json &request) const {
      const std::string &url = request["ticket"]["url"].said(), &mark = request["step"]["id"].said(), &action = request["step"]["action"].said();
      if (url.empty() || mark.empty()) throw bad_request("ticket, or no step");
      const bool reopen = action == "reopen";
      if (action != "comment" && action != "close" && !reopen) return TICKET_UNSUPPORTED;
      const Json shown = look_up(call, {url});
      const Json &ticket = with_url(shown, url);
      const std::string was = state_of(ticket), path = "/tickets/" + escaped(ticket["id"].said());
      if (was == "gone") return TICKET_NOT_FOUND;
      if (was == "foreign") return reply_step(call, false, was);
      if (was.empty() || ticket["id"].said().empty())
         throw Failure{TICKET_CREATION_ERROR, "never", "the ticket system doesn't show this ticket, or not its state: may the token see it?"};
      // The step's comment: by an earlier try, or by this one.
      bool written = request["again"].truth && has_mark(call, path, mark);
      const bool as_wanted = (was == "open") == reopen;         // of "comment": it is closed
      if (as_wanted) return reply_step(call, written, was);     // not written: a person was there before
      if (!written) written = write_comment(call, path, action == "close" ? "closing" : "comment", mark);
      if (action == "comment") return reply_step(call, true, was);
      return reply_step(call, true, changed_state(call, path, reopen, request["step"]["fields"], written));
   }

 private:
   std::string endpoint, token, project;

   /// What a request does. What `writes` may have been carried out where no clear answer came; with `writes_the_rest` a step's
   /// comment is on the ticket already.
   enum Effect { reads, writes, writes_the_rest };

   /// The list that an answer is.
   Json list(const Answer &answer) const {
      auto json = answer.status == 200 ? parsed(answer.body) : std::nullopt;
      if (!json || json->kind != Json::array) throw failure(answer, reads);
      return std::move(*json);
   }

   /// What the API knows of these tickets. A POST, since there can be many, and yet it changes nothing.
   Json look_up(const ticket_call *call, const std::vector<std::string> &urls) const {
      std::string body;
      for (const std::string &url : urls) body += (body.empty() ? "" : ", ") + quoted(url);
      return list(ask(call, "POST", "/lookup", "{\"urls\": [" + body + "]}", TICKET_HTTP_CHANGES_NOTHING));
   }

   /// null if it isn't known what became of the ticket.
   static const Json &with_url(const Json &shown, const std::string &url) {
      static const Json nothing;
      const auto ticket = std::find_if(shown.items.begin(), shown.items.end(), [&](const Json &item) { return item["url"].said() == url; });
      return ticket != shown.items.end() ? *ticket : nothing;
   }

   /// The host's word for the state of a ticket as the API shows it, or "".
   std::string state_of(const Json &ticket) const {
      if (ticket["project"].kind == Json::string && ticket["project"].said() != project) return "foreign";
      const std::string &word = ticket["state"].said();
      return word == "open" || word == "waiting" ? "open" : word == "resolved" ? "closed" : word == "rejected" ? "cancelled" : word == "deleted" ? "gone" : "";
   }

   static int32_t reply_step(const ticket_call *call, bool done, const std::string &state) {
      call->reply(call, borrow(std::string("{\"done\": ") + (done ? "true" : "false") + ", \"state\": " + quoted(state) + "}"));
      return TICKET_OK;
   }

   /// Whether a comment with this mark is on the ticket. All pages are read, until one is empty.
   bool has_mark(const ticket_call *call, const std::string &path, const std::string &mark) const {
      for (std::string after;;) {
         const Answer answer = ask(call, "GET", path + "/comments?after=" + escaped(after));
         const Json comments = list(answer);
         for (const Json &comment : comments.items) {
            after = comment["id"].said();
            if (after.empty()) throw failure(answer, reads);
            if (comment["mark"].said() == mark) return true;
         }
         if (comments.items.empty()) return false;
      }
   }

   /// Writes what the operator's template says, with the mark where only the API shows it; nothing, and false, if that is empty.
   bool write_comment(const ticket_call *call, const std::string &path, const char *part, const std::string &mark) const {
      const std::string_view text = render(call, part, "markdown");
      if (text.empty()) return false;
      const Answer answer = ask(call, "POST", path + "/comments", "{\"text\": " + quoted(text) + ", \"mark\": " + quoted(mark) + "}");
      const auto json = parsed(answer.body);
      if ((answer.status != 200 && answer.status != 201) || !json || json->kind != Json::object) throw failure(answer, writes);
      return true;
   }

   /// The step's second half, and the state after it. `written`: its comment is on the ticket.
   std::string changed_state(const ticket_call *call, const std::string &path, bool reopen, const Json &fields, bool written) const {
      const std::string set = fields.kind == Json::object ? ", \"fields\": " + fields.json() : "";
      const Answer answer = ask(call, "PATCH", path, (reopen ? "{\"state\": \"open\"" : "{\"state\": \"resolved\"") + set + "}");
      const auto json = answer.status == 200 ? parsed(answer.body) : std::nullopt;
      const std::string now = json ? state_of(*json) : "";
      if (reopen ? now != "open" : now != "closed" && now != "cancelled") throw failure(answer, written ? writes_the_rest : writes);
      return now;
   }

   static std::string text(const Json &json, const char *name) {
      if (json.kind != Json::string || json.text.empty()) throw Failure{TICKET_SETTINGS_ERROR, "never", std::string(name) + " is missing, or is no text"};
      return json.text;
   }

   Answer ask(const ticket_call *call, std::string_view method, const std::string &path, std::string_view body = {}, uint32_t flags = 0) const {
      const std::string url = endpoint + path, authorization = "Bearer " + token;
      const ticket_header headers[] = {{borrow("authorization"), borrow(authorization)}, {borrow("content-type"), borrow("application/json")}};
      const ticket_http_request request = {sizeof request, body.empty() ? 1u : 2u, borrow(method), borrow(url), headers, borrow(body), flags, 0};
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

   /// The error that an exchange stands for.
   Failure failure(const Answer &answer, Effect effect) const {
      Failure failure = failure_by_status(answer, effect);
      failure.partial = effect == writes_the_rest;
      return failure;
   }

   Failure failure_by_status(const Answer &answer, Effect effect) const {
      const uint32_t status = answer.status;
      if (answer.sent == TICKET_HTTP_DENIED || status == 401 || status == 403 || status == 404 || status == 410)
         return {TICKET_SETTINGS_ERROR, "never", said(answer)};
      if (answer.sent == TICKET_HTTP_NOT_SENT || answer.sent == TICKET_HTTP_DRY_RUN || status == 408 || status == 425 || status == 429 || status == 503)
         return {TICKET_CLIENT_ERROR, "later", said(answer), answer.retry_after};
      if (answer.sent != TICKET_HTTP_OK || status >= 500)
         return {TICKET_CLIENT_ERROR, effect == reads ? "later" : "unknown", said(answer)};
      if (status >= 400) return {TICKET_CREATION_ERROR, "never", said(answer)};
      return {TICKET_PLUGIN_ERROR, effect == reads ? "never" : "unknown", "not what the API documents: " + said(answer)};
   }
};

// ---- The boundary: nothing is thrown out of these ----

/// What a function of the backend's returns for a request, which may be anything.
template <int32_t (Backend::*function)(const ticket_call *, const Json &) const>
int32_t asked(void *instance, const ticket_call *call, ticket_str request, const char *retry) {
   return guarded(call, instance, retry, [&] {
      const auto json = parsed(view(request));
      return (static_cast<Backend *>(instance)->*function)(call, json ? *json : Json());
   });
}

} // namespace

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

static int32_t create(void *instance, const ticket_call *call, ticket_str request) { return asked<&Backend::create>(instance, call, request, "unknown"); }
static int32_t find(void *instance, const ticket_call *call, ticket_str request) { return asked<&Backend::find>(instance, call, request, "later"); }
static int32_t find_many(void *instance, const ticket_call *call, ticket_str request) { return asked<&Backend::find_many>(instance, call, request, "later"); }
static int32_t update(void *instance, const ticket_call *call, ticket_str request) { return asked<&Backend::update>(instance, call, request, "unknown"); }
static int32_t state(void *instance, const ticket_call *call, ticket_str request) { return asked<&Backend::state>(instance, call, request, "later"); }

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
      own.find_many = find_many;
      own.update = update;
      own.state = state;
      return own;
   }();
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : nullptr;
}
}
