/* SPDX-License-Identifier: MIT-0 */
/* What plugin.c has for main.go. */
#ifndef PLUGIN_H
#define PLUGIN_H
#include "include/ticket_plugin.h"

/* The functions that have a request. */
enum { CREATE, FIND, FIND_MANY, UPDATE, STATE };

void call_reply(const ticket_call *call, ticket_str json);
/* `lengths` has those of each header's name and value; `headers` has all these texts, one after the other. */
enum { MOST_HEADERS = 32 };
int32_t call_http(const ticket_call *call, uint32_t flags, ticket_str method, ticket_str url, ticket_str headers, const size_t *lengths,
                  uint32_t header_count, ticket_str body, ticket_http_response *response);
uint64_t call_remaining_ms(const ticket_call *call);
int32_t call_render(const ticket_call *call, ticket_str part, ticket_str format, ticket_str extra, ticket_str *out);
#endif
