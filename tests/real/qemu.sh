#!/usr/bin/env bash
# Boots one of Debian's kernels in a machine that qemu makes in software, and runs a shell script in it as root, in the
# directory in which this was started. What the script prints is printed here, and its exit code is this one's; 124 says
# that the time was over, and 125 that the kernel ended before the script.
#
#   tests/real/qemu.sh [--kernel SUITE] [--append WORDS] [--seconds N] [--package NAME] SCRIPT [FILE...]
#
# --kernel   the suite of Debian whose kernel is booted: bullseye (5.10), bookworm (6.1, if none is named), trixie (6.12)
# --append   words for the kernel's command line: "lsm=yama" boots without Landlock
# --seconds  after which the machine is ended; 120 if none are named
# --package  a package of that suite is unpacked in there, with all that it depends on
# FILE       a file or directory that lies at the same path in there. Programs and libraries are stripped (a debug build
#            is too large), and the shared libraries that they need come along.
#
# The machine has two processors, 1 GiB of memory, no disk and no network but its loopback. Its files are busybox and
# what is named here; the users are root and `user` (1000). The first time, qemu is installed (Debian, as root) and a
# kernel is fetched: 16 MB for qemu, 1 for busybox, 27 to 45 for each kernel, 9 for each suite's list of packages. Then it
# takes 3 s until SCRIPT is run.
set -euo pipefail

kernel=bookworm append='' seconds=120 package=''
while [ $# -gt 0 ]; do
  case $1 in
    --kernel) kernel=$2 ;;
    --append) append=$2 ;;
    --seconds) seconds=$2 ;;
    --package) package=$2 ;;
    *) break ;;
  esac
  shift 2
done
script=$1
shift
cache=${QEMU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ticket-host/qemu}

type qemu-system-x86_64 cpio strip >/dev/null 2>&1 || {
  "$(dirname "${BASH_SOURCE[0]}")/../apt.sh" qemu-system-x86 cpio binutils
}

# Calls apt with the arguments behind the suite $1. It knows that suite alone, and no package that is installed here.
of_suite() {
  local suite=$1 apt=$cache/apt/$1
  shift
  if [ ! -e "$apt/sources.list" ]; then
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    echo "deb http://deb.debian.org/debian $suite main" >"$apt/sources.list"
    of_suite "$suite" apt-get -qq update
  fi
  # As root, apt would read and fetch as a user who may not enter this directory.
  "$1" -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::status=/dev/null \
    -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" -o Acquire::Languages=none -o APT::Sandbox::User=root "${@:2}"
}
# Unpacks packages of the suite $1 into a directory of the cache, $2, unless they are there: it gets its name when it is
# whole. They are not installed: this machine stays as it is.
unpack() {
  local suite=$1 target=$cache/$2 new
  shift 2
  [ ! -d "$target" ] || return 0
  new=$(mktemp -d)
  mkdir -p "$new"/debs "$new"/root/usr/{bin,lib,lib64,sbin}
  (cd "$new/root" && ln -s usr/{bin,lib,lib64,sbin} .)
  (cd "$new/debs" && of_suite "$suite" apt-get -qq download "$@")
  for deb in "$new"/debs/*; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$new/root" --keep-directory-symlink \
      --exclude './usr/share/*' --exclude './lib/modules/*' --exclude './usr/lib/modules/*'
  done
  mv "$new/root" "$target"
  rm -r "$new"
}
mkdir -p "$cache"
(
  # Others may run this at the same time.
  flock 9
  # The package of that name is empty, and depends on the newest kernel.
  [ -d "$cache/$kernel" ] || unpack "$kernel" "$kernel" \
    "$(of_suite "$kernel" apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image.*\)/\1/p')"
  # The same for all: what differs is the kernel.
  unpack bookworm busybox busybox-static
  # shellcheck disable=SC2046 # a list of names
  [ -z "$package" ] || [ -d "$cache/$kernel-$package" ] || unpack "$kernel" "$kernel-$package" \
    $(of_suite "$kernel" apt-get -qq --simulate --no-install-recommends install "$package" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
  rm -rf "$cache/apt"
) 9>"$cache/lock" >&2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
cp -a "$cache/${package:+$kernel-}${package:-busybox}" "$root"
mkdir -p "$root"/{dev,etc,home,proc,root,run,sys,tmp,var/tmp}
[ -z "$package" ] || cp "$cache/busybox/bin/busybox" "$root/bin/busybox"
cp "$script" "$root/script"
mkdir -p "$root$PWD"
echo "cd '$PWD'" >"$root/directory"
printf 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
printf 'root:*:0:::::\nuser:*:0:::::\n' >"$root/etc/shadow"
chmod 600 "$root/etc/shadow"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
find "$@" -type f -exec realpath -s {} + | while read -r file; do
  mkdir -p "$root$(dirname "$file")"
  strip -o "$root$file" "$file" 2>/dev/null || cp "$file" "$root$file"
  # Only libraries have a path in there; of what is no program, ldd says nothing.
  { ldd "$file" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -nL "$library" "$root$library"
  done
done
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
# What is there already stays.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir /dev/shm
mount -t tmpfs -o mode=1777 shm /dev/shm
# A kernel may be booted without it.
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
chmod 1777 /tmp /var/tmp
# What `user` starts may print, too.
chmod 666 /dev/console
ip link set lo up
. /directory
sh /script </dev/null 2>&1
echo "
script ended with $?"
poweroff -f
INIT
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/initramfs"

# No timer check: the emulated timer can be late when this machine is busy, which the kernel would take for a fault.
# A panic reboots at once, which ends qemu; nothing else of the kernel's goes to the console.
timeout "$seconds" qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -serial stdio \
  -accel tcg,thread=multi -machine pc -cpu max -smp 2 -m 1024 -kernel "$cache/$kernel/boot/vmlinuz-"* -initrd "$work/initramfs" \
  -append "console=ttyS0 loglevel=1 panic=-1 no_timer_check $append" </dev/null |
  tee "$work/console" | sed -u 's/\r$//; /^script ended with/,$d' && code=0 || code=${PIPESTATUS[0]}
[ "$code" -eq 0 ] || exit "$code"
ended=$(sed -n 's/^script ended with \([0-9]*\)\r$/\1/p' "$work/console")
[ -n "$ended" ] || { echo "the kernel ended before the script" >&2; exit 125; }
exit "$ended"
