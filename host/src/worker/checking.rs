//! Has glibc look after what a plugin under test does with its memory. Where there is no glibc, nothing looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends the program by abort() that frees what malloc() didn't give, frees it twice, or wrote behind it; what is freed, and what
/// was not yet written to, is filled with a byte (mallopt(3)). Without the cache of each thread, which does less to find that.
const TUNABLES: &str = "glibc.malloc.check=3:glibc.malloc.perturb=165:glibc.malloc.tcache_count=0";

/// Has each free() of a program checked.
pub(super) fn each_free(command: &mut Command) {
    command.env("GLIBC_TUNABLES", TUNABLES);
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(library) = beside_libc(&maps).filter(|library| library.is_file()) {
        command.env("LD_PRELOAD", library);
    }
}

/// Where the library lies that has glibc's checks, if glibc is among these mapped files.
fn beside_libc(maps: &str) -> Option<PathBuf> {
    let files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let mut libc = files.filter(|file| file.file_name().is_some_and(|name| name == "libc.so.6"));
    libc.next().map(|libc| libc.with_file_name("libc_malloc_debug.so.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checks_are_looked_for_beside_glibc() {
        for (maps, expected) in [
            ("", None),
            ("7f00-7f01 r-xp 0 fe:00 1 /lib/ld-musl-x86_64.so.1\n7f02-7f03 rw-p 0 0:0 0\n", None),
            (
                "5500-5501 r--p 0 fe:00 1 /usr/bin/ticket-host\n7f00-7f01 r--p 0 fe:00 2   /usr/lib/libc.so.6\n",
                Some("/usr/lib/libc_malloc_debug.so.0"),
            ),
        ] {
            assert_eq!(beside_libc(maps), expected.map(PathBuf::from), "{maps}");
        }
    }
}
