//! What the process takes of the machine, by the names that all programs have for that
//! (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics). Workers are processes of their own, and not in it.

use prometheus_client::registry::Registry;

/// Nothing where the machine doesn't tell.
#[cfg(target_os = "linux")]
pub(super) fn registry(started: crate::store::Timestamp) -> Option<Registry> {
    use std::sync::atomic::AtomicU64;

    use procfs::process::{LimitValue, Process};
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Unit;

    use crate::store::Timestamp;

    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let mut registry = Registry::default();
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64);
    registry.register_with_unit("process_cpu", "CPU time, user and system", Unit::Seconds, cpu);
    let start = Gauge::<f64, AtomicU64>::default();
    start.set(started.since(Timestamp::EPOCH).as_secs_f64());
    let help = "When the process was started";
    registry.register_with_unit("process_start_time", help, Unit::Seconds, start);
    let gauge = |number: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        gauge
    };
    let resident = gauge(stat.rss * procfs::page_size());
    let help = "Memory that is in the machine's";
    registry.register_with_unit("process_resident_memory", help, Unit::Bytes, resident);
    let help = "Memory that is addressed";
    registry.register_with_unit("process_virtual_memory", help, Unit::Bytes, gauge(stat.vsize));
    if let Ok(open) = process.fd_count() {
        registry.register("process_open_fds", "Open file descriptors", gauge(open as u64));
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        registry.register("process_max_fds", "How many may be open", gauge(most));
    }
    Some(registry)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn registry(_: crate::store::Timestamp) -> Option<Registry> {
    None
}
