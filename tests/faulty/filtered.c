/* Runs a program behind a seccomp filter that refuses the system calls by which a process confines itself, as the filter
   around a container or around systemd's services can:

      filtered EPERM|ENOSYS|EOPNOTSUPP landlock|seccomp|both PROGRAM [ARGUMENT...]

   It ends with 125 if it can't do that. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The numbers of Landlock's three calls are the same on every architecture, and not in the headers of every system. */
enum { FIRST_OF_LANDLOCK = 444, LAST_OF_LANDLOCK = 446 };

static const struct { const char *name; unsigned number; } errors[] = {
   {"EPERM", EPERM}, {"ENOSYS", ENOSYS}, {"EOPNOTSUPP", EOPNOTSUPP}};

int main(int count, char **arguments) {
   unsigned error = 0;
   if (count < 4) return 125;
   for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
      if (strcmp(arguments[1], errors[i].name) == 0) error = errors[i].number;
   const int both = strcmp(arguments[2], "both") == 0;
   const int landlock = both || strcmp(arguments[2], "landlock") == 0;
   const int seccomp = both || strcmp(arguments[2], "seccomp") == 0;
   if (error == 0 || !(landlock || seccomp)) return 125;

   struct sock_filter steps[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      /* How many steps to skip where the comparison holds, and where it doesn't. */
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, seccomp ? 3 : 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_OF_LANDLOCK, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_OF_LANDLOCK, landlock ? 1 : 0, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
   };
   const struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};
   if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
      perror("filtered");
      return 125;
   }
   execv(arguments[3], arguments + 3);
   perror(arguments[3]);
   return 125;
}
