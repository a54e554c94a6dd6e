//! What workers take, compared with what they may take: each alone, and all together.
//!
//! Linux has no limit of threads or of resident memory that an ordinary user could set for a single process, so the
//! host looks by itself. Where workers have cgroups ([`super::cgroup`]), Linux keeps the same bounds, and nobody looks.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::cgroup;
use super::group::Group;
use crate::lock::lock;

/// Threads that a worker may have, with those of the programs that its plugin started. Plugins need one; some
/// languages' runtimes have one more for each processor.
pub(super) const THREADS: u64 = 64;
/// Bytes of memory that a worker may have, with the programs that its plugin started. A plugin holds an incident of
/// 16 MiB and an answer of 32 MiB at most, a few times over.
pub(super) const MEMORY: u64 = 512 << 20;
/// How long the host waits before it looks again at a worker that works.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Milliseconds of processor time in Linux's unit of it (USER_HZ), which is the same on all architectures of Rust's.
const TICK: u64 = 10;

/// What a worker takes, together with the programs that its plugin started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub processes: u64,
    pub threads: u64,
    /// Bytes of memory that are its own: not those of files, nor of the plugin's library, which processes share.
    pub memory: u64,
    /// Whether its main thread has ended and others go on. Nothing is told of such a process's memory.
    pub headless: bool,
}

impl Usage {
    /// What one process takes, in which a library of so many bytes is loaded. None if it has ended or can't be seen.
    pub(super) fn of_process(id: u32, library: u64) -> Option<Usage> {
        Usage::read(&fs::read_to_string(format!("/proc/{id}/status")).ok()?, library)
    }

    /// What all processes of a group take. None if there are none that can be seen.
    pub(super) fn of_group(group: u32, library: u64) -> Option<Usage> {
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let members = ids.filter(|id| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat"));
            stat.is_ok_and(|stat| group_of(&stat) == Some(group))
        });
        members
            .filter_map(|id| match Usage::of_process(id, library) {
                // One that has ended takes a place all the same until its parent has looked at it.
                None if id != group => Some(Usage { processes: 1, threads: 1, ..Usage::default() }),
                usage => usage,
            })
            .reduce(|all, one| Usage {
                processes: all.processes + one.processes,
                threads: all.threads + one.threads,
                memory: all.memory + one.memory,
                headless: all.headless || one.headless,
            })
    }

    /// Reads `/proc/PID/status` (proc_pid_status(5)). None if the process has ended.
    fn read(status: &str, library: u64) -> Option<Usage> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next())
        };
        let bytes = |name| field(name)?.parse::<u64>().ok()?.checked_mul(1024);
        let threads = field("Threads")?.parse().ok()?;
        let has_ended = matches!(field("State")?, "Z" | "X");
        if has_ended && threads <= 1 {
            return None;
        }
        let own = bytes("RssAnon").unwrap_or(0) + bytes("VmSwap").unwrap_or(0);
        // The library is a file in memory (`Image`), whose pages Linux counts as shared memory of each process.
        let shared = bytes("RssShmem").unwrap_or(0).saturating_sub(library);
        Some(Usage {
            processes: 1,
            threads,
            memory: own.saturating_add(shared),
            headless: has_ended,
        })
    }

    /// Why a worker that takes so much is killed, after the words "its process". None if it may go on.
    pub(super) fn excess(&self) -> Option<String> {
        let Usage { processes, threads, memory, headless } = *self;
        if headless {
            return Some("went on without its main thread, and was killed".to_owned());
        }
        if threads > THREADS {
            let among =
                if processes > 1 { format!(" in {processes} processes") } else { String::new() };
            return Some(format!(
                "had {threads} threads{among}, and was killed ({THREADS} are allowed)"
            ));
        }
        (memory > MEMORY).then(|| {
            let (memory, most) = (memory >> 20, MEMORY >> 20);
            format!("took {memory} MiB of memory, and was killed ({most} MiB are allowed)")
        })
    }
}

/// The fields of `/proc/PID/stat` (proc_pid_stat(5)) from the third on, which is the process's state.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    // The second, the name in parentheses, may have anything in it.
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

/// The process group in `/proc/PID/stat`.
fn group_of(stat: &str) -> Option<u32> {
    fields(stat)?.nth(2)?.parse().ok()
}

/// Processor time that a process's threads have used so far. None if that can't be seen.
pub(super) fn processor_time(id: u32) -> Option<Duration> {
    used(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The processor time in `/proc/PID/stat`, in user mode and in the kernel together.
fn used(stat: &str) -> Option<Duration> {
    let ticks: Vec<u64> =
        fields(stat)?.skip(11).take(2).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let [user, kernel] = ticks[..] else { return None };
    Some(Duration::from_millis(TICK.checked_mul(user.checked_add(kernel)?)?))
}

/// How large a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub threads: u64,
    /// Bytes of memory that it has resident.
    pub resident: u64,
}

/// How large the process of this number is. None where the platform doesn't tell (only Linux does).
pub(crate) fn size(id: u32) -> Option<Size> {
    size_of(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The size in `/proc/PID/stat`.
fn size_of(stat: &str) -> Option<Size> {
    let fields: Vec<&str> = fields(stat)?.skip(17).take(5).collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Size { threads: number(0)?, resident: number(4)?.checked_mul(4096)? })
}

/// How long the host waits until it looks again if looking took so long: then it looks for a tenth of the time at most.
pub(super) fn pause_after(took: Duration) -> Duration {
    PAUSE.max(took * 9)
}

/// All workers of this process. There is one list, since it is this process whose children they are.
static ALL: Mutex<Vec<Weak<Group>>> = Mutex::new(Vec::new());
/// Bytes of memory that all of them may have together.
static MOST_MEMORY: AtomicU64 = AtomicU64::new(u64::MAX);
/// Whether some worker could not be looked at.
static BLIND: AtomicBool = AtomicBool::new(false);

/// Takes a new group into the list.
pub(super) fn add(group: &Arc<Group>) {
    let mut all = lock(&ALL);
    all.retain(|group| group.strong_count() > 0);
    all.push(Arc::downgrade(group));
}

/// How many bytes of memory all workers may have together.
pub(super) fn most_memory() -> u64 {
    MOST_MEMORY.load(Ordering::Relaxed)
}

/// Notes that a worker which runs can't be looked at.
pub(super) fn is_blind() {
    if !BLIND.swap(true, Ordering::Relaxed) && cfg!(target_os = "linux") && cgroup::tree().is_err()
    {
        tracing::warn!("{HIDDEN}");
    }
}

/// What to say if workers can neither be looked at nor have cgroups.
const HIDDEN: &str = "nothing bounds the threads of workers, nor their memory below 2 GiB each: /proc hides them from \
     the host (hidepid=, ProtectProc=), and they have no cgroups";

/// What bounds what workers take, in a sentence. Err says that nothing does.
pub(crate) fn bounds() -> Result<String, String> {
    if !cfg!(target_os = "linux") {
        return Err("nothing bounds what workers take on this platform".to_owned());
    }
    let memory = MEMORY >> 20;
    let no_cgroups = match cgroup::tree() {
        Ok(tree) => {
            let bounds = tree.controllers.iter().map(|controller| match *controller {
                "memory" => format!("{memory} MiB of memory"),
                "pids" => format!("{THREADS} threads"),
                _ => "one processor".to_owned(),
            });
            let bounds = bounds.collect::<Vec<_>>().join(", ");
            return Ok(format!("each worker has a cgroup, which lets it have {bounds} at most"));
        }
        Err(no_tree) => &no_tree.why,
    };
    match BLIND.load(Ordering::Relaxed) {
        true => Err(HIDDEN.to_owned()),
        false => Ok(format!(
            "workers are watched, and killed if one has more than {memory} MiB of memory or {THREADS} threads; \
             they have no cgroups ({no_cgroups})"
        )),
    }
}

/// Why workers have no cgroups though some were delegated to the host.
pub(crate) fn no_cgroups() -> Option<String> {
    let no_tree = cgroup::tree().as_ref().err().filter(|no_tree| no_tree.is_odd)?;
    Some(format!("workers have no cgroups, and are only watched: {}", no_tree.why))
}

/// Sets how many bytes of memory all workers may have together. None is half of what there is.
pub(crate) fn bound_memory(bytes: Option<u64>) {
    let bytes = bytes.or_else(|| Some(memory_here()? / 2)).unwrap_or(u64::MAX);
    MOST_MEMORY.store(bytes, Ordering::Relaxed);
    if let Ok(tree) = cgroup::tree()
        && let Err(cause) = tree.bound_memory(bytes)
    {
        tracing::warn!(
            "nothing bounds the memory of all workers together: {cause}; start the service anew"
        );
    }
}

/// Bytes of memory that this machine, or this process's cgroup, has. None where the platform doesn't tell.
fn memory_here() -> Option<u64> {
    #[cfg(target_os = "linux")]
    let machine = {
        // Not /proc/meminfo, which a service manager may hide.
        let info = rustix::system::sysinfo();
        Some((info.totalram as u64).saturating_mul(info.mem_unit.into()))
    };
    #[cfg(not(target_os = "linux"))]
    let machine = None;
    machine.into_iter().chain(cgroup::memory_limit()).min()
}

/// Kills the largest worker if all together have more memory than they may have.
pub(super) fn weigh_all() {
    let all: Vec<Arc<Group>> = {
        let all = lock(&ALL);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    let memory: Vec<u64> = all.iter().map(|group| group.memory.load(Ordering::Relaxed)).collect();
    let most = most_memory();
    if let Some(largest) = largest_if_over(&memory, most) {
        let together: u64 = memory.iter().sum();
        all[largest].condemn(format!(
            "was killed as the largest of {}, which together took {} MiB of memory \
             (limits.workers_memory_megabytes allows {})",
            memory.iter().filter(|memory| **memory > 0).count(),
            together >> 20,
            most >> 20
        ));
    }
}

/// The place of the largest of these numbers, if all together are more than `most`.
fn largest_if_over(memory: &[u64], most: u64) -> Option<usize> {
    if memory.iter().sum::<u64>() <= most {
        return None;
    }
    (0..memory.len()).max_by_key(|place| memory[*place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_more_than_it_may_is_killed_and_told_what_it_took() {
        let usage =
            |processes, threads, memory, headless| Usage { processes, threads, memory, headless };
        for (usage, why) in [
            (usage(1, 1, 0, false), None),
            (usage(1, 64, 512 << 20, false), None),
            (usage(40, 64, 512 << 20, false), None),
            (usage(1, 65, 0, false), Some("had 65 threads, and was killed (64 are allowed)")),
            (
                usage(101, 102, 1 << 40, false),
                Some("had 102 threads in 101 processes, and was killed (64 are allowed)"),
            ),
            (
                usage(1, 1, 700 << 20, false),
                Some("took 700 MiB of memory, and was killed (512 MiB are allowed)"),
            ),
            (usage(1, 2, 0, true), Some("went on without its main thread, and was killed")),
        ] {
            assert_eq!(usage.excess().as_deref(), why, "{usage:?}");
        }
    }

    #[test]
    fn the_largest_is_killed_if_all_together_take_too_much() {
        for (memory, most, largest) in [
            (&[][..], 0, None),
            (&[5, 7, 3], 15, None),
            (&[5, 7, 3], 14, Some(1)),
            (&[9], 8, Some(0)),
            (&[0, 0], u64::MAX, None),
        ] {
            assert_eq!(largest_if_over(memory, most), largest, "{memory:?} {most}");
        }
    }

    #[test]
    fn a_status_is_read_by_its_fields() {
        let status = "Name:\tThreads:\t7\nState:\tS (sleeping)\nRssAnon:\t    1024 kB\nRssFile:\t  9999 kB\n\
                      RssShmem:\t       8 kB\nVmSwap:\t       4 kB\nThreads:\t3\n";
        let read = Usage { processes: 1, threads: 3, memory: 1036 << 10, headless: false };
        assert_eq!(Usage::read(status, 0), Some(read));
        let beside = Usage { memory: 1028 << 10, ..read };
        assert_eq!(Usage::read(status, 1 << 20), Some(beside), "the library is shared");
        assert_eq!(Usage::read("State:\tZ (zombie)\nThreads:\t1\n", 0), None);
        let headless = Usage { processes: 1, threads: 2, memory: 0, headless: true };
        assert_eq!(Usage::read("State:\tZ (zombie)\nThreads:\t2\n", 0), Some(headless));
        assert_eq!(Usage::read("", 0), None);
        assert_eq!(group_of("17 (a) b (c) S 1 42 9 0 -1"), Some(42));
        assert_eq!(group_of("17 (a"), None);
    }

    #[test]
    fn processor_time_is_that_in_user_mode_and_in_the_kernel() {
        let stat = "17 (a b) 3) S 1 42 9 0 -1 4194560 77 0 0 0 120 30 5 6 20 0 1 0";
        assert_eq!(used(stat), Some(Duration::from_millis(1500)));
        for bad in ["17 (a) S 1 42 9 0 -1 4194560 77 0 0 0 120", "17 (a) S 1", "17", ""] {
            assert_eq!(used(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_size_of_a_process_is_its_threads_and_its_pages() {
        let stat =
            "17 (a b) 3) S 1 42 9 0 -1 4194560 77 0 0 0 120 30 5 6 20 0 3 0 99 2048000 250 18";
        assert_eq!(size_of(stat), Some(Size { threads: 3, resident: 250 * 4096 }));
        for bad in
            ["17 (a) S 1 42 9 0 -1 4194560 77 0 0 0 120 30 5 6 20 0 3 0 99 2048000", "17 (a) S", ""]
        {
            assert_eq!(size_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn looking_takes_a_tenth_of_the_time_at_most() {
        assert_eq!(pause_after(Duration::from_millis(1)), PAUSE);
        assert_eq!(pause_after(Duration::from_millis(50)), Duration::from_millis(450));
    }
}
