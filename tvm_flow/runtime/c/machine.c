// What this machine is: architecture, instructions, cores, and how many of them may be used.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum { MACHINE = 62 };
static const char ARCHITECTURE[] = "x86_64";

enum { EBX, ECX, EDX, EAX };
// LLVM's names; Intel, Software Developer's Manual 2A, CPUID. `state` is what the system must save of
// the registers (XCR0).
static const struct {
  const char* name;
  uint32_t leaf, subleaf;
  int reg, bit;
  uint32_t state;
} FEATURES[] = {
    {"sse4.1", 1, 0, ECX, 19, 0},
    {"sse4.2", 1, 0, ECX, 20, 0},
    {"avx", 1, 0, ECX, 28, 0x06},
    {"fma", 1, 0, ECX, 12, 0x06},
    {"f16c", 1, 0, ECX, 29, 0x06},
    {"avx2", 7, 0, EBX, 5, 0x06},
    {"bmi2", 7, 0, EBX, 8, 0},
    {"avx512f", 7, 0, EBX, 16, 0xe6},
    {"avx512dq", 7, 0, EBX, 17, 0xe6},
    {"avx512cd", 7, 0, EBX, 28, 0xe6},
    {"avx512bw", 7, 0, EBX, 30, 0xe6},
    {"avx512vl", 7, 0, EBX, 31, 0xe6},
    {"avx512vnni", 7, 0, ECX, 11, 0xe6},
    {"avx512bf16", 7, 1, EAX, 5, 0xe6},
    {"avxvnni", 7, 1, EAX, 4, 0x06},
};

static uint32_t saved_state(void) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0;  // OSXSAVE
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return a;
}

static bool has(size_t at) {
  uint32_t regs[4] = {0};
  if (!__get_cpuid_count(FEATURES[at].leaf, FEATURES[at].subleaf, &regs[EAX], &regs[EBX], &regs[ECX],
                         &regs[EDX]))
    return false;
  uint32_t state = FEATURES[at].state;
  return regs[FEATURES[at].reg] >> FEATURES[at].bit & 1 && (saved_state() & state) == state;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

enum { MACHINE = 183 };
static const char ARCHITECTURE[] = "aarch64";

// LLVM's names; Linux, arch/arm64/include/uapi/asm/hwcap.h.
static const struct {
  const char* name;
  unsigned long entry;
  int bit;
} FEATURES[] = {
    {"neon", AT_HWCAP, 1},      {"lse", AT_HWCAP, 8},    {"fullfp16", AT_HWCAP, 10},
    {"dotprod", AT_HWCAP, 20},  {"sve", AT_HWCAP, 22},   {"sve2", AT_HWCAP2, 1},
    {"i8mm", AT_HWCAP2, 13},    {"bf16", AT_HWCAP2, 14},
};

static bool has(size_t at) { return getauxval(FEATURES[at].entry) >> FEATURES[at].bit & 1; }
#else
#error "bundles are made for x86_64 and aarch64"
#endif

static bool has_named(const char* name) {
  for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++)
    if (!strcmp(FEATURES[i].name, name)) return has(i);
  return false;
}

int tvmf_machine_check(const Plan* plan, const char* path) {
  if (plan->machine != MACHINE)
    return tvmf_fail(TVMF_BUNDLE, "%s cannot run here: it is for %s, this machine is %s. Fix: copy it "
                     "to the board, or compile it with --target native", path, plan->board,
                     ARCHITECTURE);
  char missing[256] = "";
  for (uint32_t i = 0; i < plan->feature_count; i++) {
    if (has_named(plan->features[i])) continue;
    size_t used = strlen(missing);
    snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", plan->features[i]);
  }
  if (!*missing) return TVMF_OK;
  return tvmf_fail(TVMF_BUNDLE, "%s cannot run here: it was compiled for %s and this CPU lacks %s. "
                   "Fix: compile it for this machine with --target native", path, plan->board,
                   missing);
}

static long number_in(const char* path, long otherwise) {
  FILE* file = fopen(path, "re");
  long number = otherwise;
  if (!file) return otherwise;
  if (fscanf(file, "%ld", &number) != 1) number = otherwise;
  fclose(file);
  return number;
}

typedef struct {
  int32_t core;
  long clock;
} Speed;

static int faster_first(const void* one, const void* other) {
  const Speed *a = one, *b = other;
  if (a->clock != b->clock) return a->clock < b->clock ? 1 : -1;
  return a->core - b->core;
}

// What the calling thread had before it was pinned, for what it opens later.
static _Thread_local cpu_set_t before_pin, pinned;

void tvmf_machine_pin(int32_t core) {
  cpu_set_t now, one;
  if (sched_getaffinity(0, sizeof now, &now)) return;  // where it is refused, the scheduler decides
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  if (sched_setaffinity(0, sizeof one, &one)) return;
  if (!CPU_EQUAL(&now, &pinned)) before_pin = now;
  pinned = one;
}

int tvmf_machine_cores(int32_t* cores, int most) {
  cpu_set_t allowed;
  Speed speeds[CPU_SETSIZE];
  int count = 0;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) {  // a sandbox, or more than CPU_SETSIZE
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    CPU_ZERO(&allowed);
    for (int core = 0; core < CPU_SETSIZE && (!core || core < online); core++) CPU_SET(core, &allowed);
  }
  if (CPU_EQUAL(&allowed, &pinned)) allowed = before_pin;
  for (int core = 0; core < CPU_SETSIZE; core++) {
    if (!CPU_ISSET(core, &allowed)) continue;
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", core);
    speeds[count++] = (Speed){core, number_in(path, 0)};
  }
  qsort(speeds, (size_t)count, sizeof *speeds, faster_first);
  for (int i = 0; i < count && i < most; i++) cores[i] = speeds[i].core;
  return count < most ? count : most;
}
