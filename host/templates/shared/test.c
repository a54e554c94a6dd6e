// SPDX-License-Identifier: MIT-0
//go:build ignore

/* Tests the plugin {{name}} as a host would call it, without a host and without a network:
 *    ./test ./libticket_plugin_{{ident}}.so
 * The requests that the plugin must make, and their answers, stand in the table `cases`: add yours there.
 * (The line `go:build` is for Go, which would compile this into the library.) */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ticket_plugin.h"

#define ENDPOINT "https://desk.example.org/api"
#define TOKEN "s3cret-t0ken"
#define WEBHOOK_TOKEN "w3bhook-t0ken-of-some-length"
#define SECRET "\"secret\": {\"token\": \"" TOKEN "\", \"webhook_token\": \"" WEBHOOK_TOKEN "\", \"unknown\": 1}"
#define INFORMATION "\"information\": {\"project\": \"R&D \\u00f8\", \"unknown\": [{}]}"
#define SETTINGS "{\"endpoint\": \"" ENDPOINT "/\", \"unknown\": null, " SECRET ", " INFORMATION "}"
#define REQUEST "{\"incident\": {\"description\": \"x\", \"key\": \"not this\"}, \"key\": \"k/1 +&=\\\"\\u00f8\\ud83d\\ude00\", \"dry_run\": false}"
#define KEY "k/1 +&=\\\"\xc3\xb8\xf0\x9f\x98\x80" /* the same in another spelling of JSON */
#define KEY_IN_URL "k%2F1%20%2B%26%3D%22%C3%B8%F0%9F%98%80"
#define TICKET(id, key) "{\"id\": \"" id "\", \"more\": [{\"key\": 1}], \"url\": \"" ENDPOINT "/t/" id "?a=b&c\", \"key\": \"" key "\"}"

#define KNOWN_SINCE(day) "{\"not_before\": \"" day "T07:00:00Z\", \"incident\": {}, \"key\": \"k/1 +&=\\\"\\u00f8\\ud83d\\ude00\", \"dry_run\": false}"
/* Two keys, of which the first one's ticket can be the oldest; and such a request that goes on. */
#define MANY(more) "{\"keys\": [{\"key\": \"k/1 +&=\\\"\\u00f8\\ud83d\\ude00\", \"not_before\": \"2026-11-23T07:00:00Z\"}, {\"key\": \"two\", \"not_before\": \"2026-11-24T07:00:00Z\"}]" more "}"
#define ONE_OF_ANY_AGE "{\"keys\": [{\"key\": \"two\"}]}"
#define STEP(action, more) "{\"ticket\": {\"url\": \"" ENDPOINT "/t/7\", \"id\": \"7\"}, \"key\": \"k\", \"incident\": {}, \"step\": {\"action\": \"" action "\", \"id\": \"s-1\"" more ", \"dry_run\": false}"
#define NEW "}, \"again\": false"
#define AGAIN "}, \"again\": true"
#define STATES "{\"tickets\": [{\"url\": \"" ENDPOINT "/t/7\", \"id\": \"7\"}, {\"url\": \"" ENDPOINT "/t/\\u0038\"}]}"
#define WEBHOOK(token) "{\"method\": \"POST\", \"url\": \"https://host/\", \"headers\": [[\"x-other\", \"x-token\"], [\"x-token\", \"" token "\"]]}"
/* A ticket as it is looked up, and a comment. */
#define SHOWN_IN(project, id, state) "{\"id\": \"" id "\", \"url\": \"" ENDPOINT "/t/" id "\", \"project\": \"" project "\", \"state\": \"" state "\"}"
#define SHOWN(id, state) SHOWN_IN("R&D \\u00f8", id, state)
#define NOTE(id, mark) "{\"id\": \"" id "\", \"text\": \"s-1\", \"mark\": \"" mark "\"}"

/* The requests that this plugin makes. */
#define LOOK .method = "GET", .url = ENDPOINT "/projects/R%26D%20%C3%B8"
#define POST .method = "POST", .url = ENDPOINT "/tickets"
#define SEARCH .method = "GET", .url = ENDPOINT "/tickets?key=" KEY_IN_URL
#define PAGE(after) .method = "GET", .url = ENDPOINT "/tickets?sort=created&after=" after
#define LOOK_UP .method = "POST", .url = ENDPOINT "/lookup", .flags = TICKET_HTTP_CHANGES_NOTHING
#define COMMENTS(after) .method = "GET", .url = ENDPOINT "/tickets/7/comments?after=" after
#define COMMENT .method = "POST", .url = ENDPOINT "/tickets/7/comments"
#define CHANGE .method = "PATCH", .url = ENDPOINT "/tickets/7"

/* One request that the plugin must make, and what comes of it. */
typedef struct exchange {
   const char *method, *url;
   int32_t     sent;        /* what http() returns: 0 if an answer comes, else TICKET_HTTP_* */
   uint32_t    status;      /* what the ticket system answers */
   const char *answer;      /* its body, or why there is none */
   const char *retry_after; /* its header, if it has one */
   uint32_t    flags;       /* the request's */
} exchange;

enum { MOST_EXCHANGES = 8 };

typedef enum function { CHECK, CREATE, FIND, FIND_MANY, UPDATE, STATE, RECEIVE } function;

/* A function that makes several requests has as many exchanges, in their order. For a search that pages:
 *    {"find: page 2", FIND, {{SEARCH, .status = 200, .answer = "..."}, {SEARCH "&page=2", .status = 200, .answer = "..."}}, TICKET_OK, .reply = {"..."}}, */
static const struct test_case {
   const char *name;
   function    function;
   exchange    exchanges[MOST_EXCHANGES];
   int32_t     code;        /* what the plugin must return ... */
   const char *reply[2];    /* ... and what its reply must have; JSON's white space and order don't matter */
   const char *request;     /* NULL: REQUEST */
   const char *body;        /* of the webhook */
   const char *sent[2];     /* what the body of the last request must have */
   const char *text;        /* what comments say; NULL: what render() has for them */
   int         time_for;    /* after so many requests the time is nearly over; 0: never */
} cases[] = {
   {"create replies the ticket", CREATE, {{POST, .status = 201, .answer = TICKET("7", "x")}}, TICKET_OK, .reply = {"\"url\":\"" ENDPOINT "/t/7?a=b&c\"", "\"id\":\"7\""}},
   {"create: 200 is as good", CREATE, {{POST, .status = 200, .answer = " " TICKET("7", "x") "\n"}}, TICKET_OK, .reply = {"\"url\":\"" ENDPOINT "/t/7?a=b&c\""}},
   {"create: 400 is a refusal", CREATE, {{POST, .status = 400, .answer = "{\"error\": \"no title\"}"}}, TICKET_CREATION_ERROR, .reply = {"\"retry\":\"never\""}},
   {"create: 401 is the settings'", CREATE, {{POST, .status = 401, .answer = "{}"}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\"", "401"}},
   {"create: 403 is the settings'", CREATE, {{POST, .status = 403}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\""}},
   {"create: 404 is the settings'", CREATE, {{POST, .status = 404, .answer = "<html>"}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\""}},
   {"create: 422 is a refusal", CREATE, {{POST, .status = 422, .answer = "{\"error\": \"no title\"}"}}, TICKET_CREATION_ERROR, .reply = {"\"retry\":\"never\"", "no title"}},
   {"create: 429 is for later", CREATE, {{POST, .status = 429, .retry_after = "30"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\"", "\"retry_after_ms\":30000"}},
   {"create: 503 is for later", CREATE, {{POST, .status = 503}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}},
   {"Retry-After 0", CREATE, {{POST, .status = 503, .retry_after = "0"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry_after_ms\":0"}},
   {"a huge Retry-After is cut to a day", CREATE, {{POST, .status = 429, .retry_after = "99999999999999999999999"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry_after_ms\":86400000"}},
   {"a long Retry-After is cut to a day", CREATE, {{POST, .status = 429, .retry_after = "90000"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry_after_ms\":86400000"}},
   {"an odd Retry-After is no matter", CREATE, {{POST, .status = 429, .retry_after = "-1 \"soon\""}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}},
   {"create: 502 leaves unknown", CREATE, {{POST, .status = 502}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: a lost answer leaves unknown", CREATE, {{POST, .sent = TICKET_HTTP_UNKNOWN, .answer = "reset"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"unknown\"", "reset"}},
   {"create: what http() will return one day leaves unknown", CREATE, {{POST, .sent = 77}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: not sent is for later", CREATE, {{POST, .sent = TICKET_HTTP_NOT_SENT, .answer = "refused"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\"", "refused"}},
   {"create: denied is the settings'", CREATE, {{POST, .sent = TICKET_HTTP_DENIED, .answer = "no"}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\""}},
   {"create: a dry run is a client error", CREATE, {{POST, .sent = TICKET_HTTP_DRY_RUN}}, TICKET_CLIENT_ERROR, .reply = {"\"message\":\""}},
   {"create: HTML is no ticket", CREATE, {{POST, .status = 201, .answer = "<!DOCTYPE html><p id=\"7\">{\"url\": \"x\"}"}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: nothing is no ticket", CREATE, {{POST, .status = 201}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: what is not UTF-8 is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"\xff\", \"url\": \"https://x/\xc3\"}"}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: half an answer is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"url\": \"https://x/7\""}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: no url is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"self\": {\"url\": \"https://x/7\"}}"}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: an empty url is no ticket", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"url\": \"\"}"}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: a number is no url", CREATE, {{POST, .status = 201, .answer = "{\"id\": \"7\", \"url\": 7}"}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: a list is no ticket", CREATE, {{POST, .status = 201, .answer = "[\"7\", \"https://x/7\"]"}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: a redirect leaves unknown", CREATE, {{POST, .status = 303}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}},
   {"create: an answer with the token isn't shown", CREATE, {{POST, .status = 401, .answer = "wrong token: " TOKEN}}, TICKET_SETTINGS_ERROR, .reply = {"\"message\":\""}},

   {"find compares keys", FIND, {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ", " TICKET("2", KEY "0") ",\n" TICKET("3", KEY) "]"}}, TICKET_OK, .reply = {"\"url\":\"" ENDPOINT "/t/3?a=b&c\"", "\"id\":\"3\""}},
   {"find: similar keys are not it", FIND, {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ", " TICKET("2", "K/1") "]"}}, TICKET_NOT_FOUND, .reply = {NULL}},
   {"find: an empty list", FIND, {{SEARCH, .status = 200, .answer = " [ ]\n"}}, TICKET_NOT_FOUND, .reply = {NULL}},
   {"find: HTML is no answer", FIND, {{SEARCH, .status = 200, .answer = "<html>[]</html>"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: nothing is no answer", FIND, {{SEARCH, .status = 200}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: null is no answer", FIND, {{SEARCH, .status = 200, .answer = "null"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: 204 is no answer", FIND, {{SEARCH, .status = 204}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: an object is no list", FIND, {{SEARCH, .status = 200, .answer = "{\"tickets\": []}"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: half a list is no list", FIND, {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ","}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: more than a list is no list", FIND, {{SEARCH, .status = 200, .answer = "[] []"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: numbers are no tickets", FIND, {{SEARCH, .status = 200, .answer = "[1, null]"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: a ticket without key is none", FIND, {{SEARCH, .status = 200, .answer = "[{\"id\": \"1\", \"url\": \"https://x/1\"}]"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: a ticket without url is none", FIND, {{SEARCH, .status = 200, .answer = "[{\"id\": \"1\", \"key\": \"" KEY "\"}]"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}},
   {"find: 401 is the settings'", FIND, {{SEARCH, .status = 401, .answer = "[]"}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\""}},
   {"find: 404 is not 'no such ticket'", FIND, {{SEARCH, .status = 404, .answer = "[]"}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\""}},
   {"find: 500 is for later", FIND, {{SEARCH, .status = 500}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}},
   {"find: not sent is for later", FIND, {{SEARCH, .sent = TICKET_HTTP_NOT_SENT, .answer = "refused"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}},

   {"find reads from the day before the ticket can be made", FIND, {{SEARCH "&since=2026-11-22", .status = 200, .answer = "[]"}}, TICKET_NOT_FOUND, .reply = {NULL}, .request = KNOWN_SINCE("2026-11-23")},
   {"find: the day before the first of a month", FIND, {{SEARCH "&since=2026-10-31", .status = 200, .answer = "[]"}}, TICKET_NOT_FOUND, .reply = {NULL}, .request = KNOWN_SINCE("2026-11-01")},
   {"find: the day before the first of a year", FIND, {{SEARCH "&since=2026-12-31", .status = 200, .answer = "[]"}}, TICKET_NOT_FOUND, .reply = {NULL}, .request = KNOWN_SINCE("2027-01-01")},
   {"find: a time that is none reads all", FIND, {{SEARCH, .status = 200, .answer = "[]"}}, TICKET_NOT_FOUND, .reply = {NULL}, .request = KNOWN_SINCE("a long ago")},

   {"find_many: all keys are found, and no page is read in vain", FIND_MANY, {{PAGE("&since=2026-11-22"), .status = 200, .answer = "[" TICKET("1", "two") ", " TICKET("2", KEY) ", " TICKET("3", "two") "]"}}, TICKET_OK, .reply = {"\"key\":\"two\"", "\"none\":[]"}, .request = MANY("")},
   {"find_many: of several tickets the oldest", FIND_MANY, {{PAGE(""), .status = 200, .answer = "[" TICKET("1", "Two") ", " TICKET("2", "two") ", " TICKET("3", "two") "]"}}, TICKET_OK, .reply = {"\"url\":\"" ENDPOINT "/t/2?a=b&c\"", "\"none\":[]"}, .request = ONE_OF_ANY_AGE},
   {"find_many reads to the end before it says none", FIND_MANY, {{PAGE("&since=2026-11-22"), .status = 200, .answer = "[" TICKET("1", "x") "]"}, {PAGE("1&since=2026-11-22"), .status = 200, .answer = "[{\"id\": \"a b\", \"url\": \"https://x/4\", \"key\": null}]"}, {PAGE("a%20b&since=2026-11-22"), .status = 200, .answer = "[]"}}, TICKET_OK, .reply = {"\"found\":[]", "'\xc3\xb8\xf0\x9f\x98\x80\",\"two\"]"}, .request = MANY("")},
   {"find_many: the time is over, and a cursor goes on", FIND_MANY, {{PAGE("&since=2026-11-22"), .status = 200, .answer = "[" TICKET("5", "two") "]"}}, TICKET_OK, .reply = {"\"cursor\":\"5\"", "\"none\":[]"}, .request = MANY(""), .time_for = 1},
   {"find_many goes on behind its cursor", FIND_MANY, {{PAGE("5&since=2026-11-22"), .status = 200, .answer = "[" TICKET("6", "two") "]"}, {PAGE("6&since=2026-11-22"), .status = 200, .answer = "[]"}}, TICKET_OK, .reply = {"\"id\":\"6\"", "\"none\":[\"k/1"}, .request = MANY(", \"cursor\": \"5\"")},
   {"find_many: a page that fails is not the end", FIND_MANY, {{PAGE("&since=2026-11-22"), .status = 200, .answer = "[" TICKET("5", "two") "]"}, {PAGE("5&since=2026-11-22"), .status = 503, .retry_after = "30"}}, TICKET_OK, .reply = {"\"none\":[]", "\"retry_after_ms\":30000"}, .request = MANY("")},
   {"find_many: after a page that fails a cursor goes on", FIND_MANY, {{PAGE("&since=2026-11-22"), .status = 200, .answer = "[" TICKET("5", "two") "]"}, {PAGE("5&since=2026-11-22"), .status = 200, .answer = "<html>"}}, TICKET_OK, .reply = {"\"key\":\"two\"", "\"cursor\":\"5\""}, .request = MANY("")},
   {"find_many: a first page that fails is an error", FIND_MANY, {{PAGE(""), .status = 500}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}, .request = ONE_OF_ANY_AGE},
   {"find_many: HTML is no page", FIND_MANY, {{PAGE(""), .status = 200, .answer = "<html>"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}, .request = ONE_OF_ANY_AGE},
   {"find_many: a ticket without url is none", FIND_MANY, {{PAGE(""), .status = 200, .answer = "[{\"id\": \"1\", \"key\": \"two\"}]"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}, .request = ONE_OF_ANY_AGE},

   {"a comment is written with its mark", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "waiting") "]"}, {COMMENT, .status = 201, .answer = "{}"}}, TICKET_OK, .reply = {"\"done\":true", "\"state\":\"open\""}, .request = STEP("comment", NEW), .sent = {"\"text\":\"it 'changed'\"", "\"mark\":\"s-1\""}},
   {"a ticket is closed: comment, then state", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .status = 200, .answer = "{}"}, {CHANGE, .status = 200, .answer = SHOWN("7", "resolved")}}, TICKET_OK, .reply = {"\"done\":true", "\"state\":\"closed\""}, .request = STEP("close", ", \"fields\": {\"a\": [1]}" NEW), .sent = {"\"state\":\"resolved\"", "\"fields\":{\"a\":[1]}"}},
   {"a ticket is opened again", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "rejected") "]"}, {COMMENT, .status = 201, .answer = "{}"}, {CHANGE, .status = 200, .answer = SHOWN("7", "open")}}, TICKET_OK, .reply = {"\"done\":true", "\"state\":\"open\""}, .request = STEP("reopen", NEW), .sent = {"\"state\":\"open\""}},
   {"an empty text is no comment", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {CHANGE, .status = 200, .answer = SHOWN("7", "resolved")}}, TICKET_OK, .reply = {"\"done\":true"}, .request = STEP("close", NEW), .text = ""},
   {"a person has closed it: nothing is written", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "rejected") "]"}}, TICKET_OK, .reply = {"\"done\":false", "\"state\":\"cancelled\""}, .request = STEP("close", NEW)},
   {"a person has closed it: no comment", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "resolved") "]"}}, TICKET_OK, .reply = {"\"done\":false", "\"state\":\"closed\""}, .request = STEP("comment", NEW)},
   {"a person has opened it: nothing is written", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "waiting") "]"}}, TICKET_OK, .reply = {"\"done\":false", "\"state\":\"open\""}, .request = STEP("reopen", NEW)},
   {"another project's ticket is left alone", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN_IN("R", "7", "open") "]"}}, TICKET_OK, .reply = {"\"done\":false", "\"state\":\"foreign\""}, .request = STEP("close", NEW)},
   {"again, and the mark is there: no second comment", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENTS(""), .status = 200, .answer = "[" NOTE("c 1", "s-0") "]"}, {COMMENTS("c%201"), .status = 200, .answer = "[" NOTE("c2", "s-1") "]"}}, TICKET_OK, .reply = {"\"done\":true", "\"state\":\"open\""}, .request = STEP("comment", AGAIN)},
   {"again, and only the state is missing", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENTS(""), .status = 200, .answer = "[" NOTE("c1", "s-1") "]"}, {CHANGE, .status = 200, .answer = SHOWN("7", "resolved")}}, TICKET_OK, .reply = {"\"done\":true", "\"state\":\"closed\""}, .request = STEP("close", AGAIN)},
   {"again, and all was done", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "resolved") "]"}, {COMMENTS(""), .status = 200, .answer = "[" NOTE("c1", "s-1") "]"}}, TICKET_OK, .reply = {"\"done\":true", "\"state\":\"closed\""}, .request = STEP("close", AGAIN)},
   {"again, and no mark is there: as the first time", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENTS(""), .status = 200, .answer = "[" NOTE("c1", "s-10") "]"}, {COMMENTS("c1"), .status = 200, .answer = "[]"}, {COMMENT, .status = 201, .answer = "{}"}}, TICKET_OK, .reply = {"\"done\":true"}, .request = STEP("comment", AGAIN), .sent = {"\"mark\":\"s-1\""}},
   {"again, and a page of comments fails: nothing is written", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENTS(""), .status = 200, .answer = "[" NOTE("c1", "s-0") "]"}, {COMMENTS("c1"), .status = 500}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}, .request = STEP("comment", AGAIN)},
   {"again, and HTML is no page of comments", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENTS(""), .status = 200, .answer = "<html>"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}, .request = STEP("comment", AGAIN)},
   {"a comment whose answer is lost leaves unknown", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .sent = TICKET_HTTP_UNKNOWN, .answer = "reset"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"unknown\"}"}, .request = STEP("close", NEW), .sent = {"\"text\":\"it is over\""}},
   {"a comment that is answered with HTML leaves unknown", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .status = 200, .answer = "<html>"}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\""}, .request = STEP("close", NEW)},
   {"a comment that is refused", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .status = 422, .answer = "{}"}}, TICKET_CREATION_ERROR, .reply = {"\"retry\":\"never\"}"}, .request = STEP("comment", NEW)},
   {"the comment is there, and the state is refused: partial", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .status = 201, .answer = "{}"}, {CHANGE, .status = 409, .answer = "{}"}}, TICKET_CREATION_ERROR, .reply = {"\"retry\":\"never\"", "\"partial\":true"}, .request = STEP("close", NEW)},
   {"the comment is there, and the state for later: partial", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .status = 201, .answer = "{}"}, {CHANGE, .status = 429, .retry_after = "5"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry_after_ms\":5000", "\"partial\":true"}, .request = STEP("close", NEW)},
   {"the comment is there, and the state's answer is lost: partial", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .status = 201, .answer = "{}"}, {CHANGE, .sent = TICKET_HTTP_UNKNOWN}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"unknown\"", "\"partial\":true"}, .request = STEP("close", NEW)},
   {"it is still open after all: partial", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {COMMENT, .status = 201, .answer = "{}"}, {CHANGE, .status = 200, .answer = SHOWN("7", "open")}}, TICKET_PLUGIN_ERROR, .reply = {"\"retry\":\"unknown\"", "\"partial\":true"}, .request = STEP("close", NEW)},
   {"a state without a comment is all, and none partial", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "open") "]"}, {CHANGE, .status = 409, .answer = "{}"}}, TICKET_CREATION_ERROR, .reply = {"\"retry\":\"never\"}"}, .request = STEP("close", NEW), .text = ""},
   {"a ticket that was deleted is gone", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "deleted") "]"}}, TICKET_NOT_FOUND, .reply = {NULL}, .request = STEP("close", NEW)},
   {"a ticket that isn't shown is not gone", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("70", "deleted") "]"}}, TICKET_CREATION_ERROR, .reply = {"\"retry\":\"never\""}, .request = STEP("close", NEW)},
   {"update: 404 is not gone", UPDATE, {{LOOK_UP, .status = 404}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\""}, .request = STEP("close", NEW)},
   {"update: a ticket that can't be looked up is for later", UPDATE, {{LOOK_UP, .status = 502}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}, .request = STEP("close", NEW)},
   {"update: a state that nobody knows is an error", UPDATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("7", "frozen") "]"}}, TICKET_CREATION_ERROR, .reply = {"\"retry\":\"never\""}, .request = STEP("close", NEW)},
   {"an action that nobody knows is unsupported", UPDATE, {{NULL}}, TICKET_UNSUPPORTED, .reply = {NULL}, .request = STEP("merge", NEW)},

   {"states of several tickets by one request", STATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("8", "rejected") ", " SHOWN("7", "waiting") ", " SHOWN("9", "open") "]"}}, TICKET_OK, .reply = {"{\"url\":\"" ENDPOINT "/t/7\",\"state\":\"open\",\"detail\":\"waiting\"}", "\"state\":\"cancelled\""}, .request = STATES, .sent = {"[\"" ENDPOINT "/t/7\",\"" ENDPOINT "/t/8\"]"}},
   {"state: gone and foreign", STATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("8", "deleted") ", " SHOWN_IN("R", "7", "open") "]"}}, TICKET_OK, .reply = {"\"state\":\"gone\"", "\"state\":\"foreign\""}, .request = STATES},
   {"state: what isn't shown, or by a word that nobody knows, is left out", STATE, {{LOOK_UP, .status = 200, .answer = "[" SHOWN("8", "frozen") "]"}}, TICKET_OK, .reply = {"{\"tickets\":[]}"}, .request = STATES},
   {"state: 404 is not gone", STATE, {{LOOK_UP, .status = 404, .answer = "[]"}}, TICKET_SETTINGS_ERROR, .reply = {"\"retry\":\"never\""}, .request = STATES},
   {"state: no answer is for later", STATE, {{LOOK_UP, .sent = TICKET_HTTP_UNKNOWN, .answer = "reset"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry\":\"later\""}, .request = STATES},
   {"state: HTML is no answer", STATE, {{LOOK_UP, .status = 200, .answer = "<html>"}}, TICKET_PLUGIN_ERROR, .reply = {"\"message\":\""}, .request = STATES},

   {"a webhook with the token names its ticket", RECEIVE, {{NULL}}, TICKET_OK, .reply = {"{\"tickets\":[{\"url\":\"https://x/7\",\"id\":\"7\"}]}"}, .request = WEBHOOK(WEBHOOK_TOKEN), .body = "{\"ticket\": {\"id\": \"7\", \"url\": \"https://x/7\"}}"},
   {"a webhook about something else", RECEIVE, {{NULL}}, TICKET_OK, .reply = {"{\"tickets\":[]}"}, .request = WEBHOOK(WEBHOOK_TOKEN), .body = "\xff"},
   {"a webhook without the token is forged", RECEIVE, {{NULL}}, TICKET_OK, .reply = {"\"forged\":\""}, .request = WEBHOOK(""), .body = "{\"ticket\": {\"id\": \"7\", \"url\": \"https://x/7\"}}"},
   {"a webhook with half of the token is forged", RECEIVE, {{NULL}}, TICKET_OK, .reply = {"\"forged\":\""}, .request = WEBHOOK("w3bhook-t0ken"), .body = "{\"ticket\": {\"id\": \"7\", \"url\": \"https://x/7\"}}"},

   {"check passes", CHECK, {{LOOK, .status = 200, .answer = "{\"name\": \"R&D\"}"}}, TICKET_OK, .reply = {"\"ok\":true"}},
   {"check: 401", CHECK, {{LOOK, .status = 401, .answer = "say \"please\""}}, TICKET_OK, .reply = {"\"ok\":false", "\"help\":\""}},
   {"check: 403", CHECK, {{LOOK, .status = 403, .answer = TOKEN}}, TICKET_OK, .reply = {"\"ok\":false", "\"help\":\""}},
   {"check: 404", CHECK, {{LOOK, .status = 404}}, TICKET_OK, .reply = {"\"ok\":false", "\"help\":\""}},
   {"check: HTML is no project", CHECK, {{LOOK, .status = 200, .answer = "<html>"}}, TICKET_OK, .reply = {"\"ok\":false", "\"help\":\""}},
   {"check: 503 is for later", CHECK, {{LOOK, .status = 503, .retry_after = "5"}}, TICKET_CLIENT_ERROR, .reply = {"\"retry_after_ms\":5000"}},
};

/* ---- What a test finds ---- */

static char wrong[600]; /* the first thing in a test that is not as it should be */
static int failures;

static void need(int as_expected, const char *format, ...) {
   va_list arguments;
   va_start(arguments, format);
   if (!as_expected && wrong[0] == '\0') vsnprintf(wrong, sizeof wrong, format, arguments);
   va_end(arguments);
}

static void done(const char *name) {
   if (wrong[0] == '\0') printf("ok      %s\n", name);
   else printf("FAILED  %s\n        %s\n", name, wrong), failures++;
   wrong[0] = '\0';
   fflush(stdout);
}

/* ---- The host's side ---- */

typedef struct host {
   ticket_call call;
   const struct test_case *now;
   const char *title;
   char *body;                     /* what render() gives ... */
   char *headers, *sent, *reply;   /* ... and what the plugin sent last and said; NULL: nothing */
   struct { char *answer; ticket_header headers[2]; } given[MOST_EXCHANGES]; /* valid until the function returns */
   int requests, told;             /* `told`: a reply or a log line had the token */
} host;

static host *of(const ticket_call *call) { return call->host; }

static void keep(char **where, ticket_str s) {
   free(*where);
   *where = malloc(s.len + 1);
   if (*where == NULL) abort();
   if (s.len > 0) memcpy(*where, s.ptr, s.len);
   (*where)[s.len] = '\0';
}

static ticket_str text(const char *s) { return (ticket_str){(const uint8_t *)s, s != NULL ? strlen(s) : 0}; }

/* JSON without white space between values and without escapes: \" becomes ', \n becomes |. */
static char *plain(const char *json) {
   char *const out = malloc(2 * strlen(json) + 1), *to = out;
   int quoted = 0;
   if (out == NULL) abort();
   for (const char *p = json; *p != '\0'; p++) {
      unsigned c = (unsigned char)*p;
      if (!quoted && strchr(" \t\r\n", *p) != NULL) continue;
      if (c == '"') quoted = !quoted;
      else if (quoted && c < ' ') c = '?'; /* must be escaped */
      else if (quoted && c == '\\' && p[1] != '\0') {
         c = (unsigned char)*++p;
         if (c == 'u' && strnlen(p, 5) == 5) {
            const char hex[] = {p[1], p[2], p[3], p[4], '\0'};
            c = (unsigned)strtoul(hex, NULL, 16);
            p += 4;
            if (c >> 10 == 0x36 && strncmp(p + 1, "\\ud", 3) == 0 && strnlen(p, 7) == 7) {
               const char low[] = {p[3], p[4], p[5], p[6], '\0'};
               c = 0x10000 + ((c & 0x3ff) << 10) + ((unsigned)strtoul(low, NULL, 16) & 0x3ff);
               p += 6;
            }
         } else if (c == 'n') c = '\n';
         if (c == '"') c = '\'';
         if (c == '\n') c = '|';
         if (c > 0xffff) *to++ = (char)(0xf0 | c >> 18), *to++ = (char)(0x80 | (c >> 12 & 0x3f)), *to++ = (char)(0x80 | (c >> 6 & 0x3f)), c = 0x80 | (c & 0x3f);
         else if (c > 0x7ff) *to++ = (char)(0xe0 | c >> 12), *to++ = (char)(0x80 | (c >> 6 & 0x3f)), c = 0x80 | (c & 0x3f);
         else if (c > 0x7f) *to++ = (char)(0xc0 | c >> 6), c = 0x80 | (c & 0x3f);
      }
      *to++ = (char)c;
   }
   *to = '\0';
   return out;
}

static void on_reply(const ticket_call *call, ticket_str json) {
   keep(&of(call)->reply, json);
   of(call)->told |= strstr(of(call)->reply, TOKEN) != NULL;
}

static void on_log(const ticket_call *call, uint32_t level, ticket_str message) {
   char *line = NULL;
   (void)level;
   keep(&line, message);
   of(call)->told |= strstr(line, TOKEN) != NULL;
   free(line);
}

static uint64_t on_remaining_ms(const ticket_call *call) {
   const host *const h = of(call);
   return h->now != NULL && h->now->time_for > 0 && h->requests >= h->now->time_for ? 100 : 30000;
}

/* All headers, a line each, their names in lower case. */
static char *lines_of(const ticket_http_request *request) {
   char *all = NULL;
   for (uint32_t i = 0; i < request->header_count; i++) {
      char *name = NULL, *value = NULL;
      keep(&name, request->headers[i].name);
      keep(&value, request->headers[i].value);
      for (char *c = name; *c != '\0'; c++) if (*c >= 'A' && *c <= 'Z') *c += 'a' - 'A';
      const size_t size = (all != NULL ? strlen(all) : 0) + strlen(name) + strlen(value) + 4;
      char *const more = calloc(1, size);
      if (more == NULL) abort();
      snprintf(more, size, "%s%s: %s\n", all != NULL ? all : "", name, value);
      free(all), free(name), free(value);
      all = more;
   }
   return all;
}

/* The exchange of this request: the first of the case that no request had yet. NULL, and the test fails, if the
 * case has none, or another one. */
static const exchange *next_exchange(host *h, const ticket_http_request *request) {
   char *method = NULL, *url = NULL;
   keep(&method, request->method);
   keep(&url, request->url);
   const exchange *next = h->now != NULL && h->requests < MOST_EXCHANGES ? &h->now->exchanges[h->requests] : NULL;
   if (next != NULL && next->url == NULL) next = NULL;
   h->requests++;
   need(next == NULL || next->flags == request->flags, "request %d: expected the flags %u, got %u", h->requests, next != NULL ? (unsigned)next->flags : 0, (unsigned)request->flags);
   need(next != NULL, "request %d: expected none, got %s %s", h->requests, method, url);
   if (next != NULL && (strcmp(next->method, method) != 0 || strcmp(next->url, url) != 0)) {
      need(0, "request %d: expected %s %s, got %s %s", h->requests, next->method, next->url, method, url);
      next = NULL;
   }
   free(method), free(url);
   return next;
}

static int32_t on_http(const ticket_call *call, const ticket_http_request *request, ticket_http_response *response) {
   host *const h = of(call);
   const exchange *const now = next_exchange(h, request);
   keep(&h->sent, request->body);
   free(h->headers);
   h->headers = lines_of(request);
   if (now == NULL || request->size < sizeof *request || response->size < sizeof *response) return TICKET_HTTP_DENIED;
   char **const answer = &h->given[h->requests - 1].answer;
   ticket_header *const headers = h->given[h->requests - 1].headers;
   keep(answer, text(now->answer));
   headers[0] = (ticket_header){text("content-type"), text("application/json")};
   headers[1] = (ticket_header){text("retry-after"), text(now->retry_after)};
   response->body = text(*answer);
   response->headers = headers;
   if (now->sent == TICKET_HTTP_OK) {
      response->status = now->status;
      response->header_count = now->retry_after != NULL ? 2 : 1;
   }
   return now->sent;
}

static int is(ticket_str s, const char *word) { return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0; }

static int32_t on_render(const ticket_call *call, ticket_str part, ticket_str format, ticket_str extra, ticket_str *out) {
   const host *const h = of(call);
   const char *const text_of_case = h->now != NULL ? h->now->text : NULL;
   *out = text(NULL);
   if (is(format, is(part, "title") ? "text" : "markdown") && extra.len >= 2 && extra.ptr[0] == '{') {
      if (is(part, "title")) return *out = text(h->title), TICKET_OK;
      if (is(part, "body")) return *out = text(h->body), TICKET_OK;
      if (is(part, "comment")) return *out = text(text_of_case != NULL ? text_of_case : "it \"changed\""), TICKET_OK;
      if (is(part, "closing")) return *out = text(text_of_case != NULL ? text_of_case : "it is over"), TICKET_OK;
   }
   *out = text("no such part or format");
   return TICKET_PLUGIN_ERROR;
}

static host *new_host(void) {
   host *const h = calloc(1, sizeof *h);
   if (h == NULL) abort();
   h->call = (ticket_call){sizeof h->call, 0, h, on_reply, on_log, on_remaining_ms, on_http, on_render};
   h->title = "say \"\xc3\xb8\"";
   keep(&h->body, text("one\\\n\ttwo \x01"));
   return h;
}

static void free_host(host *h) {
   for (int i = 0; i < MOST_EXCHANGES; i++) free(h->given[i].answer);
   free(h->body), free(h->headers), free(h->sent), free(h->reply);
   free(h);
}

/* ---- What is expected of replies and requests ---- */

static void need_in(const char *what, const char *json, const char *expected) {
   char *const p = plain(json != NULL ? json : "");
   need(strstr(p, expected) != NULL, "%s: expected %s in it, got %.300s", what, expected, p);
   free(p);
}

static void need_code(const host *h, int32_t code, int32_t expected) {
   need(code == expected, "expected the code %d, got %d with the reply %.200s", (int)expected, (int)code, h->reply != NULL ? h->reply : "(none)");
   need(!h->told, "expected the token in no reply and no log line");
}

static const ticket_plugin *plugin;

static int32_t open_with(host *h, ticket_str settings, void **instance) {
   char *given = NULL;
   keep(&given, settings);
   const int32_t code = plugin->open(&h->call, (ticket_str){(const uint8_t *)given, settings.len}, instance);
   memset(given, '#', settings.len); /* it was only borrowed */
   free(given);
   return code;
}

/* What the function returns that the case is about. */
static int32_t play(host *h, void *instance, const struct test_case *c, ticket_str request) {
   const ticket_call *const call = &h->call;
   h->now = c;
   h->requests = h->told = 0;
   free(h->reply);
   h->reply = NULL;
   switch (c->function) {
      case CHECK:     return plugin->check(instance, call);
      case CREATE:    return plugin->create(instance, call, request);
      case FIND:      return plugin->find(instance, call, request);
      case FIND_MANY: return plugin->find_many(instance, call, request);
      case UPDATE:    return plugin->update(instance, call, request);
      case STATE:     return plugin->state(instance, call, request);
      case RECEIVE:   return plugin->receive(instance, call, request, text(c->body));
   }
   return TICKET_UNSUPPORTED;
}

static void need_requests(const host *h) {
   int expected = 0;
   while (expected < MOST_EXCHANGES && h->now->exchanges[expected].url != NULL) expected++;
   need(h->requests == expected, "expected %d request(s), got %d", expected, h->requests);
}

/* ---- The tests ---- */

static void test_manifest(const ticket_plugin *(*entry)(uint32_t)) {
   need(entry(TICKET_PLUGIN_ABI_VERSION + 1) == NULL, "expected NULL for a host of another ABI version");
   need(plugin->size >= sizeof *plugin && plugin->abi_version == TICKET_PLUGIN_ABI_VERSION, "expected a whole table of ABI version 1");
   need(plugin->open && plugin->close && plugin->check && plugin->create && plugin->find, "expected the five functions that are as old as the ABI");
   need(plugin->find_many && plugin->update && plugin->state, "expected find_many, update and state");
   char *manifest = NULL;
   keep(&manifest, plugin->manifest);
   need_in("the manifest", manifest, "\"name\":\"{{name}}\"");
   need_in("the manifest", manifest, "\"required\":[\"token\"]");
   need_in("the manifest", manifest, "\"required\":[\"project\"]");
   need_in("the manifest", manifest, "\"actions\":[\"comment\",\"close\",\"reopen\"]");
   need_in("the manifest", manifest, "\"marks\":true");
   free(manifest);
   done("the manifest is there");
}

static void test_open(void) {
   static const char *const bad[] = {
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": {}}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": {\"project\": 7}}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": {\"project\": \"\"}}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", \"information\": [\"project\"]}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {}, " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {\"token\": [\"" TOKEN "\"]}, " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {\"token\": null}, " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", \"secret\": \"" TOKEN "\", " INFORMATION "}",
      "{" SECRET ", " INFORMATION "}",
      "{\"endpoint\": \"" ENDPOINT "\", " SECRET ", " INFORMATION, /* cut */
      "[]", "null", "\"", "\xff", "",
   };
   host *const h = new_host();
   void *instance = NULL;
   for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
      const int32_t code = open_with(h, text(bad[i]), &instance);
      need(code == TICKET_SETTINGS_ERROR, "expected the code 1 of %s, got %d", bad[i], (int)code);
      need_code(h, code, TICKET_SETTINGS_ERROR);
      need_in(bad[i], h->reply, "\"message\":\"");
   }
   need_code(h, plugin->open(&h->call, (ticket_str){NULL, 0}, &instance), TICKET_SETTINGS_ERROR);
   done("open refuses settings without token or project");
   need_code(h, open_with(h, text(SETTINGS), &instance), TICKET_OK);
   need(h->requests == 0, "expected no request, got %d", h->requests);
   if (wrong[0] == '\0') plugin->close(instance);
   done("open ignores unknown members, and asks nothing");
   free_host(h);
}

static void test_request(void *instance) {
   static const struct test_case create = {.function = CREATE, .exchanges = {{POST, .status = 201, .answer = TICKET("7", "x")}}};
   host *const h = new_host();
   need_code(h, play(h, instance, &create, text(REQUEST)), TICKET_OK);
   need_in("headers", h->headers, "authorization:Bearer" TOKEN);
   need_in("headers", h->headers, "content-type:application/json");
   need_in("the body", h->sent, "\"project\":\"R&D \xc3\xb8\"");
   need_in("the body", h->sent, "\"title\":\"say '\xc3\xb8'\"");
   need_in("the body", h->sent, "\"body\":\"one\\|");
   need_in("the body", h->sent, "two \x01\"");
   need_in("the body", h->sent, "\"key\":\"k/1 +&='\xc3\xb8\xf0\x9f\x98\x80\"");
   done("create sends project, title, body and key");

   void *other = NULL;
   need_code(h, open_with(h, text("{\"endpoint\": \"" ENDPOINT "\", " SECRET ", " INFORMATION "}"), &other), TICKET_OK);
   need_code(h, play(h, other, &create, text(REQUEST)), TICKET_OK);
   need_requests(h);
   if (other != NULL) plugin->close(other);
   done("the endpoint may end in a slash, or not");

   h->title = NULL; /* an empty text without a pointer */
   need_code(h, play(h, instance, &create, text(REQUEST)), TICKET_OK);
   need_in("the body", h->sent, "\"title\":\"\"");
   done("an empty title");

   enum { HUGE_BODY = 3 << 20 };
   char *const huge = malloc(HUGE_BODY + 1);
   if (huge == NULL) abort();
   memset(huge, '"', HUGE_BODY);
   memcpy(huge + HUGE_BODY - 3, "end", 4);
   keep(&h->body, text(huge));
   need_code(h, play(h, instance, &create, text(REQUEST)), TICKET_OK);
   need_in("the body", h->sent, "'''end\"");
   need(h->sent != NULL && strlen(h->sent) > HUGE_BODY, "expected all of it");
   done("a huge body is sent whole");

   memset(huge, '[', HUGE_BODY);
   const struct test_case find = {.function = FIND, .exchanges = {{SEARCH, .status = 200, .answer = huge}}};
   need_code(h, play(h, instance, &find, text(REQUEST)), TICKET_PLUGIN_ERROR);
   done("a deep answer is an error");
   free(huge);
   free_host(h);
}

static void test_bad_requests(void *instance) {
   static const char *const bad[] = {
      "", "{", "[]", "null", "{}", "{\"key\": 7}", "{\"key\": \"a", "\xff", "{\"keys\": {}, \"tickets\": {}, \"ticket\": [], \"step\": []}",
      "{\"keys\": [7], \"tickets\": 7, \"ticket\": {\"url\": 7}, \"step\": {\"id\": \"s\", \"action\": \"close\"}}",
   };
   static const struct test_case functions[] = {{.function = CREATE}, {.function = FIND}, {.function = FIND_MANY}, {.function = UPDATE}, {.function = STATE}};
   enum { FUNCTIONS = sizeof functions / sizeof *functions };
   host *const h = new_host();
   for (size_t i = 0; i < FUNCTIONS * sizeof bad / sizeof *bad; i++) {
      const char *const request = bad[i / FUNCTIONS];
      need_code(h, play(h, instance, &functions[i % FUNCTIONS], text(*request != '\0' ? request : NULL)), TICKET_PLUGIN_ERROR);
      need_requests(h);
      need_in(request, h->reply, "\"message\":\"");
   }
   done("a request without what it is about is an error");
   free_host(h);
}

static long resident_pages(void) {
   long all = 0, resident = 0;
   FILE *const file = fopen("/proc/self/statm", "r");
   if (file == NULL) return 0;
   if (fscanf(file, "%ld %ld", &all, &resident) != 2) resident = 0;
   fclose(file);
   return resident;
}

static void test_leaks(void) {
   static char settings[5000];
   host *const h = new_host();
   char token[4001];
   memset(token, 't', sizeof token - 1);
   token[sizeof token - 1] = '\0';
   snprintf(settings, sizeof settings, "{\"endpoint\": \"" ENDPOINT "\", \"secret\": {\"token\": \"%s\"}, " INFORMATION "}", token);
   long before = 0;
   for (int i = 0; i < 11000; i++) {
      void *instance = NULL;
      if (i == 1000) before = resident_pages();
      need_code(h, open_with(h, text(settings), &instance), TICKET_OK);
      if (instance != NULL) plugin->close(instance);
   }
   const long grown = (resident_pages() - before) * (sysconf(_SC_PAGESIZE) / 1024);
   need(grown < 20 * 1024, "expected no growth, got %ld KiB more after 10000 instances of 4 KiB", grown);
   done("open and close 10,000 times");
   free_host(h);
}

static void *one_thread(void *unused) {
   static const struct test_case find = {.function = FIND, .exchanges = {{SEARCH, .status = 200, .answer = "[" TICKET("1", "k/1") ", " TICKET("3", KEY) "]"}}};
   host *const h = new_host();
   void *instance = NULL;
   int right = 0;
   (void)unused;
   if (open_with(h, text(SETTINGS), &instance) == TICKET_OK) {
      for (int i = 0; i < 200; i++)
         right += play(h, instance, &find, text(REQUEST)) == TICKET_OK && h->reply != NULL && strstr(h->reply, "/t/3") != NULL;
      plugin->close(instance);
   }
   free_host(h);
   return right == 200 ? NULL : "wrong";
}

static void test_threads(void) {
   pthread_t threads[4];
   int started = 0;
   while (started < 4 && pthread_create(&threads[started], NULL, one_thread, NULL) == 0) started++;
   for (int i = 0; i < started; i++) {
      void *result = NULL;
      pthread_join(threads[i], &result);
      need(result == NULL, "expected the right ticket 200 times");
   }
   done("four instances at the same time");
}

int main(int count, char **arguments) {
   if (count != 2) return fprintf(stderr, "usage: %s ./libticket_plugin_{{ident}}.so\n", arguments[0]), 2;
   void *const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
   if (library == NULL) return fprintf(stderr, "%s\n", dlerror()), 1;
   const ticket_plugin *(*entry)(uint32_t) = NULL;
   *(void **)&entry = dlsym(library, "ticket_plugin_entry");
   plugin = entry != NULL ? entry(TICKET_PLUGIN_ABI_VERSION) : NULL;
   if (plugin == NULL) return fprintf(stderr, "%s: expected a table of ticket_plugin_entry\n", arguments[1]), 1;

   test_manifest(entry);
   if (failures > 0) return 1; /* what is missing can't be called */
   test_open();
   host *const h = new_host();
   void *instance = NULL;
   if (open_with(h, text(SETTINGS), &instance) != TICKET_OK) return fprintf(stderr, "expected an instance\n"), 1;
   test_request(instance);
   for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      const struct test_case *const c = &cases[i];
      if (c->function == RECEIVE && plugin->receive == NULL) continue; /* it doesn't do that */
      need_code(h, play(h, instance, c, text(c->request != NULL ? c->request : REQUEST)), c->code);
      need_requests(h);
      for (int i = 0; i < 2; i++) {
         if (c->reply[i] != NULL) need_in("the reply", h->reply, c->reply[i]);
         if (c->sent[i] != NULL) need_in("the last request", h->sent, c->sent[i]);
      }
      done(c->name);
   }
   test_bad_requests(instance);
   plugin->close(instance);
   free_host(h);
   test_leaks();
   test_threads();
   printf(failures == 0 ? "all as expected\n" : "%d failed\n", failures);
   return failures == 0 ? 0 : 1;
}
