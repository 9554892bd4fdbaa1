// How much of the machine control groups leave to this process.
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { MOST_PATH = 4096, MOST_LINE = MOST_PATH + 256 };

static bool lists(const char* names, const char* name) {
  size_t length = strlen(name);
  for (const char* at = names; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    if (!strncmp(at, name, length) && (!at[length] || at[length] == ',')) return true;
  return false;
}

// The folder of this process below a hierarchy: version 2 has no names of controllers in the second
// field, version 1 has, "cpu,cpuacct" for example.
static bool own_group(const char* root, const char* controller, char folder[MOST_LINE]) {
  char line[MOST_LINE];
  snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
  FILE* file = fopen(line, "re");
  bool found = false;
  while (file && !found && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
    if (!path) continue;
    *path++ = 0;
    found = *controller ? lists(names + 1, controller) : !names[1] && !strcmp(line, "0:");
    if (found) snprintf(folder, MOST_LINE, "%s", strcmp(path, "/") ? path : "");
  }
  if (file) fclose(file);
  return found;
}

// Up to two numbers; how many there were.
static int numbers_in(const char* root, const char* folder, const char* name, long numbers[2]) {
  char path[MOST_PATH + MOST_LINE];
  snprintf(path, sizeof path, "%s/sys/fs/cgroup%s/%s", root, folder, name);
  FILE* file = fopen(path, "re");
  if (!file) return 0;
  int count = fscanf(file, "%ld %ld", &numbers[0], &numbers[1]);
  fclose(file);
  return count;
}

static int smaller(int before, long quota, long period) {
  if (quota <= 0 || period <= 0) return before;
  long whole = quota / period + (quota % period != 0);
  return whole < before ? (int)whole : before;
}

static int quota_of(const char* root, const char* folder, bool second, int before) {
  long max[2], quota[2], period[2];
  if (second)
    return numbers_in(root, folder, "cpu.max", max) == 2 ? smaller(before, max[0], max[1]) : before;
  if (numbers_in(root, folder, "cpu.cfs_quota_us", quota) < 1 ||
      numbers_in(root, folder, "cpu.cfs_period_us", period) < 1)
    return before;
  return smaller(before, quota[0], period[0]);
}

// A group's quota holds for all below it: from ours upwards.
int tvmf_quota(const char* root) {
  char group[MOST_LINE], folder[MOST_LINE + 8];
  int allowed = INT_MAX;
  for (int second = 0; second < 2; second++) {
    if (!own_group(root, second ? "" : "cpu", group)) continue;
    for (char* last = group; last;) {
      snprintf(folder, sizeof folder, "%s%s", second ? "" : "/cpu", group);
      allowed = quota_of(root, folder, second, allowed);
      last = strrchr(group, '/');
      if (last) *last = 0;
    }
  }
  return allowed;
}
