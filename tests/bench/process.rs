//! Reads from /proc how much processor time and memory a process and its children have used.

use std::fs;
use std::time::Duration;

/// The unit of processor time in /proc. Linux has had 10 ms on every platform for decades.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of a process and of its children: of those that still run, and of those that have ended
/// and that it has waited for.
pub fn cpu(process: u32) -> Duration {
    tree(process).iter().map(|&id| own_cpu(id)).sum()
}

/// Kilobytes of memory that a process and its children have now. What they share (the program, its libraries)
/// is counted once.
pub fn memory(process: u32) -> u64 {
    tree(process)
        .iter()
        .map(|id| {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"));
            field(&rollup.unwrap_or_default(), "Pss:")
        })
        .sum()
}

/// Kilobytes of memory that a process and its children have had at most, with what they share counted once.
/// That is what they have now, and for each process what it had more at its peak than now.
pub fn most_memory(process: u32) -> u64 {
    let more = |id: &u32| peak(*id).saturating_sub(resident(*id));
    memory(process) + tree(process).iter().map(more).sum::<u64>()
}

/// Kilobytes of memory that a process alone has resident now.
pub fn resident(process: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default(), "VmRSS:")
}

/// Kilobytes of memory that a process alone has had resident at most.
pub fn peak(process: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default(), "VmHWM:")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn own_cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // utime, stime, cutime and cstime are fields 14 to 17. Fields are counted from behind the program's name,
    // the second field, which may have spaces in it.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

fn tree(process: u32) -> Vec<u32> {
    let below = children(process).into_iter().flat_map(tree);
    [process].into_iter().chain(below).collect()
}

pub fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let ids = |list: String| -> Vec<u32> {
        list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
    };
    lists.flat_map(ids).collect()
}
