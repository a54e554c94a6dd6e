/* A plugin that takes more than it may. In create() it does what `information.fault` says. */
#define _GNU_SOURCE
#include "ticket_plugin_helpers.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct greedy { ticket_text fault; } greedy;

static int32_t open_backend(const ticket_call *call, ticket_str settings, void **instance) {
   greedy *self = calloc(1, sizeof *self);
   if (self == NULL) return ticket_fail(call, TICKET_PLUGIN_ERROR, "later", "out of memory", ticket_of(""));
   ticket_put_unescaped(&self->fault, ticket_member(ticket_member(settings, "information"), "fault"));
   return *instance = self, TICKET_OK;
}

static int32_t check(void *instance, const ticket_call *call) {
   (void)instance;
   return ticket_reply(call, TICKET_OK, "{\"checks\": []}", "", ticket_of(""), "");
}

static void *sleep_for_ever(void *unused) {
   for (;;) sleep(1000);
   return unused;
}

static void *work_for_ever(void *unused) {
   for (volatile unsigned i = 0;; i++) {}
   return unused;
}

/* Each signal would undo the stop that the host sends. */
static void *wake_for_ever(void *unused) {
   for (;;) kill(getpid(), SIGCONT);
   return unused;
}

static void *print_for_ever(void *unused) {
   static char line[4096];
   memset(line, 'x', sizeof line);
   while (write(2, line, sizeof line) > 0) {}
   return unused;
}

static void start_threads(int count, void *(*what)(void *)) {
   pthread_attr_t small;
   pthread_attr_init(&small);
   pthread_attr_setstacksize(&small, (size_t)64 << 10);
   for (int i = 0; i < count; i++) {
      pthread_t thread;
      if (pthread_create(&thread, &small, what, NULL) != 0) return;
   }
}

static void take_memory(size_t megabytes) {
   const size_t size = megabytes << 20;
   uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
   if (memory != MAP_FAILED) memset(memory, 1, size);
}

/* Starts processes that outlive their parents: each is a child of a child that ends at once. */
static void start_daemons(int count) {
   for (int i = 0; i < count; i++) {
      const pid_t child = fork();
      if (child > 0) waitpid(child, NULL, 0);
      if (child != 0) continue;
      if (fork() == 0) sleep_for_ever(NULL);
      _exit(0);
   }
}

static int32_t create(void *instance, const ticket_call *call, ticket_str request) {
   greedy *self = instance;
   char fault[64];
   snprintf(fault, sizeof fault, "%.*s", (int)self->fault.len, (const char *)self->fault.bytes);
   (void)request;
   if (strcmp(fault, "threads") == 0) start_threads(1000, sleep_for_ever), sleep_for_ever(NULL);
   if (strcmp(fault, "processes") == 0) start_daemons(100), sleep_for_ever(NULL);
   if (strcmp(fault, "zombies") == 0) {
      for (int i = 0; i < 100; i++) {
         if (fork() == 0) _exit(0);
      }
      sleep_for_ever(NULL);
   }
   if (strcmp(fault, "memory") == 0) take_memory(1024), sleep_for_ever(NULL);
   if (strcmp(fault, "headless") == 0) start_threads(1, sleep_for_ever), syscall(SYS_exit, 0);
   if (strcmp(fault, "daemons_and_waits") == 0) start_daemons(6), sleep_for_ever(NULL);
   if (strcmp(fault, "works") == 0) start_threads(2, work_for_ever), sleep_for_ever(NULL);
   if (strcmp(fault, "waits") == 0) sleep_for_ever(NULL);
   if (strcmp(fault, "prints") == 0) print_for_ever(NULL);
   if (strcmp(fault, "dies") == 0) start_daemons(3), _exit(3);
   /* These return, and leave something behind. */
   if (strcmp(fault, "keeps_threads") == 0) start_threads(100, sleep_for_ever);
   if (strcmp(fault, "keeps_memory") == 0) take_memory(100);
   if (strcmp(fault, "works_on") == 0) start_threads(2, work_for_ever);
   if (strcmp(fault, "wakes_on") == 0) start_threads(2, wake_for_ever);
   if (strcmp(fault, "daemons") == 0) start_daemons(6);
   return ticket_reply(call, TICKET_OK, "{\"url\": \"https://tickets.example.org/1\"}", "", ticket_of(""), "");
}

static int32_t find(void *instance, const ticket_call *call, ticket_str request) {
   (void)instance, (void)call, (void)request;
   return TICKET_NOT_FOUND;
}

static const char manifest[] = "{\"name\": \"greedy\", \"version\": \"1\"}";

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
   return host_abi_version == TICKET_PLUGIN_ABI_VERSION ? &table : NULL;
}
