// SPDX-License-Identifier: MIT-0
//! {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one.

const std = @import("std");
const abi = @import("abi.zig");
const Allocator = std.mem.Allocator;

const manifest =
    \\{"name": "{{name}}", "version": "0.1.0", "description": "Tickets in {{name}}",
    \\ "actions": ["comment", "close", "reopen"], "marks": true,
    \\ "secret_schema": {"type": "object", "required": ["token"], "properties": {"token":
    \\  {"type": "string", "pattern": "^[!-~]+$", "description": "An API token that may create and list tickets"}}},
    \\ "information_schema": {"type": "object", "required": ["project"], "properties": {"project":
    \\  {"type": "string", "minLength": 1, "description": "The project that tickets go to"}}}}
;

const time_for_a_page = 5000; // milliseconds
const most_bytes = 32 << 20; // of one call's pages
const shown_bytes = 200; // of an answer, in an error
const longest_wait = 24 * 60 * 60; // seconds

/// What outlives a call is allocated here; all else in the call's arena.
const lasting = std.heap.c_allocator;

// ---- JSON ----

/// A JSON string. std.json takes a list of numbers for a []const u8 too.
const Text = struct {
    s: []const u8,

    pub fn jsonParse(arena: Allocator, source: anytype, options: std.json.ParseOptions) !Text {
        return switch (try source.nextAllocMax(arena, .alloc_always, options.max_value_len.?)) {
            .allocated_string => |s| .{ .s = s },
            else => error.UnexpectedToken,
        };
    }
};

/// A ticket as the API shows it.
const Ticket = struct { id: Text, url: Text, key: ?Text = null };

/// A ticket as it is looked up, and a comment.
const Shown = struct { url: Text, id: ?Text = null, project: ?Text = null, state: ?Text = null };
const Comment = struct { id: Text, mark: ?Text = null };

/// Of the host's requests. Without a "not_before" nobody knows how old a ticket may be.
const Wanted = struct { key: Text, not_before: ?Text = null };
const Step = struct { id: Text, action: Text, fields: ?std.json.Value = null };

/// null if `json` is not what a T is read from.
fn parse(T: type, arena: Allocator, json: []const u8) error{OutOfMemory}!?T {
    const value = std.json.parseFromSliceLeaky(T, arena, json, .{ .ignore_unknown_fields = true });
    return value catch |cause| if (cause == error.OutOfMemory) error.OutOfMemory else null;
}

// ---- The plugin ----

const Backend = struct {
    arena: std.heap.ArenaAllocator,
    endpoint: []const u8 = "",
    token: []const u8 = "",
    project: []const u8 = "",

    const Settings = struct {
        endpoint: Text,
        secret: struct { token: Text },
        information: struct { project: Text },
    };

    /// What is wrong with the settings, if anything.
    fn open(self: *Backend, settings: []const u8) error{OutOfMemory}!?[]const u8 {
        const all = try parse(Settings, self.arena.allocator(), settings) orelse
            return "endpoint, secret.token or information.project is missing, or is no text";
        self.endpoint = std.mem.trimEnd(u8, all.endpoint.s, "/");
        self.token = all.secret.token.s;
        self.project = all.information.project.s;
        const empty = self.endpoint.len == 0 or self.token.len == 0 or self.project.len == 0;
        return if (empty) "endpoint, secret.token or information.project is empty" else null;
    }

    fn check(self: *Backend, job: Job, _: []const u8) error{OutOfMemory}!i32 {
        const answer = try self.ask(job, "GET", &.{ "/projects/", try escaped(job.arena, self.project) }, "", 0);
        const help = switch (answer.status) {
            200 => "this is no project: is the endpoint the URL of the API?",
            401 => "correct secret.token",
            403 => "give the token's user access to the project",
            404 => "correct information.project, or the endpoint",
            else => return self.failed(job, answer, .reads),
        };
        if (answer.status == 200 and try parse(struct {}, job.arena, answer.body) != null) {
            const message = "reachable, authenticated, and the project exists";
            try job.reply(.{ .checks = .{.{ .name = "project", .ok = true, .message = message }} });
        } else {
            const message = try self.said(job, answer);
            try job.reply(.{ .checks = .{.{ .name = "project", .ok = false, .message = message, .help = help }} });
        }
        return abi.ok;
    }

    fn create(self: *Backend, job: Job, request: []const u8) error{OutOfMemory}!i32 {
        const key = (try asked(Wanted, job, request) orelse return abi.plugin_error).key.s;
        const title = try job.render("title", "text") orelse return abi.settings_error;
        const body = try job.render("body", "markdown") orelse return abi.settings_error;
        const ticket = .{ .project = self.project, .title = title, .body = body, .key = key };
        const answer = try self.ask(job, "POST", &.{"/tickets"}, try job.json(ticket), 0);
        const made = try parse(Ticket, job.arena, answer.body);
        if (made == null or made.?.url.s.len == 0 or (answer.status != 200 and answer.status != 201))
            return self.failed(job, answer, .writes);
        try job.reply(.{ .url = made.?.url.s, .id = made.?.id.s });
        return abi.ok;
    }

    /// The API's search may find more than the key, so each ticket's key is compared. It lists tickets of every state.
    fn find(self: *Backend, job: Job, request: []const u8) error{OutOfMemory}!i32 {
        const wanted = try asked(Wanted, job, request) orelse return abi.plugin_error;
        const path = .{ "/tickets?key=", try escaped(job.arena, wanted.key.s), try since(job.arena, wanted) };
        const answer = try self.ask(job, "GET", &path, "", 0);
        const list = try parse([]const Ticket, job.arena, answer.body);
        if (answer.status != 200 or list == null) return self.failed(job, answer, .reads);
        for (list.?) |ticket| {
            const its = ticket.key orelse return self.failed(job, answer, .reads);
            if (ticket.url.s.len == 0) return self.failed(job, answer, .reads);
            if (!std.mem.eql(u8, its.s, wanted.key.s)) continue;
            try job.reply(.{ .url = ticket.url.s, .id = ticket.id.s });
            return abi.ok;
        }
        return abi.not_found;
    }

    /// One listing by time of creation for all keys, until they are found, it is at its end, the call should end, or a page doesn't come.
    fn findMany(self: *Backend, job: Job, request: []const u8) error{OutOfMemory}!i32 {
        const all = try asked(struct { keys: []const Wanted, cursor: ?Text = null }, job, request) orelse return abi.plugin_error;
        if (all.keys.len == 0) return job.fail(abi.plugin_error, "never", "the host's request has no keys");
        const found = try job.arena.alloc(?Named, all.keys.len);
        @memset(found, null);
        const from = try since(job.arena, all.keys[0]); // of the key whose ticket can be the oldest
        var after = if (all.cursor) |cursor| cursor.s else "";
        var left = all.keys.len;
        var bytes: usize = 0;
        var first = true;
        while (left > 0) : (first = false) {
            if (!first and (job.call.remaining_ms(job.call) < time_for_a_page or bytes > most_bytes))
                return replyFound(job, all.keys, found, .{ .cursor = after });
            const path = .{ "/tickets?sort=created&after=", try escaped(job.arena, after), from };
            const answer = try self.ask(job, "GET", &path, "", 0);
            const page = try parse([]const Ticket, job.arena, answer.body);
            if (answer.status != 200 or page == null) {
                if (first) return self.failed(job, answer, .reads);
                return replyFound(job, all.keys, found, .{ .cursor = after, .retry_after_ms = answer.retryAfterMs() });
            }
            if (page.?.len == 0) break;
            bytes += answer.body.len;
            for (page.?) |ticket| {
                if (ticket.url.s.len == 0 or ticket.id.s.len == 0) return self.failed(job, answer, .reads);
                after = ticket.id.s;
                const its = ticket.key orelse continue; // made by a person
                for (all.keys, found) |wanted, *place| {
                    if (place.* != null or !std.mem.eql(u8, wanted.key.s, its.s)) continue; // the first one is the oldest
                    place.* = .{ .key = its.s, .ticket = .{ .url = ticket.url.s, .id = ticket.id.s } };
                    left -= 1;
                }
            }
        }
        return replyFound(job, all.keys, found, .{});
    }

    /// A ticket that the API doesn't show, or by a word that this plugin doesn't know, is left out.
    fn state(self: *Backend, job: Job, request: []const u8) error{OutOfMemory}!i32 {
        const all = try asked(struct { tickets: []const struct { url: Text } }, job, request) orelse return abi.plugin_error;
        const urls = try job.arena.alloc([]const u8, all.tickets.len);
        for (all.tickets, urls) |ticket, *url| url.* = ticket.url.s;
        const answer = try self.lookUp(job, urls);
        const shown = try parse([]const Shown, job.arena, answer.body);
        if (answer.status != 200 or shown == null) return self.failed(job, answer, .reads);
        const Told = struct { url: []const u8, state: []const u8, detail: []const u8 };
        var told: std.ArrayList(Told) = .empty;
        for (urls) |url| {
            const ticket = withUrl(shown.?, url) orelse continue;
            const word = self.stateOf(ticket) orelse continue;
            const detail = if (ticket.state) |its| its.s else "";
            try told.append(job.arena, .{ .url = url, .state = word, .detail = detail });
        }
        try job.reply(.{ .tickets = told.items });
        return abi.ok;
    }

    fn update(self: *Backend, job: Job, request: []const u8) error{OutOfMemory}!i32 {
        const Request = struct { ticket: struct { url: Text }, step: Step, again: bool = false };
        const all = try asked(Request, job, request) orelse return abi.plugin_error;
        const Action = enum { comment, close, reopen };
        const action = std.meta.stringToEnum(Action, all.step.action.s) orelse return abi.unsupported;
        const answer = try self.lookUp(job, &.{all.ticket.url.s});
        const shown = try parse([]const Shown, job.arena, answer.body);
        if (answer.status != 200 or shown == null) return self.failed(job, answer, .reads);
        const hidden = "the ticket system doesn't show this ticket, or not its state: may the token see it?";
        const ticket = withUrl(shown.?, all.ticket.url.s) orelse return job.fail(abi.creation_error, "never", hidden);
        const was = self.stateOf(ticket) orelse return job.fail(abi.creation_error, "never", hidden);
        if (std.mem.eql(u8, was, "gone")) return abi.not_found;
        if (std.mem.eql(u8, was, "foreign")) return replyStep(job, false, was);
        const id = ticket.id orelse return job.fail(abi.creation_error, "never", hidden);
        const path = try std.mem.concat(job.arena, u8, &.{ "/tickets/", try escaped(job.arena, id.s) });

        // The step's comment: by an earlier try, or by this one. Where it isn't known, an error is replied.
        var written = false;
        if (all.again) switch (try self.hasMark(job, path, all.step.id.s)) {
            .yes => written = true,
            .no => {},
            .failed => |code| return code,
        };
        const as_wanted = std.mem.eql(u8, was, "open") == (action == .reopen); // of a comment: it is closed
        if (as_wanted) return replyStep(job, written, was); // not written: a person was there before
        const part = if (action == .close) "closing" else "comment";
        if (!written) switch (try self.writeComment(job, path, part, all.step.id.s)) {
            .yes => written = true,
            .no => {},
            .failed => |code| return code,
        };
        if (action == .comment) return replyStep(job, true, was);
        return self.changeState(job, path, action == .reopen, all.step.fields, written);
    }

    const Outcome = union(enum) { yes, no, failed: i32 };

    /// Whether a comment with this mark is on the ticket. All pages are read, until one is empty.
    fn hasMark(self: *Backend, job: Job, path: []const u8, mark: []const u8) error{OutOfMemory}!Outcome {
        var after: []const u8 = "";
        while (true) {
            const answer = try self.ask(job, "GET", &.{ path, "/comments?after=", try escaped(job.arena, after) }, "", 0);
            const page = try parse([]const Comment, job.arena, answer.body);
            if (answer.status != 200 or page == null) return .{ .failed = try self.failed(job, answer, .reads) };
            if (page.?.len == 0) return .no;
            for (page.?) |comment| {
                const its = if (comment.mark) |text| text.s else "";
                if (std.mem.eql(u8, its, mark)) return .yes;
                if (comment.id.s.len == 0) return .{ .failed = try self.failed(job, answer, .reads) };
                after = comment.id.s;
            }
        }
    }

    /// Writes what the operator's template says, with the mark where only the API shows it; nothing, and .no, if that is empty.
    fn writeComment(self: *Backend, job: Job, path: []const u8, part: []const u8, mark: []const u8) error{OutOfMemory}!Outcome {
        const text = try job.render(part, "markdown") orelse return .{ .failed = abi.settings_error };
        if (text.len == 0) return .no;
        const comment = try job.json(.{ .text = text, .mark = mark });
        const answer = try self.ask(job, "POST", &.{ path, "/comments" }, comment, 0);
        if ((answer.status == 200 or answer.status == 201) and try parse(struct {}, job.arena, answer.body) != null) return .yes;
        return .{ .failed = try self.failed(job, answer, .writes) };
    }

    /// The step's second half. `written`: its comment is on the ticket.
    fn changeState(self: *Backend, job: Job, path: []const u8, reopen: bool, fields: ?std.json.Value, written: bool) error{OutOfMemory}!i32 {
        const word: []const u8 = if (reopen) "open" else "resolved";
        const answer = try self.ask(job, "PATCH", &.{path}, try job.json(.{ .state = word, .fields = fields }), 0);
        if (answer.status == 200) if (try parse(Shown, job.arena, answer.body)) |ticket| if (self.stateOf(ticket)) |now| {
            const open_now = std.mem.eql(u8, now, "open");
            const closed_now = std.mem.eql(u8, now, "closed") or std.mem.eql(u8, now, "cancelled");
            if (if (reopen) open_now else closed_now) return replyStep(job, true, now);
        };
        return self.failed(job, answer, if (written) .writes_the_rest else .writes);
    }

    /// What the API knows of these tickets. A POST, since there can be many, and yet it changes nothing.
    fn lookUp(self: *Backend, job: Job, urls: []const []const u8) error{OutOfMemory}!Answer {
        return self.ask(job, "POST", &.{"/lookup"}, try job.json(.{ .urls = urls }), abi.http_changes_nothing);
    }

    /// The host's word for the state of a ticket, or null.
    fn stateOf(self: *Backend, ticket: Shown) ?[]const u8 {
        if (ticket.project) |its| if (!std.mem.eql(u8, its.s, self.project)) return "foreign";
        const words = [_][2][]const u8{
            .{ "open", "open" },          .{ "waiting", "open" }, .{ "resolved", "closed" },
            .{ "rejected", "cancelled" }, .{ "deleted", "gone" },
        };
        const its = ticket.state orelse return null;
        for (words) |word| if (std.mem.eql(u8, its.s, word[0])) return word[1];
        return null;
    }

    fn ask(self: *Backend, job: Job, method: []const u8, path: []const []const u8, body: []const u8, flags: u32) error{OutOfMemory}!Answer {
        const url = try std.mem.concat(job.arena, u8, &.{ self.endpoint, try std.mem.concat(job.arena, u8, path) });
        const authorization = try std.mem.concat(job.arena, u8, &.{ "Bearer ", self.token });
        const headers = [_]abi.Header{
            .{ .name = .of("authorization"), .value = .of(authorization) },
            .{ .name = .of("content-type"), .value = .of("application/json") },
        };
        const request: abi.HttpRequest = .{
            .header_count = if (body.len > 0) 2 else 1,
            .method = .of(method),
            .url = .of(url),
            .headers = &headers,
            .body = .of(body),
            .flags = flags,
        };
        var response: abi.HttpResponse = .{};
        var answer: Answer = .{ .sent = job.call.http(job.call, &request, &response), .body = response.body.slice() };
        if (answer.sent != abi.http_ok) return answer;
        answer.status = response.status;
        if (response.headers) |all| for (all[0..response.header_count]) |header| {
            if (std.mem.eql(u8, header.name.slice(), "retry-after")) answer.retry_after = header.value.slice();
        };
        return answer;
    }

    /// What an exchange says for itself: the begin of the answer, unless that has the token.
    fn said(self: *Backend, job: Job, answer: Answer) error{OutOfMemory}![]const u8 {
        if (answer.sent == abi.http_dry_run) return "a dry run: the request was not sent";
        const hidden = std.mem.indexOf(u8, answer.body, self.token) != null;
        const shown = if (hidden) "(an answer with the token in it)" else beginOf(answer.body);
        if (answer.sent != abi.http_ok) return std.fmt.allocPrint(job.arena, "no answer: {s}", .{shown});
        return std.fmt.allocPrint(job.arena, "the ticket system answered {d}: {s}", .{ answer.status, shown });
    }

    /// What a request does. What `writes` may have been carried out where no clear answer came; with `writes_the_rest` a step's
    /// comment is on the ticket already.
    const Effect = enum { reads, writes, writes_the_rest };

    /// Replies the error that an exchange stands for.
    fn failed(self: *Backend, job: Job, answer: Answer, effect: Effect) error{OutOfMemory}!i32 {
        const unclear = if (effect == .reads) "later" else "unknown";
        var code = abi.client_error;
        var retry: []const u8 = "later";
        var message = try self.said(job, answer);
        var retry_after_ms: ?u64 = null;
        switch (answer.sent) {
            abi.http_ok => switch (answer.status) {
                401, 403, 404, 410 => {
                    code = abi.settings_error;
                    retry = "never";
                },
                408, 425, 429, 503 => retry_after_ms = answer.retryAfterMs(),
                else => if (answer.status >= 500) {
                    retry = unclear;
                } else if (answer.status >= 400) {
                    code = abi.creation_error;
                    retry = "never";
                } else {
                    code = abi.plugin_error;
                    retry = if (effect == .reads) "never" else "unknown";
                    message = try std.mem.concat(job.arena, u8, &.{ "not what the API documents: ", message });
                },
            },
            abi.http_denied => {
                code = abi.settings_error;
                retry = "never";
            },
            abi.http_not_sent, abi.http_dry_run => {},
            else => retry = unclear, // what this plugin doesn't know is http_unknown
        }
        const partial: ?bool = if (effect == .writes_the_rest) true else null;
        try job.reply(.{ .message = message, .retry = retry, .retry_after_ms = retry_after_ms, .partial = partial });
        return code;
    }
};

/// An answer, or why there is none (status 0).
const Answer = struct {
    sent: i32,
    status: u32 = 0,
    body: []const u8,
    retry_after: []const u8 = "",

    fn retryAfterMs(self: Answer) ?u64 {
        return if (secondsOf(self.retry_after)) |seconds| seconds * 1000 else null;
    }
};

/// A key's ticket, as the host reads it.
const Named = struct { key: []const u8, ticket: struct { url: []const u8, id: []const u8 } };

/// With a cursor the search isn't at its end, so that no key certainly has no ticket.
fn replyFound(job: Job, keys: []const Wanted, found: []const ?Named, rest: struct { cursor: ?[]const u8 = null, retry_after_ms: ?u64 = null }) error{OutOfMemory}!i32 {
    var tickets: std.ArrayList(Named) = .empty;
    var none: std.ArrayList([]const u8) = .empty;
    for (keys, found) |wanted, its| {
        if (its) |ticket| try tickets.append(job.arena, ticket) else if (rest.cursor == null) try none.append(job.arena, wanted.key.s);
    }
    try job.reply(.{ .found = tickets.items, .none = none.items, .cursor = rest.cursor, .retry_after_ms = rest.retry_after_ms });
    return abi.ok;
}

fn replyStep(job: Job, done: bool, state: []const u8) error{OutOfMemory}!i32 {
    try job.reply(.{ .done = done, .state = state });
    return abi.ok;
}

/// null: it isn't known what became of the ticket.
fn withUrl(shown: []const Shown, url: []const u8) ?Shown {
    for (shown) |ticket| if (std.mem.eql(u8, ticket.url.s, url)) return ticket;
    return null;
}

/// `&since=...` for a ticket that is no older than "not_before": the day before leaves room for clocks. Without one all are read.
fn since(arena: Allocator, wanted: Wanted) error{OutOfMemory}![]const u8 {
    const time = (wanted.not_before orelse return "").s;
    if (time.len < 11 or time[4] != '-' or time[7] != '-' or time[10] != 'T') return "";
    var year = std.fmt.parseInt(u16, time[0..4], 10) catch return "";
    var month = std.fmt.parseInt(u8, time[5..7], 10) catch return "";
    var day = std.fmt.parseInt(u8, time[8..10], 10) catch return "";
    if (year == 0 or month == 0 or day == 0) return "";
    day -= 1;
    if (day == 0) {
        month -= 1;
        if (month == 0) {
            year -= 1;
            month = 12;
        }
        day = switch (month) {
            2 => 28,
            4, 6, 9, 11 => 30,
            else => 31,
        };
    }
    return std.fmt.allocPrint(arena, "&since={d:0>4}-{d:0>2}-{d:0>2}", .{ year, month, day });
}

/// The host's request; null, and an error is replied, if it is none.
fn asked(T: type, job: Job, request: []const u8) error{OutOfMemory}!?T {
    if (try parse(T, job.arena, request)) |all| return all;
    _ = try job.fail(abi.plugin_error, "never", "the host's request lacks what it is about");
    return null;
}

fn secondsOf(s: []const u8) ?u64 {
    for (s) |c| if (!std.ascii.isDigit(c)) return null; // a date: the host looks at that itself
    if (s.len == 0) return null;
    return @min(std.fmt.parseInt(u64, s, 10) catch longest_wait, longest_wait);
}

fn escaped(arena: Allocator, s: []const u8) error{OutOfMemory}![]const u8 {
    const out = try arena.alloc(u8, 3 * s.len);
    var len: usize = 0;
    for (s) |c| {
        if (std.ascii.isAlphanumeric(c) or std.mem.indexOfScalar(u8, "-._~", c) != null) {
            out[len] = c;
            len += 1;
        } else {
            const digits = "0123456789ABCDEF";
            out[len..][0..3].* = .{ '%', digits[c >> 4], digits[c & 15] };
            len += 3;
        }
    }
    return out[0..len];
}

/// At most `shown_bytes` of whole UTF-8 characters.
fn beginOf(s: []const u8) []const u8 {
    var len: usize = 0;
    while (len < s.len and len < shown_bytes) {
        const n = std.unicode.utf8ByteSequenceLength(s[len]) catch break;
        if (s.len - len < n or !std.unicode.utf8ValidateSlice(s[len..][0..n])) break;
        len += n;
    }
    return s[0..len];
}

// ---- The boundary ----

/// One call of the host's. What is in its arena lasts as long as the call.
const Job = struct {
    call: *const abi.Call,
    arena: Allocator,

    fn json(self: Job, value: anytype) error{OutOfMemory}![]const u8 {
        return std.json.Stringify.valueAlloc(self.arena, value, .{ .emit_null_optional_fields = false });
    }

    fn reply(self: Job, value: anytype) error{OutOfMemory}!void {
        self.call.reply(self.call, .of(try self.json(value)));
    }

    /// `retry` is "unknown" if the ticket may exist, else "never" or "later".
    fn fail(self: Job, code: i32, retry: []const u8, message: []const u8) error{OutOfMemory}!i32 {
        try self.reply(.{ .message = message, .retry = retry });
        return code;
    }

    /// null, and an error is replied, if it can't be rendered.
    fn render(self: Job, part: []const u8, format: []const u8) error{OutOfMemory}!?[]const u8 {
        var out: abi.Str = .{};
        const code = self.call.render(self.call, .of(part), .of(format), .of("{}"), &out);
        if (code == abi.ok) return out.slice();
        const message = try std.fmt.allocPrint(self.arena, "the {s} can't be rendered: {s}", .{ part, out.slice() });
        _ = try self.fail(abi.settings_error, "never", message);
        return null;
    }
};

fn outOfMemory(call: *const abi.Call, comptime retry: []const u8) i32 {
    call.reply(call, .of("{\"message\": \"out of memory\", \"retry\": \"" ++ retry ++ "\"}"));
    return abi.plugin_error;
}

fn open(maybe_call: ?*const abi.Call, settings: abi.Str, instance: ?*?*anyopaque) callconv(.c) i32 {
    const call = maybe_call orelse return abi.plugin_error;
    const place = instance orelse return abi.plugin_error;
    const backend = lasting.create(Backend) catch return outOfMemory(call, "later");
    backend.* = .{ .arena = .init(lasting) };
    if (backend.open(settings.slice())) |wrong| {
        const message = wrong orelse {
            place.* = backend;
            return abi.ok;
        };
        close(backend);
        var arena: std.heap.ArenaAllocator = .init(lasting);
        defer arena.deinit();
        const job: Job = .{ .call = call, .arena = arena.allocator() };
        return job.fail(abi.settings_error, "never", message) catch outOfMemory(call, "never");
    } else |_| {
        close(backend);
        return outOfMemory(call, "later");
    }
}

fn close(instance: ?*anyopaque) callconv(.c) void {
    const backend: *Backend = @ptrCast(@alignCast(instance orelse return));
    backend.arena.deinit();
    lasting.destroy(backend);
}

fn run(
    instance: ?*anyopaque,
    maybe_call: ?*const abi.Call,
    request: abi.Str,
    comptime retry: []const u8,
    function: fn (*Backend, Job, []const u8) error{OutOfMemory}!i32,
) i32 {
    const call = maybe_call orelse return abi.plugin_error;
    const backend: *Backend = @ptrCast(@alignCast(instance orelse return abi.plugin_error));
    var arena: std.heap.ArenaAllocator = .init(lasting);
    defer arena.deinit();
    return function(backend, .{ .call = call, .arena = arena.allocator() }, request.slice()) catch outOfMemory(call, retry);
}

fn check_(instance: ?*anyopaque, call: ?*const abi.Call) callconv(.c) i32 {
    return run(instance, call, .{}, "later", Backend.check);
}

fn create_(instance: ?*anyopaque, call: ?*const abi.Call, request: abi.Str) callconv(.c) i32 {
    return run(instance, call, request, "unknown", Backend.create);
}

fn find_(instance: ?*anyopaque, call: ?*const abi.Call, request: abi.Str) callconv(.c) i32 {
    return run(instance, call, request, "later", Backend.find);
}

fn find_many_(instance: ?*anyopaque, call: ?*const abi.Call, request: abi.Str) callconv(.c) i32 {
    return run(instance, call, request, "later", Backend.findMany);
}

fn update_(instance: ?*anyopaque, call: ?*const abi.Call, request: abi.Str) callconv(.c) i32 {
    return run(instance, call, request, "unknown", Backend.update);
}

fn state_(instance: ?*anyopaque, call: ?*const abi.Call, request: abi.Str) callconv(.c) i32 {
    return run(instance, call, request, "later", Backend.state);
}

const table: abi.Plugin = .{
    .manifest = .of(manifest),
    .open = open,
    .close = close,
    .check = check_,
    .create = create_,
    .find = find_,
    .find_many = find_many_,
    .update = update_,
    .state = state_,
};

export fn ticket_plugin_entry(host_abi_version: u32) ?*const abi.Plugin {
    return if (host_abi_version == abi.abi_version) &table else null;
}
