//! A plugin that is built with `panic = "abort"` doesn't compile, and says why.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn export_plugin_refuses_panic_abort() {
    let sdk = env!("CARGO_MANIFEST_DIR");
    let example = Path::new(sdk).join("examples/acme.rs");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panic-abort");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--config", "profile.dev.panic='abort'", "--example", "acme"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(sdk)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(example.exists() && !output.status.success());
    assert!(said.contains("must be built with panic = \"unwind\""), "{said}");
}
