// SPDX-License-Identifier: MIT-0
const std = @import("std");

comptime {
    const oldest: std.SemanticVersion = .{ .major = 0, .minor = 16, .patch = 0 };
    if (@import("builtin").zig_version.order(oldest) == .lt) @compileError("this plugin needs Zig 0.16 or 0.17: README.md says how to get it");
}

pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{});
    const optimize = b.standardOptimizeOption(.{});
    const debug = std.ascii.eqlIgnoreCase(@tagName(optimize), "debug"); // Zig 0.16 calls it Debug

    const library = b.addLibrary(.{
        .name = "ticket_plugin_{{ident}}",
        .linkage = .dynamic,
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/main.zig"),
            .target = target,
            .optimize = optimize,
            .link_libc = true,
            .strip = !debug, // names and paths of the machine that built it
        }),
    });
    library.bundle_ubsan_rt = false; // it would export symbols of its own
    b.installArtifact(library);

    const harness = b.addExecutable(.{
        .name = "test",
        .root_module = b.createModule(.{ .target = target, .optimize = optimize, .link_libc = true }),
    });
    harness.root_module.addCSourceFile(.{ .file = b.path("test.c"), .flags = &.{"-std=c99"} });
    harness.root_module.addIncludePath(b.path("include"));
    const run = b.addRunArtifact(harness);
    run.addArtifactArg(library);
    b.step("test", "Test the library with a scripted host").dependOn(&run.step);
}
