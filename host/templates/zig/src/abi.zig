// SPDX-License-Identifier: MIT-0
//! include/ticket_plugin.h in Zig: see there for what everything means.

pub const abi_version: u32 = 1;

pub const ok: i32 = 0;
pub const settings_error: i32 = 1;
pub const client_error: i32 = 2;
pub const creation_error: i32 = 3;
pub const plugin_error: i32 = 4;
pub const not_found: i32 = 5;
pub const unsupported: i32 = 6;

pub const http_ok: i32 = 0;
pub const http_not_sent: i32 = 1;
pub const http_unknown: i32 = 2;
pub const http_denied: i32 = 3;
pub const http_dry_run: i32 = 4;

pub const http_changes_nothing: u32 = 1;

pub const Str = extern struct {
    ptr: ?[*]const u8 = null,
    len: usize = 0,

    pub fn of(text: []const u8) Str {
        return .{ .ptr = text.ptr, .len = text.len };
    }

    pub fn slice(self: Str) []const u8 {
        const ptr = self.ptr orelse return "";
        return ptr[0..self.len];
    }
};

pub const Header = extern struct { name: Str, value: Str };

pub const HttpRequest = extern struct {
    size: u32 = @sizeOf(HttpRequest),
    header_count: u32,
    method: Str,
    url: Str,
    headers: [*]const Header,
    body: Str,
    flags: u32 = 0,
    reserved: u32 = 0,
};

pub const HttpResponse = extern struct {
    size: u32 = @sizeOf(HttpResponse),
    header_count: u32 = 0,
    status: u32 = 0,
    reserved: u32 = 0,
    headers: ?[*]const Header = null,
    body: Str = .{},
};

pub const Call = extern struct {
    size: u32,
    reserved: u32,
    host: ?*anyopaque,
    reply: *const fn (*const Call, Str) callconv(.c) void,
    log: *const fn (*const Call, u32, Str) callconv(.c) void,
    remaining_ms: *const fn (*const Call) callconv(.c) u64,
    http: *const fn (*const Call, *const HttpRequest, *HttpResponse) callconv(.c) i32,
    render: *const fn (*const Call, Str, Str, Str, *Str) callconv(.c) i32,
};

pub const Plugin = extern struct {
    size: u32 = @sizeOf(Plugin),
    abi_version: u32 = abi_version,
    manifest: Str,
    open: *const fn (?*const Call, Str, ?*?*anyopaque) callconv(.c) i32,
    close: *const fn (?*anyopaque) callconv(.c) void,
    check: *const fn (?*anyopaque, ?*const Call) callconv(.c) i32,
    create: *const fn (?*anyopaque, ?*const Call, Str) callconv(.c) i32,
    find: ?*const fn (?*anyopaque, ?*const Call, Str) callconv(.c) i32 = null,
    find_many: ?*const fn (?*anyopaque, ?*const Call, Str) callconv(.c) i32 = null,
    update: ?*const fn (?*anyopaque, ?*const Call, Str) callconv(.c) i32 = null,
    state: ?*const fn (?*anyopaque, ?*const Call, Str) callconv(.c) i32 = null,
    receive: ?*const fn (?*anyopaque, ?*const Call, Str, Str) callconv(.c) i32 = null,
    changes: ?*const fn (?*anyopaque, ?*const Call, Str) callconv(.c) i32 = null,
};
