//! The host on Windows, as far as wine is that: .dll plugins in Rust and C, in both modes, and the service.
//! `tests/real/windows.sh` builds all of it and runs this.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use ticket_host_tests::{Answer, ISOLATIONS, Installation, Service, Stub, desk, wait_for};

fn dll(name: &str) -> PathBuf {
    let build = std::env::var_os("WINDOWS_BUILD").expect("run tests/real/windows.sh");
    PathBuf::from(build).join(format!("ticket_plugin_{name}.dll"))
}

fn host(plugins: &[&str]) -> Installation {
    let host = Installation::for_windows();
    for name in plugins {
        host.add(&dll(name));
    }
    host
}

fn webhook(desk: &Stub, more: &str) -> String {
    format!(
        "[backends.b]\nplugin = \"webhook\"\nendpoint = \"{}\"\nsecret = {{ token = \"t\" }}\n{more}\n",
        desk.url
    )
}

fn numbered(number: usize) -> Value {
    json!({"description": "gw1 is down", "pk": number, "source": {"name": "nav"}})
}

#[test]
#[ignore = "tests/real/windows.sh runs it"]
fn dlls_in_rust_and_in_c_are_found_and_broken_ones_are_told() {
    let host = host(&["local", "rt", "webhook", "constructor_segfault"]);
    fs::write(host.path("plugins/nonsense.dll"), "no library").unwrap();
    let list = host.run(&["plugins", "list"]).ended(0).stdout;
    for name in [
        "local",
        "rt",
        "webhook",
        "broken: nonsense.dll",
        "broken: ticket_plugin_constructor_segfault.dll",
    ] {
        assert!(list.contains(name), "{name} is not in:\n{list}");
    }
    let shown = host.run(&["plugins", "show", "rt"]).ended(0).stdout;
    assert!(shown.contains("layout compared"), "{shown}");
}

#[test]
#[ignore = "tests/real/windows.sh runs it"]
fn tickets_are_made_in_both_modes_and_found_again() {
    for isolation in ISOLATIONS {
        let isolation = format!("isolation = \"{isolation}\"");
        let host = host(&["local", "webhook"]);
        // Wine has the root of this machine as drive Z.
        let tickets = format!("Z:{}", host.path("tickets").display());
        host.config(&format!(
            "[backends.b]\nplugin = \"local\"\nendpoint = \"file:///{tickets}/\"\n\
             permissions = {{ write = [\"{tickets}\"] }}\n{isolation}\n"
        ));
        let first = host.create("plugin-closed", &[]).ended(0).stdout;
        assert!(first.starts_with("file:///Z:/"), "{first}");
        assert_eq!(host.create("plugin-closed", &[]).ended(0).stdout, first);
        assert_eq!(fs::read_dir(host.path("tickets")).unwrap().count(), 1);

        let desk = desk(|_| None);
        host.config(&webhook(&desk, &isolation));
        let first = host.create("plugin-unicode", &[]).ended(0).stdout;
        assert_eq!(host.create("plugin-unicode", &[]).ended(0).stdout, first);
        assert_eq!(desk.posted().len(), 1);
    }
}

#[test]
#[ignore = "tests/real/windows.sh runs it"]
fn check_says_that_there_is_no_sandbox() {
    let desk = desk(|_| Some(Answer::status(200)));
    let host = host(&["webhook"]);
    host.config(&webhook(&desk, ""));
    let checked = host.run(&["check"]).ended(0).stdout;
    assert!(checked.contains("the sandbox is not whole: windows has no sandbox here"), "{checked}");
}

#[test]
#[ignore = "tests/real/windows.sh runs it"]
fn plugins_that_crash_hang_and_panic_cost_one_call() {
    let host = host(&["misbehaves", "panics"]);
    for (plugin, information, code, why) in [
        ("misbehaves", "fault = \"segfault\"", 6, "its process ended with 0xC0000005"),
        ("misbehaves", "fault = \"loop\"", 6, "did not return in time and was killed"),
        ("misbehaves", "fault = \"exit\"", 6, "its process exited with code"),
        ("panics", "in = \"create\"", 6, "panic"),
    ] {
        let secret = if plugin == "panics" { "{}" } else { "{ token = \"t\" }" };
        host.config(&format!(
            "[backends.b]\nplugin = \"{plugin}\"\nendpoint = \"https://tickets.example.org\"\n\
             call_timeout_seconds = 2\nsecret = {secret}\ninformation = {{ {information} }}\n"
        ));
        host.create("plugin-closed", &["--force"]).ended(code).says(why);
    }
}

/// The processes that run what lies in the host's directory.
fn running(host: &Installation) -> usize {
    let place = host.path("bin").to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\\', "/");
        line.contains(&place)
    });
    ours.count()
}

#[test]
#[ignore = "tests/real/windows.sh runs it"]
fn a_worker_ends_with_its_host() {
    let host = host(&["misbehaves"]);
    host.config(
        "[backends.b]\nplugin = \"misbehaves\"\nendpoint = \"https://tickets.example.org\"\n\
         call_timeout_seconds = 600\nsecret = { token = \"t\" }\ninformation = { fault = \"loop\" }\n\
         [queue]\npath = \"queue.db\"\n",
    );
    let service = host.serve();
    service.file(&numbered(1), 0).is(202);
    wait_for("a worker in its call", || running(&host) >= 2);
    service.kill();
    wait_for("nothing is left", || running(&host) == 0);
}

#[test]
#[ignore = "tests/real/windows.sh runs it"]
fn the_service_makes_one_ticket_each_though_it_is_killed() {
    const COUNT: usize = 60;
    let desk = desk(|_| {
        // Long enough to be killed in the middle of one.
        std::thread::sleep(Duration::from_millis(30));
        None
    });
    let host = host(&["webhook"]);
    host.config(&format!(
        "[queue]\npath = \"queue.db\"\nsettle_seconds = 1\nlongest_wait_seconds = 1\n{}",
        webhook(&desk, "")
    ));
    let mut service = host.serve();
    for number in 0..COUNT {
        service.file(&numbered(number), 0).is(202);
    }
    for kill in 1..=3 {
        wait_for("some tickets", || desk.posted().len() >= kill * COUNT / 5);
        service.kill();
        service = host.serve();
    }
    let created = |service: &Service| {
        let list = service.get("/v1/tickets?state=created&limit=1000").is(200).json();
        list["tickets"].as_array().unwrap().len()
    };
    wait_for("every ticket", || created(&service) == COUNT);
    let mut times = BTreeMap::<String, usize>::new();
    for key in desk.posted() {
        *times.entry(key).or_default() += 1;
    }
    assert_eq!(times.len(), COUNT);
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "made more than once: {twice:?}");
}

/// A library without the entry symbol, which leaves a file behind if it is unloaded while its process goes on.
const TELLS_OF_UNLOADING: &str = r#"
#include <windows.h>
BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, LPVOID process_ends) {
   (void)library;
   if (reason == DLL_PROCESS_DETACH && process_ends == NULL)
      CloseHandle(CreateFileA(UNLOADED, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL));
   return TRUE;
}
"#;

#[test]
#[ignore = "tests/real/windows.sh runs it"]
fn a_library_that_is_not_a_plugin_is_not_unloaded_either() {
    let host = host(&[]);
    let (source, unloaded) = (host.path("tells.c"), host.path("unloaded"));
    fs::write(&source, TELLS_OF_UNLOADING).unwrap();
    let compiled = std::process::Command::new("x86_64-w64-mingw32-gcc")
        .arg("-shared")
        .arg(format!("-DUNLOADED=\"Z:{}\"", unloaded.display()))
        .arg("-o")
        .arg(host.path("plugins/tells.dll"))
        .arg(&source)
        .status();
    assert!(compiled.unwrap().success());
    let list = host.run(&["plugins", "list"]).ended(0).stdout;
    assert!(list.contains("doesn't export ticket_plugin_entry"), "{list}");
    assert!(!unloaded.exists(), "rule R7: a library is never unloaded");
}
