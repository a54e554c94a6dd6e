// SPDX-License-Identifier: MIT-0

// {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one.
package main

// #include "plugin.h"
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"runtime/cgo"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

const (
	shownBytes  = 200          // of an answer, in an error
	longestWait = 24 * 60 * 60 // seconds

	timeForAPage = 5000     // milliseconds
	mostBytes    = 32 << 20 // of one call's pages
)

type backend struct{ endpoint, token, project string }

type ticket struct {
	URL string `json:"url"`
	ID  string `json:"id"`
}

// What a call fails with. Retry is "unknown" if the ticket may exist, else "never" or "later".
type failure struct {
	code         C.int32_t
	Message      string  `json:"message"`
	Retry        string  `json:"retry"`
	RetryAfterMS *uint64 `json:"retry_after_ms,omitempty"`
	Partial      bool    `json:"partial,omitempty"` // a step's comment is on the ticket, and the rest isn't done
}

// What find and update return for TICKET_NOT_FOUND: certainly none; and update for TICKET_UNSUPPORTED.
var (
	errNotFound    = errors.New("not found")
	errUnsupported = errors.New("unsupported")
)

func (f *failure) Error() string { return f.Message }

func fail(code C.int32_t, retry, message string) error {
	return &failure{code: code, Retry: retry, Message: message}
}

// ---- The plugin ----

func open(settings string) (*backend, error) {
	all := object(parse(settings))
	secret, information := object(all["secret"]), object(all["information"])
	b := &backend{strings.TrimRight(text(all["endpoint"]), "/"), text(secret["token"]), text(information["project"])}
	for _, setting := range []struct{ name, value string }{
		{"the endpoint", b.endpoint}, {"secret.token", b.token}, {"information.project", b.project},
	} {
		if setting.value == "" {
			return nil, fail(C.TICKET_SETTINGS_ERROR, "never", setting.name+" is missing, or is no text")
		}
	}
	return b, nil
}

func (b *backend) check(call *C.ticket_call) (any, error) {
	a := b.ask(call, "GET", "/projects/"+escape(b.project), nil, 0)
	line := map[string]any{"name": "project", "ok": false, "message": b.said(a)}
	switch a.status {
	case 200:
		line["help"] = "this is no project: is the endpoint the URL of the API?"
		if object(parse(a.body)) != nil {
			line = map[string]any{"name": "project", "ok": true, "message": "reachable, authenticated, and the project exists"}
		}
	case 401:
		line["help"] = "correct secret.token"
	case 403:
		line["help"] = "give the token's user access to the project"
	case 404:
		line["help"] = "correct information.project, or the endpoint"
	default:
		return nil, b.failed(a, reads)
	}
	return map[string]any{"checks": []any{line}}, nil
}

func (b *backend) create(call *C.ticket_call, request map[string]any) (any, error) {
	key, ok := request["key"].(string)
	if !ok {
		return nil, badRequest("key")
	}
	title, err := render(call, "title", "text")
	if err != nil {
		return nil, err
	}
	body, err := render(call, "body", "markdown")
	if err != nil {
		return nil, err
	}
	a := b.ask(call, "POST", "/tickets", map[string]string{"project": b.project, "title": title, "body": body, "key": key}, 0)
	made, _, ok := ticketOf(parse(a.body))
	if !ok || (a.status != 200 && a.status != 201) {
		return nil, b.failed(a, writes)
	}
	return made, nil
}

// The API's search may find more than the key, so each ticket's key is compared. It lists tickets of every state.
func (b *backend) find(call *C.ticket_call, request map[string]any) (any, error) {
	key, ok := request["key"].(string)
	if !ok {
		return nil, badRequest("key")
	}
	a := b.ask(call, "GET", "/tickets?key="+escape(key)+since(request), nil, 0)
	tickets, ok := list(a)
	if !ok {
		return nil, b.failed(a, reads)
	}
	for _, item := range tickets {
		found, its, ok := ticketOf(item)
		if !ok || its == nil {
			return nil, b.failed(a, reads)
		}
		if its == key {
			return found, nil
		}
	}
	return nil, errNotFound
}

// `&since=...` for a ticket that is no older than "not_before": the day before leaves room for clocks. Without one all are read.
func since(wanted map[string]any) string {
	at, err := time.Parse(time.RFC3339, text(wanted["not_before"]))
	if err != nil {
		return ""
	}
	return "&since=" + at.UTC().AddDate(0, 0, -1).Format("2006-01-02")
}

type found struct {
	Key    string `json:"key"`
	Ticket ticket `json:"ticket"`
}

type foundMany struct {
	Found        []found  `json:"found"`
	None         []string `json:"none"`
	Cursor       string   `json:"cursor,omitempty"`
	RetryAfterMS *uint64  `json:"retry_after_ms,omitempty"`
}

// One listing by time of creation for all keys, until they are found, it is at its end, the call should end, or a page doesn't come.
func (b *backend) findMany(call *C.ticket_call, request map[string]any) (any, error) {
	keys, _ := request["keys"].([]any)
	missing := map[string]bool{}
	for _, wanted := range keys {
		key, ok := object(wanted)["key"].(string)
		if !ok {
			return nil, badRequest("key")
		}
		missing[key] = true
	}
	if len(missing) == 0 {
		return nil, badRequest("keys")
	}
	from := since(object(keys[0])) // of the key whose ticket can be the oldest
	reply, after, bytes := foundMany{Found: []found{}, None: []string{}}, text(request["cursor"]), 0
	for first := true; len(missing) > 0; first = false {
		if !first && (C.call_remaining_ms(call) < timeForAPage || bytes > mostBytes) {
			reply.Cursor = after
			return reply, nil
		}
		a := b.ask(call, "GET", "/tickets?sort=created&after="+escape(after)+from, nil, 0)
		page, ok := list(a)
		if !ok {
			if first {
				return nil, b.failed(a, reads)
			}
			reply.Cursor, reply.RetryAfterMS = after, a.retryAfterMS()
			return reply, nil
		}
		if len(page) == 0 {
			break
		}
		bytes += len(a.body)
		for _, item := range page {
			t, its, ok := ticketOf(item)
			if !ok || t.ID == "" {
				return nil, b.failed(a, reads)
			}
			after = t.ID
			if key := text(its); missing[key] { // the first one is the oldest
				reply.Found = append(reply.Found, found{key, t})
				delete(missing, key)
			}
		}
	}
	for key := range missing {
		reply.None = append(reply.None, key)
	}
	sort.Strings(reply.None)
	return reply, nil
}

// What the API knows of these tickets, by their URLs. A POST, since there can be many, and yet it changes nothing.
func (b *backend) lookUp(call *C.ticket_call, urls []string) (map[string]map[string]any, error) {
	a := b.ask(call, "POST", "/lookup", map[string][]string{"urls": urls}, C.TICKET_HTTP_CHANGES_NOTHING)
	tickets, ok := list(a)
	if !ok {
		return nil, b.failed(a, reads)
	}
	byURL := map[string]map[string]any{}
	for _, item := range tickets {
		byURL[text(object(item)["url"])] = object(item)
	}
	return byURL, nil
}

// The host's word for the state of a ticket as the API shows it, or "".
func (b *backend) stateOf(ticket map[string]any) string {
	if project, ok := ticket["project"].(string); ok && project != b.project {
		return "foreign"
	}
	return map[string]string{
		"open": "open", "waiting": "open", "resolved": "closed", "rejected": "cancelled", "deleted": "gone",
	}[text(ticket["state"])]
}

// A ticket that the API doesn't show, or by a word that this plugin doesn't know, is left out.
func (b *backend) state(call *C.ticket_call, request map[string]any) (any, error) {
	var urls []string
	tickets, _ := request["tickets"].([]any)
	for _, ticket := range tickets {
		urls = append(urls, text(object(ticket)["url"]))
	}
	if len(urls) == 0 {
		return nil, badRequest("tickets")
	}
	shown, err := b.lookUp(call, urls)
	if err != nil {
		return nil, err
	}
	told := []any{}
	for _, url := range urls {
		if word := b.stateOf(shown[url]); word != "" {
			told = append(told, status{url, word, text(shown[url]["state"])})
		}
	}
	return map[string]any{"tickets": told}, nil
}

type status struct {
	URL    string `json:"url"`
	State  string `json:"state"`
	Detail string `json:"detail"`
}

type step struct {
	Done  bool   `json:"done"`
	State string `json:"state"`
}

func (b *backend) update(call *C.ticket_call, request map[string]any) (any, error) {
	todo := object(request["step"])
	url, mark, action := text(object(request["ticket"])["url"]), text(todo["id"]), text(todo["action"])
	if url == "" || mark == "" {
		return nil, badRequest("ticket, or no step")
	}
	part, known := map[string]string{"comment": "comment", "close": "closing", "reopen": "comment"}[action]
	if !known {
		return nil, errUnsupported
	}
	shown, err := b.lookUp(call, []string{url})
	if err != nil {
		return nil, err
	}
	was, id := b.stateOf(shown[url]), text(shown[url]["id"])
	switch {
	case was == "gone":
		return nil, errNotFound
	case was == "foreign":
		return step{false, was}, nil
	case was == "" || id == "":
		return nil, fail(C.TICKET_CREATION_ERROR, "never", "the ticket system doesn't show this ticket, or not its state: may the token see it?")
	}
	path, written := "/tickets/"+escape(id), false // the step's comment: by an earlier try, or by this one
	if request["again"] == true {
		if written, err = b.hasMark(call, path, mark); err != nil {
			return nil, err
		}
	}
	if (was == "open") == (action == "reopen") { // as wanted; of "comment": it is closed
		return step{written, was}, nil // not written: a person was there before
	}
	if !written {
		if written, err = b.writeComment(call, path, part, mark); err != nil {
			return nil, err
		}
	}
	if action == "comment" {
		return step{true, was}, nil
	}
	return b.changeState(call, path, action, todo["fields"], written)
}

// Whether a comment with this mark is on the ticket. All pages are read, until one is empty.
func (b *backend) hasMark(call *C.ticket_call, path, mark string) (bool, error) {
	after := ""
	for {
		a := b.ask(call, "GET", path+"/comments?after="+escape(after), nil, 0)
		comments, ok := list(a)
		if !ok {
			return false, b.failed(a, reads)
		}
		for _, item := range comments {
			comment := object(item)
			if after = text(comment["id"]); after == "" {
				return false, b.failed(a, reads)
			}
			if text(comment["mark"]) == mark {
				return true, nil
			}
		}
		if len(comments) == 0 {
			return false, nil
		}
	}
}

// Writes what the operator's template says, with the mark where only the API shows it; nothing, and false, if that is empty.
func (b *backend) writeComment(call *C.ticket_call, path, part, mark string) (bool, error) {
	words, err := render(call, part, "markdown")
	if err != nil || words == "" {
		return false, err
	}
	a := b.ask(call, "POST", path+"/comments", map[string]string{"text": words, "mark": mark}, 0)
	if (a.status != 200 && a.status != 201) || object(parse(a.body)) == nil {
		return false, b.failed(a, writes)
	}
	return true, nil
}

// The step's second half. written: its comment is on the ticket.
func (b *backend) changeState(call *C.ticket_call, path, action string, fields any, written bool) (any, error) {
	change := map[string]any{"state": map[string]string{"close": "resolved", "reopen": "open"}[action]}
	if fields != nil {
		change["fields"] = fields
	}
	a := b.ask(call, "PATCH", path, change, 0)
	now := b.stateOf(object(parse(a.body)))
	asWanted := now == "closed" || now == "cancelled"
	if action == "reopen" {
		asWanted = now == "open"
	}
	if a.status != 200 || !asWanted {
		return nil, b.failed(a, map[bool]effect{true: writesTheRest, false: writes}[written])
	}
	return step{true, now}, nil
}

func badRequest(what string) error {
	return fail(C.TICKET_PLUGIN_ERROR, "never", "the host's request has no "+what)
}

// A ticket as the API shows it, and its key.
func ticketOf(value any) (t ticket, key any, ok bool) {
	members := object(value)
	id, ok := members["id"].(string)
	t = ticket{URL: text(members["url"]), ID: id}
	return t, members["key"], ok && t.URL != ""
}

type header struct{ name, value string }

// An answer, or why there is none (status 0).
type answer struct {
	sent    C.int32_t
	status  int
	body    string
	headers map[string]string // by their names in lower case
}

// The list that an answer is.
func list(a answer) ([]any, bool) {
	items, ok := parse(a.body).([]any)
	return items, ok && a.status == 200
}

// One exchange with the ticket system; body becomes JSON.
func (b *backend) ask(call *C.ticket_call, method, path string, body any, flags C.uint32_t) answer {
	headers := []header{{"authorization", "Bearer " + b.token}}
	if body == nil {
		return exchange(call, flags, method, b.endpoint+path, headers, nil)
	}
	sent, err := json.Marshal(body)
	if err != nil {
		return answer{sent: C.TICKET_HTTP_NOT_SENT, body: err.Error()}
	}
	headers = append(headers, header{"content-type", "application/json"})
	return exchange(call, flags, method, b.endpoint+path, headers, sent)
}

// One HTTP exchange, with at most C.MOST_HEADERS headers.
func exchange(call *C.ticket_call, flags C.uint32_t, method, url string, headers []header, body []byte) answer {
	if len(headers) > C.MOST_HEADERS {
		return answer{sent: C.TICKET_HTTP_DENIED, body: "a request with too many headers"}
	}
	var texts []byte
	var lengths [2 * C.MOST_HEADERS]C.size_t
	for i, h := range headers {
		texts = append(append(texts, h.name...), h.value...)
		lengths[2*i], lengths[2*i+1] = C.size_t(len(h.name)), C.size_t(len(h.value))
	}
	var r C.ticket_http_response
	sent := C.call_http(call, flags, lend([]byte(method)), lend([]byte(url)), lend(texts), &lengths[0], C.uint32_t(len(headers)), lend(body), &r)
	a := answer{sent: sent, body: copied(r.body), headers: map[string]string{}}
	if sent == C.TICKET_HTTP_OK {
		a.status = int(r.status)
		for _, h := range unsafe.Slice(r.headers, int(r.header_count)) {
			a.headers[copied(h.name)] = copied(h.value)
		}
	}
	return a
}

// What an exchange says for itself: the begin of the answer, unless that has the token.
func (b *backend) said(a answer) string {
	begin := "no answer: "
	switch {
	case a.sent == C.TICKET_HTTP_DRY_RUN:
		return "a dry run: the request was not sent"
	case a.sent == C.TICKET_HTTP_OK:
		begin = fmt.Sprintf("the ticket system answered %d: ", a.status)
	}
	if strings.Contains(a.body, b.token) {
		return begin + "(an answer with the token in it)"
	}
	if len(a.body) > shownBytes {
		a.body = a.body[:shownBytes]
	}
	return begin + strings.ToValidUTF8(a.body, "")
}

// What a request does. What writes may have been carried out where no clear answer came; with writesTheRest a step's comment is
// on the ticket already.
type effect int

const (
	reads effect = iota
	writes
	writesTheRest
)

// Its Retry-After in seconds; a day at most. nil: none, or a date, at which the host looks itself.
func (a answer) retryAfterMS() *uint64 {
	seconds, err := strconv.ParseUint(a.headers["retry-after"], 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil
	}
	if seconds > longestWait {
		seconds = longestWait
	}
	seconds *= 1000
	return &seconds
}

// The error that an exchange stands for.
func (b *backend) failed(a answer, does effect) error {
	f := &failure{code: C.TICKET_PLUGIN_ERROR, Retry: "never", Message: b.said(a), Partial: does == writesTheRest}
	switch {
	case a.sent == C.TICKET_HTTP_DENIED || a.status == 401 || a.status == 403 || a.status == 404 || a.status == 410:
		f.code = C.TICKET_SETTINGS_ERROR
	case a.sent == C.TICKET_HTTP_NOT_SENT || a.sent == C.TICKET_HTTP_DRY_RUN ||
		a.status == 408 || a.status == 425 || a.status == 429 || a.status == 503:
		f.code, f.Retry = C.TICKET_CLIENT_ERROR, "later"
		f.RetryAfterMS = a.retryAfterMS()
	case a.sent != C.TICKET_HTTP_OK || a.status >= 500:
		f.code, f.Retry = C.TICKET_CLIENT_ERROR, map[bool]string{true: "later", false: "unknown"}[does == reads]
	case a.status >= 400:
		f.code = C.TICKET_CREATION_ERROR
	default:
		f.Message = "not what the API documents: " + f.Message
		if does != reads {
			f.Retry = "unknown"
		}
	}
	return f
}

// ---- JSON and text ----

// nil if it is no JSON. Not into structs: their members match in any case ("URL"), and may be missing.
func parse(s string) (value any) {
	if !utf8.ValidString(s) || json.Unmarshal([]byte(s), &value) != nil {
		return nil
	}
	return value
}

func object(value any) map[string]any {
	members, _ := value.(map[string]any)
	return members
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func render(call *C.ticket_call, part, format string) (string, error) {
	var out C.ticket_str
	code := C.call_render(call, lend([]byte(part)), lend([]byte(format)), lend([]byte("{}")), &out)
	if code != C.TICKET_OK {
		return "", fail(C.TICKET_SETTINGS_ERROR, "never", "the "+part+" can't be rendered: "+copied(out))
	}
	return copied(out), nil
}

// Go's memory for the length of a call into C.
func lend(b []byte) C.ticket_str {
	if len(b) == 0 {
		return C.ticket_str{}
	}
	return C.ticket_str{ptr: (*C.uint8_t)(&b[0]), len: C.size_t(len(b))}
}

func copied(s C.ticket_str) string {
	if s.len == 0 {
		return ""
	}
	return string(unsafe.Slice((*byte)(s.ptr), int(s.len)))
}

// ---- The boundary: no panic gets out of these, and no pointer of Go's stays with the host ----

// The result of function, as a reply; retry is what a panic leaves.
func guarded(call *C.ticket_call, retry string, function func() (any, error)) (code C.int32_t) {
	defer func() {
		if cause := recover(); cause != nil {
			code = answerWith(call, nil, fail(C.TICKET_PLUGIN_ERROR, retry, fmt.Sprint("the plugin panicked: ", cause)))
		}
	}()
	reply, err := function()
	return answerWith(call, reply, err)
}

func answerWith(call *C.ticket_call, reply any, err error) C.int32_t {
	code := C.int32_t(C.TICKET_OK)
	switch err {
	case nil:
	case errNotFound:
		return C.TICKET_NOT_FOUND
	case errUnsupported:
		return C.TICKET_UNSUPPORTED
	default:
		f := &failure{code: C.TICKET_PLUGIN_ERROR, Retry: "never", Message: err.Error()}
		errors.As(err, &f)
		code, reply = f.code, f
	}
	if reply == nil {
		return code
	}
	json, err := json.Marshal(reply)
	if err != nil {
		return C.TICKET_PLUGIN_ERROR
	}
	C.call_reply(call, lend(json))
	return code
}

func of(instance C.uintptr_t) *backend { return cgo.Handle(instance).Value().(*backend) }

//export goOpen
func goOpen(call *C.ticket_call, settings C.ticket_str, instance *C.uintptr_t) C.int32_t {
	return guarded(call, "never", func() (any, error) {
		b, err := open(copied(settings))
		if err == nil {
			*instance = C.uintptr_t(cgo.NewHandle(b))
		}
		return nil, err
	})
}

//export goClose
func goClose(instance C.uintptr_t) {
	defer func() { _ = recover() }()
	cgo.Handle(instance).Delete()
}

//export goCheck
func goCheck(instance C.uintptr_t, call *C.ticket_call) C.int32_t {
	return guarded(call, "later", func() (any, error) { return of(instance).check(call) })
}

//export goAsk
func goAsk(function C.int32_t, instance C.uintptr_t, call *C.ticket_call, request C.ticket_str) C.int32_t {
	retry := "later"
	if function == C.CREATE || function == C.UPDATE {
		retry = "unknown"
	}
	return guarded(call, retry, func() (any, error) {
		b, asked := of(instance), object(parse(copied(request)))
		return map[C.int32_t]func(*C.ticket_call, map[string]any) (any, error){
			C.CREATE: b.create, C.FIND: b.find, C.FIND_MANY: b.findMany, C.UPDATE: b.update, C.STATE: b.state,
		}[function](call, asked)
	})
}

func main() {}
