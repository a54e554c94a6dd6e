//! What a worker that crashes says: where, for who has to mend the plugin, and nothing of its memory.

use std::path::Path;
use std::process::Command;

use ticket_host_tests::{Installation, Run, c_plugin};
use ticket_host_worker::Digest;

const TOKEN: &str = "hunter2-the-secret";

/// What `create` says when `misbehaves` does `fault` in it.
fn create(fault: &str, more: &str) -> Run {
    let rest = format!(
        "{more}\nsecret = {{ token = \"{TOKEN}\" }}\ninformation = {{ fault = \"{fault}\" }}"
    );
    let host = Installation::with(&c_plugin("misbehaves"), "https://tickets.example.org", &rest);
    let run = host.create("plugin-closed", &[]);
    assert!(!format!("{run:?}").contains(TOKEN), "the secret is shown: {run:?}");
    run
}

/// What readelf(1) says of a library.
fn readelf(option: &str, library: &Path) -> String {
    let output = Command::new("readelf").arg(option).arg(library).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The addresses of a library's code.
fn code(library: &Path) -> std::ops::Range<u64> {
    let sections = readelf("-SW", library);
    let text = sections.lines().find(|line| line.contains(" .text ")).unwrap();
    let mut fields = text.split(" .text ").nth(1).unwrap().split_whitespace().skip(1);
    let mut number = || u64::from_str_radix(fields.next().unwrap(), 16).unwrap();
    let (address, _offset, size) = (number(), number(), number());
    address..address + size
}

#[test]
fn a_crash_is_told_by_the_librarys_name_the_offset_in_it_and_its_build_id() {
    let library = c_plugin("misbehaves");
    let name = library.file_name().unwrap().to_str().unwrap();
    let pin = format!("sha256 = \"{}\"", Digest::of(&std::fs::read(&library).unwrap()));
    // A pinned library is loaded from a copy in memory.
    for more in ["", pin.as_str()] {
        let run = create("segfault", more).ended(6).says("was ended by signal 11 (SIGSEGV)");
        // Lines for people are wrapped.
        let said: String = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, place) = said
            .split_once(&format!("crashed (SIGSEGV) at {name}+0x"))
            .unwrap_or_else(|| panic!("{said}"));
        let offset = place.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap();
        let offset = u64::from_str_radix(offset, 16).unwrap();
        assert!(code(&library).contains(&offset), "{offset:#x} {:?}", code(&library));
        let notes = readelf("-n", &library);
        if let Some((_, build_id)) = notes.split_once("Build ID: ") {
            let build_id = build_id.split_whitespace().next().unwrap();
            assert!(place.contains(&format!(", build-id {build_id}")), "{said}");
        }
    }
}

#[test]
fn a_crash_elsewhere_is_told_by_what_is_there() {
    create("abort", "").ended(6).says("crashed (SIGABRT) at libc.so.6+0x").says("signal 6");
    // Rust's own handler still tells that it was the stack.
    create("stack_overflow", "")
        .ended(6)
        .says("crashed (SIGSEGV) at libticket_plugin_misbehaves.so+0x")
        .says("has overflowed its stack")
        .says("signal 6 (SIGABRT)");
}

#[test]
fn a_library_that_crashes_when_it_is_loaded_is_named() {
    let host = Installation::new();
    host.add(&c_plugin("constructor_segfault"));
    let shown = host.run(&["plugins", "list"]);
    let said = format!("{}{}", shown.stdout, shown.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains(
            "crashed (SIGSEGV) while libticket_plugin_constructor_segfault.so was loaded, in no library \
             that was loaded before"
        ),
        "{said}"
    );
}

#[test]
fn a_plugin_with_handlers_of_its_own_survives_what_it_can() {
    create("survives_segfault", "").ended(0).says("survived");
}
