//! Measures several hosts on one PostgreSQL: what a ticket costs them and the database, and what a host costs the database by being there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ticket_host_tests::postgres::{Postgres, programs};
use ticket_host_tests::{Installation, Service, agent};

use crate::process;
use crate::report::Report;
use crate::statistics::{Sample, figure, timed};
use crate::system::{Behaviour, System};
use crate::tickets::{KINDS, begun, ticket_of};

const TICKETS: usize = 3_000;
const CLIENTS: usize = 30;
const ROUNDS: usize = 3;
/// Tickets that the larger store has.
const OLD: usize = 1_000_000;

pub fn measure(report: &mut Report) {
    if programs().is_none() {
        println!("hosts: skipped, there is no PostgreSQL (tests/real/postgres.sh installs it)");
        return;
    }
    let server = Postgres::start_with(&["max_connections=300", "max_wal_size=4GB"]);
    working(report, &server);
    resting(report, &server);
    filled(report, &server);
}

/// Hosts on one store, and the ticket system of their backend.
struct Cluster<'a> {
    server: &'a Postgres,
    /// None: one host whose store is a file.
    database: Option<String>,
    system: System,
    services: Vec<Service>,
    _hosts: Vec<Installation>,
    /// How many tickets were made.
    made: usize,
}

/// What a ticket cost.
struct Run {
    rate: f64,
    /// Milliseconds of processor time of the hosts with their workers, and of PostgreSQL.
    hosts: f64,
    database: f64,
    /// Bytes by which the database grew.
    bytes: f64,
}

impl<'a> Cluster<'a> {
    /// So many hosts on a database of their own; 0: one whose store is a file.
    fn start(server: &'a Postgres, hosts: usize) -> Cluster<'a> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let database = (hosts > 0).then(|| {
            let name = format!("bench{}", NUMBER.fetch_add(1, Ordering::Relaxed));
            server.sql("postgres", &format!("CREATE DATABASE {name}"));
            name
        });
        let system = System::start(Behaviour::default());
        let queue = database.as_ref().map(|name| format!("url = {:?}", server.url(name)));
        let gitlab = KINDS[3];
        let host = |_| gitlab.host_on(&system, "", CLIENTS, queue.as_deref().unwrap_or_default());
        let hosts: Vec<Installation> = (0..hosts.max(1)).map(host).collect();
        let services = hosts.iter().map(Installation::serve).collect();
        if let Some(name) = &database {
            server.is_known_for_long(name);
        }
        Cluster { server, database, system, services, _hosts: hosts, made: 0 }
    }

    /// Makes so many tickets by the first `hosts`.
    fn file(&mut self, count: usize, hosts: usize) {
        let began = self.services[0].just_now();
        let first = self.made;
        self.made += count;
        let clients = AtomicUsize::new(0);
        timed(count, CLIENTS, &|| {
            let service = &self.services[clients.fetch_add(1, Ordering::Relaxed) % hosts];
            let (agent, began) = (agent(), &began);
            move |number| ticket_of(service, &agent, &begun(first + number, began))
        });
    }

    fn size(&self) -> f64 {
        let size = |name| format!("SELECT pg_database_size('{name}')");
        let size = self.database.as_ref().map(|name| self.server.sql("postgres", &size(name)));
        size.map_or(0.0, |bytes| bytes.parse().unwrap())
    }

    fn costs(&self) -> [Duration; 2] {
        let hosts = self.services.iter().map(|service| process::cpu(service.id())).sum();
        [hosts, process::cpu(self.server.id().unwrap())]
    }

    /// Makes [`TICKETS`] by the first `hosts`, after some that warm them up.
    fn run(&mut self, hosts: usize) -> Run {
        self.file(10 * CLIENTS, hosts);
        let (size, before, started) = (self.size(), self.costs(), Instant::now());
        self.file(TICKETS, hosts);
        let wall = started.elapsed().as_secs_f64();
        let after = self.costs();
        let [hosts, database] =
            [0, 1].map(|which| (after[which] - before[which]).as_secs_f64() * 1e3 / TICKETS as f64);
        assert_eq!(self.system.counted().titles.len(), self.made, "each incident has one ticket");
        let bytes = (self.size() - size) / TICKETS as f64;
        Run { rate: TICKETS as f64 / wall, hosts, database, bytes }
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        self.services.clear();
        if let Some(name) = &self.database {
            self.server.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

/// Prints rows of what several runs of each kind cost, beside those of the first kind.
fn rows(report: &mut Report, title: &str, kinds: &[(String, Vec<Run>)]) {
    let columns = ["", "tickets/s", "x", "hosts, ms CPU", "PostgreSQL, ms CPU", "KB of database"];
    let part = report.part(title, &columns);
    let sample = |runs: &[Run], value: fn(&Run) -> f64| runs.iter().map(value).collect::<Sample>();
    let first = sample(&kinds[0].1, |run| run.rate).median();
    for (name, runs) in kinds {
        let rate = sample(runs, |run| run.rate);
        part.row(&[
            name.clone(),
            rate.to_string(),
            figure(rate.median() / first),
            sample(runs, |run| run.hosts).to_string(),
            sample(runs, |run| run.database).to_string(),
            figure(sample(runs, |run| run.bytes / 1024.0).median()),
        ]);
    }
}

/// One to three hosts at work, and one at work while others have nothing to do.
fn working(report: &mut Report, server: &Postgres) {
    // How many hosts there are, and how many of them are given incidents.
    let kinds = [(0, 1), (1, 1), (2, 2), (3, 3), (4, 1), (8, 1)];
    let name = |(hosts, working): (usize, usize)| match (hosts, working) {
        (0, _) => "a store in a file".to_owned(),
        (hosts, working) if hosts == working => format!("{hosts} on PostgreSQL"),
        (hosts, working) => format!("{working} on PostgreSQL, and {} that rest", hosts - working),
    };
    let mut runs = kinds.map(|kind| (name(kind), Vec::new()));
    for _ in 0..ROUNDS {
        for ((hosts, working), (_, runs)) in kinds.into_iter().zip(&mut runs) {
            runs.push(Cluster::start(server, hosts).run(working));
        }
    }
    let title = format!("Hosts: {TICKETS} tickets of {CLIENTS} clients, all on these processors");
    rows(report, &title, &runs);
}

/// What hosts cost the database that have nothing to do.
fn resting(report: &mut Report, server: &Postgres) {
    const TIME: Duration = Duration::from_secs(20);
    let part = report.part(
        "Hosts that rest: what they ask of PostgreSQL",
        &["hosts", "ms CPU a second", "transactions a second", "connections"],
    );
    let mut costs = Vec::new();
    for hosts in [1, 4, 8, 16] {
        let cluster = Cluster::start(server, hosts);
        let name = cluster.database.as_ref().unwrap();
        let number = |sql: &str| -> f64 { server.sql("postgres", sql).parse().unwrap() };
        let transactions = || {
            let of = format!("SELECT xact_commit FROM pg_stat_database WHERE datname = '{name}'");
            number(&of)
        };
        // What they do at their start is done. Counts of transactions are told once a second at most.
        std::thread::sleep(Duration::from_secs(5));
        let (before, counted) = (cluster.costs()[1], transactions());
        std::thread::sleep(TIME);
        let each = |value: f64| value / TIME.as_secs_f64();
        let cpu = each((cluster.costs()[1] - before).as_secs_f64() * 1e3);
        let transactions = each(transactions() - counted);
        let of = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
        let connections = number(&of);
        let row = [hosts as f64, cpu, transactions, connections];
        part.row(&row.map(figure));
        costs.push(row);
    }
    let (first, last) = (costs[0], costs[costs.len() - 1]);
    let slopes = [1, 2, 3].map(|of| figure((last[of] - first[of]) / (last[0] - first[0])));
    let [cpu, transactions, connections] = slopes;
    part.row(&["each further".to_owned(), cpu, transactions, connections]);
}

/// One host, on a store that has made many tickets before, and beside it one on an empty store.
fn filled(report: &mut Report, server: &Postgres) {
    let mut clusters = [0, OLD].map(|old| {
        let cluster = Cluster::start(server, 1);
        fill(server, cluster.database.as_ref().unwrap(), old);
        (format!("{old} tickets before"), cluster)
    });
    let mut runs = clusters.each_ref().map(|(name, _)| (name.clone(), Vec::new()));
    for _ in 0..ROUNDS {
        for ((_, cluster), (_, runs)) in clusters.iter_mut().zip(&mut runs) {
            runs.push(cluster.run(1));
        }
    }
    rows(report, "A host on a store that has tickets", &runs);
}

/// Has a store have made so many tickets, of incidents of 1 KB.
fn fill(server: &Postgres, database: &str, count: usize) {
    let now = "(extract(epoch FROM now()) * 1000)::bigint";
    for statement in [
        "incidents (source, number, key, began, body, wanted, tell) SELECT '', 'old' || n, 'old' || n, '', repeat(md5(n::text), 32), TRUE, 0"
            .to_owned(),
        "tickets (backend, key, ticket, made) SELECT 'b', 'old' || n, '{\"url\": \"https://x.example.org/' || n || '\"}', TRUE".to_owned(),
        "assignments SELECT n, '', n".to_owned(),
        format!(
            "steps (ticket, incident, backend, level, state, doubt, certain, settled, due, expires, lease, tries, tried_before, settle, \
             accepted, seen, accepted_at, changed_at) \
             SELECT n, n, 'b', 3, 'created', 0, 1, 0, NULL, 0, 1, 1, 0, 0, {now}, {now}, {now}, {now}"
        ),
        format!("attempts SELECT n, 1, {now}, {now}, 'created', NULL"),
    ] {
        let from = format!("FROM generate_series(1, {count}) AS n");
        server.sql(database, &format!("SET search_path = ticket_host; INSERT INTO {statement} {from}"));
    }
    server.sql(database, "VACUUM ANALYZE");
}
