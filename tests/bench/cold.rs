//! Measures a cold ticket: a process starts, creates one ticket and ends, the host's and Python's in turn.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use ticket_host_tests::{Installation, c_plugin, run, rust_plugin};

use crate::growth::add_plugins;
use crate::process;
use crate::report::{Bar, Goal, Report};
use crate::samples::sample;
use crate::statistics::{Sample, figure, interleaved_each};
use crate::system::{Behaviour, System};
use crate::tickets::KINDS;

const ROUNDS: usize = 10;

pub fn measure(report: &mut Report) {
    against_python(report);
    among_others(report);
    without_tickets(report);
}

fn against_python(report: &mut Report) {
    let columns = ["", "ms: median (p10 to p90)", "x the host's", "peak MB"];
    let part = report.part("A ticket, cold: a process that creates one and ends", &columns);
    let incident = sample().to_string();
    for kind in KINDS {
        let system = System::start(Behaviour::default());
        let installation = kind.host(&system, "", 4);
        let mut number = 0;
        let mut create = || {
            number += 1;
            installation.command(&["create", "--key", &number.to_string()])
        };
        let python = || kind.python(&system, 1, 1);
        let memory = [create(), python()].map(|command| peak(command, &incident));
        let ends = |command| drop(run(command, incident.as_bytes()).ended(0));
        let times = interleaved_each(ROUNDS, &mut [&mut || ends(create()), &mut || ends(python())]);
        let names = ["ticket-host create, worker + sandbox", "python, Django set up"];
        for (rival, ((name, time), memory)) in names.iter().zip(&times).zip(memory).enumerate() {
            let label = format!("{}: {name}", kind.plugin);
            part.row(&[
                label.clone(),
                milliseconds(time).to_string(),
                figure(time.median() / times[0].median()),
                figure(memory as f64 / 1024.0),
            ]);
            part.bar(Bar {
                label,
                value: time.median() / 1e3,
                unit: "ms".to_owned(),
                own: rival == 0,
            });
        }
        let what = format!("{}: Python's time / create's", kind.plugin);
        part.goal(Goal::at_least(&what, times[1].median() / times[0].median(), 50.0));
    }
}

/// Measures whether plugins that lie beside a ticket's own cost it anything.
fn among_others(report: &mut Report) {
    let columns = ["", "ms: median (p10 to p90)", "x --version"];
    let part = report.part("A ticket, cold, with other plugins in the directory", &columns);
    let (rt, incident) = (KINDS[0], sample().to_string());
    let system = System::start(Behaviour::default());
    let hosts = [1, 200].map(|count| {
        let host = rt.host(&system, "", 4);
        add_plugins(&host, count - 1);
        host
    });
    let number = Cell::new(0);
    let create = |host: &Installation| {
        let key = number.replace(number.get() + 1).to_string();
        drop(host.create_from(incident.as_bytes(), &["--key", &key]).ended(0));
    };
    let times = interleaved_each(
        50,
        &mut [
            &mut || drop(hosts[0].run(&["--version"]).ended(0)),
            &mut || create(&hosts[0]),
            &mut || create(&hosts[1]),
        ],
    );
    let names = ["--version", "create: 1 plugin", "create: 200 plugins"];
    for (name, time) in names.iter().zip(&times) {
        part.row(&[
            (*name).to_owned(),
            milliseconds(time).to_string(),
            figure(time.median() / times[0].median()),
        ]);
    }
    for (name, time) in names.iter().zip(&times).skip(1) {
        part.goal(Goal::at_most(&format!("ms, {name}"), time.median() / 1e3, 8.0));
    }
}

/// Measures the parts of a run that have nothing to do with a ticket system, such as the start of the program.
fn without_tickets(report: &mut Report) {
    let installation = Installation::new();
    for plugin in
        [rust_plugin("local"), rust_plugin("rt"), rust_plugin("panics"), c_plugin("webhook")]
    {
        installation.add(&plugin);
    }
    installation.config(&installation.local("b"));
    let incident = sample().to_string();
    let run = |arguments: &[&str]| drop(installation.run(arguments).ended(0));
    let create = |number: usize| {
        let key = number.to_string();
        drop(installation.create_from(incident.as_bytes(), &["--key", &key]).ended(0));
    };
    let mut number = 0;
    let times = interleaved_each(
        50,
        &mut [
            &mut || run(&["--version"]),
            &mut || run(&["plugins", "list"]),
            &mut || {
                number += 1;
                create(number);
            },
            &mut || create(1),
        ],
    );
    let names = [
        "--version",
        "plugins list: four discovered",
        "create with local, synced to disk",
        "create that finds its ticket",
    ];
    let columns = ["", "ms: median (p10 to p90)", "x --version"];
    let part = report.part("Whole runs of ticket-host, four plugins in the directory", &columns);
    for (name, time) in names.iter().zip(&times) {
        part.row(&[
            (*name).to_owned(),
            milliseconds(time).to_string(),
            figure(time.median() / times[0].median()),
        ]);
    }
    part.goal(Goal::at_most("ms to discover four plugins", times[1].median() / 1e3, 15.0));
    part.goal(Goal::at_most("ms to create with local", times[2].median() / 1e3, 25.0));

    let part = report.part("Sizes", &["", "MB"]);
    for plugin in ["github", "gitlab", "jira", "local", "rt"] {
        let stripped = installation.path("stripped");
        fs::copy(rust_plugin(plugin), &stripped).unwrap();
        let _ = Command::new("strip").arg(&stripped).status();
        let megabytes = fs::metadata(&stripped).unwrap().len() as f64 / 1e6;
        part.row(&[format!("plugin {plugin}, stripped"), figure(megabytes)]);
    }
    let worker = waiting_worker();
    part.row(&["worker that waits in a call, resident".to_owned(), figure(worker)]);
    part.goal(Goal::at_most("MB of a waiting worker", worker, 6.0));
}

fn milliseconds(microseconds: &Sample) -> Sample {
    microseconds.map(|value| value / 1e3)
}

/// Runs a command with `input` to its end, and reads its memory all the while.
fn watched(mut command: Command, input: &str, mut look: impl FnMut(u32)) {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    while child.try_wait().unwrap().is_none() {
        look(child.id());
        thread::yield_now();
    }
}

/// The largest memory, in kilobytes, that was seen of a process and its children until its end.
fn peak(command: Command, input: &str) -> u64 {
    let mut most = 0;
    watched(command, input, |process| most = most.max(process::memory(process)));
    most
}

/// The resident memory, in megabytes, of a worker whose plugin waits.
fn waiting_worker() -> f64 {
    let rest = "call_timeout_seconds = 2\nsecret = { token = \"abcd\" }\n\
                information = { fault = \"slow\", in = \"create\" }";
    let host = Installation::with(&c_plugin("misbehaves"), "https://x.org", rest);
    let mut seen = Vec::new();
    watched(host.command(&["create", "--force"]), &sample().to_string(), |process| {
        seen.extend(process::children(process).into_iter().map(process::resident));
    });
    // The median and not the largest value: between fork and exec a child shows its parent's memory.
    seen.into_iter().map(|kilobytes| kilobytes as f64 / 1e3).collect::<Sample>().median()
}
