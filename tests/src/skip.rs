//! Tests that can't be tried where they run: each says so, instead of passing as if it had been tried.

use std::io::Write;

/// Says on standard error that the test that calls this is skipped, and why. The test returns after that.
///
/// Rust's harness can't skip a test while it runs, and counts it as passed. `.ci/run` reads these lines, and fails
/// where a test is skipped that should have been tried. A reason that only root can remove begins with "needs root".
pub fn skipped(reason: &str) {
    // The harness gives a test's name to its thread, and keeps what a test prints with macros to itself.
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
