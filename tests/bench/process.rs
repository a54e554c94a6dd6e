//! What a process and its children used: processor time and memory, as Linux tells it.

use std::fs;
use std::time::Duration;

/// In ticks of 10 ms, which Linux has had on every platform for decades.
const TICK: Duration = Duration::from_millis(10);

/// Processor time that a process, those of its children that it waited for, and those that still
/// run have used.
pub fn cpu(process: u32) -> Duration {
    tree(process).iter().map(|&id| own_cpu(id)).sum()
}

/// Kilobytes of memory that a process and its children have now: what they share
/// (the program, its libraries) counts once.
pub fn memory(process: u32) -> u64 {
    tree(process)
        .iter()
        .map(|id| {
            let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"));
            field(&rollup.unwrap_or_default(), "Pss:")
        })
        .sum()
}

/// Kilobytes of memory that a process and its children had at most, what they share counted once:
/// what they have now, and what each had more of its own at its peak.
pub fn most_memory(process: u32) -> u64 {
    let more = |id: &u32| peak(*id).saturating_sub(resident(*id));
    memory(process) + tree(process).iter().map(more).sum::<u64>()
}

/// Kilobytes that are resident of a process alone now.
pub fn resident(process: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default(), "VmRSS:")
}

/// Kilobytes that the process alone had at most.
pub fn peak(process: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default(), "VmHWM:")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn own_cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may have spaces: utime, stime, cutime, cstime are fields 14 to 17.
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
