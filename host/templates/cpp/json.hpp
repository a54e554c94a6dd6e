// SPDX-License-Identifier: MIT-0
// JSON as far as a ticket plugin needs it: reads any (RFC 8259, UTF-8 checked), writes strings and what it has read.
#pragma once

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// The length of the UTF-8 character that `s` begins with, 0 if it is none.
inline std::size_t utf8_length(std::string_view s) {
   const auto at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
   const unsigned c = at(0);
   const std::size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
   for (std::size_t i = 1; i < n; i++)
      if (at(i) >> 6 != 2) return 0;
   const bool odd = (c == 0xe0 && at(1) < 0xa0) || (c == 0xed && at(1) > 0x9f) || (c == 0xf0 && at(1) < 0x90) || (c == 0xf4 && at(1) > 0x8f);
   return odd || s.empty() ? 0 : n;
}

/// `s`, which is UTF-8, as a JSON string.
inline std::string quoted(std::string_view s) {
   std::string out = "\"";
   for (const char c : s) {
      if (static_cast<unsigned char>(c) < ' ') {
         char escape[8];
         std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
         out += escape;
      } else {
         if (c == '"' || c == '\\') out += '\\';
         out += c;
      }
   }
   return out += '"';
}

struct Json {
   enum Kind { null, boolean, number, string, array, object };
   Kind kind = null;
   std::string text;               // of a string; of a number, as it stood there
   bool truth = false;
   std::vector<std::string> names; // of an object's items
   std::vector<Json> items;        // of an array or object

   /// An object's member; null if there is none.
   const Json &operator[](std::string_view name) const {
      static const Json nothing;
      for (std::size_t i = 0; i < names.size(); i++)
         if (names[i] == name) return items[i];
      return nothing;
   }

   /// What a string says; of any other value nothing.
   const std::string &said() const {
      static const std::string nothing;
      return kind == string ? text : nothing;
   }

   /// It as JSON again.
   std::string json() const {
      if (kind == null) return "null";
      if (kind == boolean) return truth ? "true" : "false";
      if (kind == number) return text;
      if (kind == string) return quoted(text);
      std::string out;
      for (std::size_t i = 0; i < items.size(); i++)
         out += (i > 0 ? ", " : "") + (kind == object ? quoted(names[i]) + ": " : "") + items[i].json();
      return kind == object ? "{" + out + "}" : "[" + out + "]";
   }

   /// Throws std::runtime_error if `s` is no JSON.
   static Json parse(std::string_view s);
};

class JsonReader {
 public:
   explicit JsonReader(std::string_view s) : rest(s) {}

   Json whole() {
      Json json = value(0);
      skip_space();
      if (!rest.empty()) fail();
      return json;
   }

 private:
   std::string_view rest;

   [[noreturn]] static void fail() { throw std::runtime_error("not JSON"); }

   void skip_space() {
      const std::size_t n = rest.find_first_not_of(" \t\r\n");
      rest.remove_prefix(n == rest.npos ? rest.size() : n);
   }

   bool take(std::string_view word) {
      if (rest.substr(0, word.size()) != word) return false;
      rest.remove_prefix(word.size());
      return true;
   }

   void need(std::string_view word) {
      skip_space();
      if (!take(word)) fail();
   }

   Json value(int depth) {
      Json json;
      skip_space();
      if (rest.empty() || depth > 100) fail();
      if (rest[0] == '"') {
         json.kind = Json::string, json.text = string();
      } else if (rest[0] == '{' || rest[0] == '[') {
         json.kind = rest[0] == '{' ? Json::object : Json::array;
         const std::string_view end = rest[0] == '{' ? "}" : "]";
         rest.remove_prefix(1);
         skip_space();
         if (take(end)) return json;
         do {
            if (json.kind == Json::object) {
               skip_space();
               json.names.push_back(string());
               need(":");
            }
            json.items.push_back(value(depth + 1));
            skip_space();
         } while (take(","));
         need(end);
      } else if (take("true")) {
         json.kind = Json::boolean, json.truth = true;
      } else if (take("false")) {
         json.kind = Json::boolean;
      } else if (!take("null")) {
         const std::size_t n = rest.find_first_not_of("+-.0123456789eE"); // numbers aren't looked at closely
         json.kind = Json::number, json.text = rest.substr(0, n);
         if (json.text.empty()) fail();
         rest.remove_prefix(json.text.size());
      }
      return json;
   }

   std::string string() {
      std::string out;
      if (!take("\"")) fail();
      while (!take("\"")) {
         const std::size_t n = utf8_length(rest);
         if (n == 0 || static_cast<unsigned char>(rest[0]) < ' ') fail();
         if (take("\\")) append_escaped(out);
         else out += rest.substr(0, n), rest.remove_prefix(n);
      }
      return out;
   }

   void append_escaped(std::string &out) {
      static const std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
      if (take("u")) {
         std::uint32_t c = hex4();
         if (c >> 10 == 0x36) { // the first half of a pair
            if (!take("\\u")) fail();
            const std::uint32_t low = hex4();
            if (low >> 10 != 0x37) fail();
            c = 0x10000 + ((c & 0x3ff) << 10) + (low & 0x3ff);
         } else if (c >> 10 == 0x37) fail();
         int more = (c > 0x7f) + (c > 0x7ff) + (c > 0xffff);
         out += static_cast<char>(more ? (0xff00u >> (more + 1)) | c >> 6 * more : c);
         while (more-- > 0) out += static_cast<char>(0x80 | (c >> 6 * more & 0x3f));
         return;
      }
      const std::size_t letter = rest.empty() ? letters.npos : letters.find(rest[0]);
      if (letter == letters.npos) fail();
      out += meanings[letter];
      rest.remove_prefix(1);
   }

   std::uint32_t hex4() {
      std::uint32_t value = 0;
      for (int i = 0; i < 4; i++) {
         static const std::string_view digits = "0123456789abcdef0123456789ABCDEF";
         const std::size_t digit = rest.empty() ? digits.npos : digits.find(rest[0]);
         if (digit == digits.npos) fail();
         value = value * 16 + digit % 16;
         rest.remove_prefix(1);
      }
      return value;
   }
};

inline Json Json::parse(std::string_view s) { return JsonReader(s).whole(); }
