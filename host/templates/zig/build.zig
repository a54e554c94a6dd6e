const std = @import("std");

pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{});
    const optimize = b.standardOptimizeOption(.{});

    const library = b.addLibrary(.{
        .name = "ticket_plugin_{{ident}}",
        .linkage = .dynamic,
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/main.zig"),
            .target = target,
            .optimize = optimize,
            .link_libc = true,
            .strip = optimize != .debug,
        }),
    });
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
