//! Control groups, by which Linux itself keeps each worker, and all of them together, from taking too much. There are
//! some where the host's own cgroup (v2) is delegated to it, as systemd does with `Delegate=`:
//!
//! ```text
//! the delegated cgroup     memory, pids and cpu are enabled for what is below it
//! ├── host                 the host and all else that isn't a worker
//! └── workers              memory.max of all together
//!     ├── 4711-0           a worker of the host whose process is 4711
//!     └── 4711-1
//! ```
//!
//! Invariant: nothing outside of a delegated cgroup is touched. Without one the host only watches ([`super::watch`]).
//!
//! Documents: <https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://systemd.io/CGROUP_DELEGATION/>.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::watch::{MEMORY, THREADS, most_memory};

/// The cgroup that the host itself is in, below the delegated one (`DelegateSubgroup=`).
const HOST: &str = "host";
/// What is enabled for workers, where it is delegated.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// The time of one processor: microseconds that a worker may use, of each so many.
const PROCESSOR: &str = "100000 100000";
/// How often and after which pause it is tried to remove a worker's cgroup. It can't be as long as one of its processes
/// is about to end.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// The cgroups of this host's workers.
#[derive(Debug)]
pub(super) struct Tree {
    /// The cgroup above those of the workers.
    workers: PathBuf,
    /// Those of [`CONTROLLERS`] that could be enabled.
    pub controllers: Vec<&'static str>,
    /// How many workers have had a cgroup.
    count: AtomicU64,
}

/// Why there are no cgroups.
#[derive(Debug)]
pub(super) struct NoTree {
    pub why: String,
    /// Whether they were delegated, and could not be used all the same.
    pub is_odd: bool,
}

/// The cgroups of this process's workers. They are made when they are asked for the first time, and then the host is
/// moved into a cgroup of its own. That must be before it starts any process, which would stay where the host was, and
/// where a process is nothing can be enabled for what is below.
pub(super) fn tree() -> &'static Result<Tree, NoTree> {
    static TREE: OnceLock<Result<Tree, NoTree>> = OnceLock::new();
    TREE.get_or_init(|| {
        let found = delegated().map_err(|why| NoTree { why, is_odd: false })?;
        Tree::below(&found).map_err(|cause| NoTree { why: cause.to_string(), is_odd: true })
    })
}

/// A new cgroup, with the process `id` in it. None if there is none for it.
pub(super) fn of_worker(id: u32) -> Option<Cgroup> {
    let tree = tree().as_ref().ok()?;
    match tree.add(id) {
        Ok(cgroup) => Some(cgroup),
        Err(cause) => {
            tracing::warn!("a worker has no cgroup, and is only watched: {cause}");
            None
        }
    }
}

/// A cgroup that is delegated to this process.
#[derive(Debug)]
struct Delegated {
    directory: PathBuf,
    /// Whether this process is in a cgroup below it already (`DelegateSubgroup=`).
    is_above: bool,
}

fn delegated() -> Result<Delegated, String> {
    let read = |file| fs::read_to_string(file).map_err(|cause| format!("{file}: {cause}"));
    let own = own_directory(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
    let own = own.ok_or("there is no cgroup v2 here")?;
    if is_delegated(&own) {
        return Ok(Delegated { directory: own, is_above: false });
    }
    match own.parent() {
        // The parent of any other may be delegated to somebody else, such as a user's own systemd.
        Some(parent) if own.ends_with(HOST) && is_delegated(parent) => {
            Ok(Delegated { directory: parent.to_owned(), is_above: true })
        }
        _ => Err(format!("{} is not delegated to the host", own.display())),
    }
}

/// The directory of this process's cgroup, by `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn own_directory(cgroups: &str, mounts: &str) -> Option<PathBuf> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|mount| {
        // See proc_pid_mountinfo(5): numbers, the root within the file system, the mount point, ... - the type.
        let (place, kind) = mount.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        // A path out of what is mounted here begins with `/..`.
        let inside = !below.components().any(|part| part.as_os_str() == "..");
        // Without a slash at its end, so that its parent is the one above.
        inside.then(|| Path::new(point).join(below).components().collect())
    })
}

/// Whether systemd, or whoever made the cgroup, marked it as delegated.
#[cfg(target_os = "linux")]
fn is_delegated(cgroup: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(cgroup, *name, &mut value[..])
            .is_ok_and(|length| &value[..length] == b"1")
    })
}

#[cfg(not(target_os = "linux"))]
fn is_delegated(_: &Path) -> bool {
    false
}

impl Tree {
    /// Makes the cgroups for workers. What all of them may take together is set as soon as the config was read: until then it is what
    /// another host in this cgroup has set.
    fn below(delegated: &Delegated) -> io::Result<Tree> {
        let above = &delegated.directory;
        // Where processes are, no controllers can be enabled for what is below.
        if !delegated.is_above {
            let host = above.join(HOST);
            make(&host)?;
            write(&host.join("cgroup.procs"), "0")?;
        }
        let workers = above.join("workers");
        enable(above)?;
        make(&workers)?;
        enable(&workers)?;
        let enabled = read(&workers.join("cgroup.subtree_control"))?;
        let is_enabled = |name: &&str| enabled.split_whitespace().any(|enabled| enabled == *name);
        let controllers: Vec<&str> = CONTROLLERS.into_iter().filter(is_enabled).collect();
        if controllers.is_empty() {
            let why = format!("{}: neither memory nor pids nor cpu is delegated", above.display());
            return Err(io::Error::other(why));
        }
        let tree = Tree { workers, controllers, count: AtomicU64::new(0) };
        tree.remove_leftovers();
        Ok(tree)
    }

    /// Sets how many bytes of memory all workers may have together.
    pub(super) fn bound_memory(&self, bytes: u64) -> io::Result<()> {
        if !self.controllers.contains(&"memory") {
            return Ok(());
        }
        let bytes = if bytes == u64::MAX { "max".to_owned() } else { bytes.to_string() };
        write(&self.workers.join("memory.max"), &bytes)
    }

    /// Removes the cgroups of hosts that ended before they could do it.
    fn remove_leftovers(&self) {
        for entry in fs::read_dir(&self.workers).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let host = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok());
            if entry.path().is_dir() && host.is_some_and(is_gone) {
                // An error: a process is still in it. Then a later host removes it.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// Makes a cgroup with the process `id` in it.
    fn add(&self, id: u32) -> io::Result<Cgroup> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let directory = self.workers.join(format!("{}-{number}", std::process::id()));
        make(&directory)?;
        let bounds_all = ["memory", "pids"].iter().all(|name| self.controllers.contains(name));
        let cgroup = Cgroup { directory, bounds_all };
        let (memory, threads) = (MEMORY.to_string(), THREADS.to_string());
        for (controller, file, value) in [
            ("memory", "memory.max", memory.as_str()),
            // All of its processes are killed together, not one of them.
            ("memory", "memory.oom.group", "1"),
            ("pids", "pids.max", &threads),
            ("cpu", "cpu.max", PROCESSOR),
        ] {
            if self.controllers.contains(&controller) {
                write(&cgroup.directory.join(file), value)?;
            }
        }
        // Kernels without swap don't have this file.
        let _ = write(&cgroup.directory.join("memory.swap.max"), "0");
        write(&cgroup.directory.join("cgroup.procs"), &id.to_string())?;
        Ok(cgroup)
    }
}

/// The cgroup of one worker. Dropping it kills what is in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
    /// Whether it bounds memory and threads, so that the host need not watch them.
    pub bounds_all: bool,
}

impl Cgroup {
    /// Whether Linux killed the worker since it took too much memory: why, after the words "its process".
    pub(super) fn out_of_memory(&self) -> Option<String> {
        let events = read(&self.directory.join("memory.events")).ok()?;
        let mut killed = events.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        (killed.next()? != "0").then(|| {
            let all = match most_memory() {
                u64::MAX => String::new(),
                all => format!(", and {} MiB to all workers together", all >> 20),
            };
            format!(
                "took too much memory, and was killed by Linux ({} MiB are allowed{all})",
                MEMORY >> 20
            )
        })
    }

    /// Processor time that it has used so far.
    pub(super) fn processor_time(&self) -> Option<Duration> {
        let stat = read(&self.directory.join("cpu.stat")).ok()?;
        let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        used.parse().ok().map(Duration::from_micros)
    }

    /// Kills what is in it, and removes it as soon as that has ended.
    pub(super) async fn removed(&self) {
        self.kill();
        for _ in 0..TRIES {
            match fs::remove_dir(&self.directory) {
                Err(cause) if cause.kind() == io::ErrorKind::ResourceBusy => {}
                // It is gone, or it can't be removed at all; then a later host does it.
                _ => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn kill(&self) {
        // Linux has this file since 5.14. The process group is killed anyhow.
        let _ = write(&self.directory.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        // An error: it is removed already, or a later host does it.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Bytes of memory that this process's cgroup lets it have. None if there is no such limit.
pub(super) fn memory_limit() -> Option<u64> {
    let read = |file| fs::read_to_string(file).ok();
    let own = own_directory(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)?;
    let limits = own.ancestors().map(|cgroup| cgroup.join("memory.max"));
    limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// Enables controllers for what is below a cgroup, as far as there are.
fn enable(cgroup: &Path) -> io::Result<()> {
    let there = read(&cgroup.join("cgroup.controllers"))?;
    for name in CONTROLLERS {
        if there.split_whitespace().any(|there| there == name) {
            write(&cgroup.join("cgroup.subtree_control"), &format!("+{name}"))?;
        }
    }
    Ok(())
}

/// Whether there is no such process.
#[cfg(unix)]
fn is_gone(process: i32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let gone = |pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
    Pid::from_raw(process).is_none_or(gone)
}

#[cfg(not(unix))]
fn is_gone(_: i32) -> bool {
    false
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(at(directory, &cause)),
        _ => Ok(()),
    }
}

fn read(file: &Path) -> io::Result<String> {
    fs::read_to_string(file).map_err(|cause| at(file, &cause))
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    // Not fs::write(), which would make a file that isn't there.
    let written = fs::File::options()
        .write(true)
        .open(file)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    written.map_err(|cause| at(file, &cause))
}

fn at(place: &Path, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{}: {cause}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_lies_where_cgroup2_is_mounted() {
        let mount = |root: &str, point: &str| {
            format!(
                "31 23 0:28 / /sys rw - sysfs sysfs rw\n\
                 41 31 0:38 {root} {point} rw,relatime shared:5 - cgroup2 cgroup2 rw\n"
            )
        };
        for (cgroups, mounts, own) in [
            (
                "1:cpu:/x\n0::/system.slice/ticket-host.service\n",
                mount("/", "/sys/fs/cgroup"),
                Some("/sys/fs/cgroup/system.slice/ticket-host.service"),
            ),
            ("0::/\n", mount("/", "/sys/fs/cgroup"), Some("/sys/fs/cgroup")),
            ("0::/a/b\n", mount("/a", "/mnt"), Some("/mnt/b")),
            ("0::/a\n", mount("/a", "/mnt"), Some("/mnt")),
            // Outside of what is mounted.
            ("0::/b\n", mount("/a", "/mnt"), None),
            ("0::/../b\n", mount("/", "/mnt"), None),
            // Only the older version of cgroups.
            ("1:cpu:/x\n", mount("/", "/sys/fs/cgroup"), None),
            ("0::/x\n", String::new(), None),
        ] {
            let found = own_directory(cgroups, &mounts);
            assert_eq!(found.as_deref(), own.map(Path::new), "{cgroups}{mounts}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.max");
        let error = write(&file, "1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("memory.max"), "{error}");
        assert!(!file.exists());
    }
}
