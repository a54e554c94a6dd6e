//! The sandbox on other kernels than this machine's. `tests/real/kernels.sh` boots each of them under qemu, and runs there
//! those tests that its table names.

use crate::policy::{INCIDENT, host, tickets};

#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn the_sandbox_is_whole() {
    let host = host("");
    let checked = host.run(&["check"]).ended(0).stdout;
    assert!(checked.contains("the sandbox keeps it from everything else"), "{checked}");
    assert!(!checked.contains("not whole"), "{checked}");
    host.create_from(INCIDENT, &[]).ended(0);
    assert_eq!(tickets(&host), 1);
}

/// A plugin is not loaded on this kernel, for this reason, unless the operator does without the sandbox by name.
fn not_loaded(because: &str) {
    let whole = host("");
    whole.run(&["check"]).ended(7).says(because);
    whole.create_from(INCIDENT, &[]).ended(7).says(because);
    assert_eq!(tickets(&whole), 0);
    let best_effort = host("sandbox = \"best-effort\"");
    let checked = best_effort.run(&["check"]).ended(0).stdout;
    assert!(checked.contains("the sandbox is not whole: files: "), "{checked}");
    assert!(checked.contains(because), "{checked}");
    best_effort.create_from(INCIDENT, &[]).ended(0);
    assert_eq!(tickets(&best_effort), 1);
}

#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn landlock_is_switched_off_at_boot() {
    not_loaded("the kernel has Landlock, but it is switched off at boot");
}

#[test]
#[ignore = "tests/real/kernels.sh runs it"]
fn the_kernel_is_too_old_for_landlock() {
    not_loaded("is too old for Landlock");
}
