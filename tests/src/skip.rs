//! For tests that can't be tried where they run: each says so, instead of passing as if it had been tried.

use std::io::Write;

/// Says on standard error that the test which calls this is skipped, and why. The test must return after that.
///
/// Rust's harness can't skip a test while it runs, and counts it as passed. `.ci/run` reads these lines, and
/// fails where a test is skipped that should have been tried. A reason that only root can remove begins with
/// "needs root".
pub fn skipped(reason: &str) {
    // The harness names each thread after its test. It hides what a test prints by macros, but not this.
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
