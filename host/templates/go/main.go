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
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

const (
	shownBytes  = 200          // of an answer, in an error
	longestWait = 24 * 60 * 60 // seconds
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
}

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
	a := b.ask(call, "GET", "/projects/"+escape(b.project), nil)
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
		return nil, b.failed(a, false)
	}
	return map[string]any{"checks": []any{line}}, nil
}

func (b *backend) create(call *C.ticket_call, key string) (any, error) {
	title, err := render(call, "title", "text")
	if err != nil {
		return nil, err
	}
	body, err := render(call, "body", "markdown")
	if err != nil {
		return nil, err
	}
	request, err := json.Marshal(map[string]string{"project": b.project, "title": title, "body": body, "key": key})
	if err != nil {
		return nil, err
	}
	a := b.ask(call, "POST", "/tickets", request)
	made, _, ok := ticketOf(parse(a.body))
	if !ok || (a.status != 200 && a.status != 201) {
		return nil, b.failed(a, true)
	}
	return made, nil
}

// The API's search may find more than the key, so each ticket's key is compared. nil: certainly none.
func (b *backend) find(call *C.ticket_call, key string) (any, error) {
	a := b.ask(call, "GET", "/tickets?key="+escape(key), nil)
	list, ok := parse(a.body).([]any)
	if !ok || a.status != 200 {
		return nil, b.failed(a, false)
	}
	for _, item := range list {
		found, its, ok := ticketOf(item)
		if !ok || its == nil {
			return nil, b.failed(a, false)
		}
		if its == key {
			return found, nil
		}
	}
	return nil, nil
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

// One exchange with the ticket system.
func (b *backend) ask(call *C.ticket_call, method, path string, body []byte) answer {
	headers := []header{{"authorization", "Bearer " + b.token}}
	if len(body) > 0 {
		headers = append(headers, header{"content-type", "application/json"})
	}
	return exchange(call, method, b.endpoint+path, headers, body)
}

// One HTTP exchange, with at most C.MOST_HEADERS headers.
func exchange(call *C.ticket_call, method, url string, headers []header, body []byte) answer {
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
	sent := C.call_http(call, lend([]byte(method)), lend([]byte(url)), lend(texts), &lengths[0], C.uint32_t(len(headers)), lend(body), &r)
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

// The error that an exchange stands for. creates: the ticket may exist where no clear answer came.
func (b *backend) failed(a answer, creates bool) error {
	unclear := map[bool]string{true: "unknown", false: "later"}[creates]
	f := &failure{code: C.TICKET_PLUGIN_ERROR, Retry: "never", Message: b.said(a)}
	switch {
	case a.sent == C.TICKET_HTTP_DENIED || a.status == 401 || a.status == 403 || a.status == 404 || a.status == 410:
		f.code = C.TICKET_SETTINGS_ERROR
	case a.sent == C.TICKET_HTTP_NOT_SENT || a.sent == C.TICKET_HTTP_DRY_RUN ||
		a.status == 408 || a.status == 425 || a.status == 429 || a.status == 503:
		f.code, f.Retry = C.TICKET_CLIENT_ERROR, "later"
		seconds, err := strconv.ParseUint(a.headers["retry-after"], 10, 64) // a date: the host looks at that itself
		if err == nil || errors.Is(err, strconv.ErrRange) {
			if seconds > longestWait {
				seconds = longestWait
			}
			seconds *= 1000
			f.RetryAfterMS = &seconds
		}
	case a.sent != C.TICKET_HTTP_OK || a.status >= 500:
		f.code, f.Retry = C.TICKET_CLIENT_ERROR, unclear
	case a.status >= 400:
		f.code = C.TICKET_CREATION_ERROR
	default:
		f.Message = "not what the API documents: " + f.Message
		if creates {
			f.Retry = unclear
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
	if err != nil {
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

// What create and find do for the request's key.
func ticketFor(call *C.ticket_call, request C.ticket_str, function func(*C.ticket_call, string) (any, error)) (any, error) {
	key, ok := object(parse(copied(request)))["key"].(string)
	if !ok {
		return nil, fail(C.TICKET_PLUGIN_ERROR, "never", "the host's request has no key")
	}
	return function(call, key)
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

//export goCreate
func goCreate(instance C.uintptr_t, call *C.ticket_call, request C.ticket_str) C.int32_t {
	return guarded(call, "unknown", func() (any, error) { return ticketFor(call, request, of(instance).create) })
}

//export goFind
func goFind(instance C.uintptr_t, call *C.ticket_call, request C.ticket_str) (code C.int32_t) {
	none := false
	code = guarded(call, "later", func() (any, error) {
		found, err := ticketFor(call, request, of(instance).find)
		none = found == nil && err == nil
		return found, err
	})
	if none {
		return C.TICKET_NOT_FOUND
	}
	return code
}

func main() {}
