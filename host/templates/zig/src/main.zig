// SPDX-License-Identifier: MIT-0
//! {{name}}: tickets in a system with a JSON API. README.md says what to change for a real one.

const std = @import("std");
const abi = @import("abi.zig");
const Allocator = std.mem.Allocator;

const manifest =
    \\{"name": "{{name}}", "version": "0.1.0", "description": "Tickets in {{name}}",
    \\ "secret_schema": {"type": "object", "required": ["token"], "properties": {"token":
    \\  {"type": "string", "pattern": "^[!-~]+$", "description": "An API token that may create and list tickets"}}},
    \\ "information_schema": {"type": "object", "required": ["project"], "properties": {"project":
    \\  {"type": "string", "minLength": 1, "description": "The project that tickets go to"}}}}
;

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
        const answer = try self.ask(job, "GET", &.{ "/projects/", try escaped(job.arena, self.project) }, "");
        const help = switch (answer.status) {
            200 => "this is no project: is the endpoint the URL of the API?",
            401 => "correct secret.token",
            403 => "give the token's user access to the project",
            404 => "correct information.project, or the endpoint",
            else => return self.failed(job, answer, .creates_nothing),
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
        const key = try keyOf(job, request) orelse return abi.plugin_error;
        const title = try job.render("title", "text") orelse return abi.settings_error;
        const body = try job.render("body", "markdown") orelse return abi.settings_error;
        const ticket = .{ .project = self.project, .title = title, .body = body, .key = key };
        const answer = try self.ask(job, "POST", &.{"/tickets"}, try job.json(ticket));
        const made = try parse(Ticket, job.arena, answer.body);
        if (made == null or made.?.url.s.len == 0 or (answer.status != 200 and answer.status != 201))
            return self.failed(job, answer, .creates);
        try job.reply(.{ .url = made.?.url.s, .id = made.?.id.s });
        return abi.ok;
    }

    /// The API's search may find more than the key, so each ticket's key is compared.
    fn find(self: *Backend, job: Job, request: []const u8) error{OutOfMemory}!i32 {
        const key = try keyOf(job, request) orelse return abi.plugin_error;
        const answer = try self.ask(job, "GET", &.{ "/tickets?key=", try escaped(job.arena, key) }, "");
        const list = try parse([]const Ticket, job.arena, answer.body);
        if (answer.status != 200 or list == null) return self.failed(job, answer, .creates_nothing);
        for (list.?) |ticket| {
            const its = ticket.key orelse return self.failed(job, answer, .creates_nothing);
            if (ticket.url.s.len == 0) return self.failed(job, answer, .creates_nothing);
            if (!std.mem.eql(u8, its.s, key)) continue;
            try job.reply(.{ .url = ticket.url.s, .id = ticket.id.s });
            return abi.ok;
        }
        return abi.not_found;
    }

    fn ask(self: *Backend, job: Job, method: []const u8, path: []const []const u8, body: []const u8) error{OutOfMemory}!Answer {
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

    /// Replies the error that an exchange stands for.
    fn failed(self: *Backend, job: Job, answer: Answer, effect: enum { creates, creates_nothing }) error{OutOfMemory}!i32 {
        const message = try self.said(job, answer);
        switch (answer.sent) {
            abi.http_ok => {},
            abi.http_denied => return job.fail(abi.settings_error, "never", message),
            abi.http_not_sent, abi.http_dry_run => return job.fail(abi.client_error, "later", message),
            // What this plugin doesn't know is http_unknown.
            else => return job.fail(abi.client_error, if (effect == .creates) "unknown" else "later", message),
        }
        const unclear = if (effect == .creates) "unknown" else "later";
        switch (answer.status) {
            401, 403, 404, 410 => return job.fail(abi.settings_error, "never", message),
            408, 425, 429, 503 => {
                const ms = if (secondsOf(answer.retry_after)) |seconds| seconds * 1000 else null;
                try job.reply(.{ .message = message, .retry = "later", .retry_after_ms = ms });
                return abi.client_error;
            },
            else => {},
        }
        if (answer.status >= 500) return job.fail(abi.client_error, unclear, message);
        if (answer.status >= 400) return job.fail(abi.creation_error, "never", message);
        const unexpected = try std.mem.concat(job.arena, u8, &.{ "not what the API documents: ", message });
        return job.fail(abi.plugin_error, if (effect == .creates) "unknown" else "never", unexpected);
    }
};

/// An answer, or why there is none (status 0).
const Answer = struct { sent: i32, status: u32 = 0, body: []const u8, retry_after: []const u8 = "" };

/// null, and an error is replied, if there is none.
fn keyOf(job: Job, request: []const u8) error{OutOfMemory}!?[]const u8 {
    if (try parse(struct { key: Text }, job.arena, request)) |all| return all.key.s;
    _ = try job.fail(abi.plugin_error, "never", "the host's request has no key");
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

const table: abi.Plugin = .{
    .manifest = .of(manifest),
    .open = open,
    .close = close,
    .check = check_,
    .create = create_,
    .find = find_,
};

export fn ticket_plugin_entry(host_abi_version: u32) ?*const abi.Plugin {
    return if (host_abi_version == abi.abi_version) &table else null;
}
