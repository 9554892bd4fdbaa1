// What the runner prints: classes, times and memory, as text or as JSON.
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

// ---- What the system knows

static bool find_line(const char* path, const char* start, char* line, int bytes, bool* readable) {
  FILE* file = fopen(path, "re");
  bool found = false;
  *readable = file;
  while (file && !found && fgets(line, bytes, file)) found = !strncmp(line, start, strlen(start));
  if (file) fclose(file);
  return found;
}

// Under QEMU's user mode, files tell of the host's CPU: sysfs, and /proc/cpuinfo, which then names no
// Arm core; newer versions of QEMU make one up there.
static bool emulated(void) {
#if defined(__aarch64__)
  char line[256];
  bool readable;
  if (find_line("/sys/devices/system/cpu/modalias", "cpu:type:x86", line, sizeof line, &readable))
    return true;
  return !find_line("/proc/cpuinfo", "CPU implementer", line, sizeof line, &readable) && readable;
#else
  return false;
#endif
}

// The largest resident size this process has had, in KiB; negative where it is unknown: under QEMU
// it would be QEMU's own.
static double peak_memory(void) {
  char line[256];
  bool readable;
  bool found = find_line("/proc/self/status", "VmHWM:", line, sizeof line, &readable);
  return found && !emulated() ? strtod(line + 6, NULL) : -1;
}

// ---- Results

typedef struct {
  double value;
  uint64_t index;
} Ranked;

// NaN last.
static int better_first(const void* one, const void* other) {
  const Ranked *a = one, *b = other;
  if (a->value > b->value || (isnan(b->value) && !isnan(a->value))) return -1;
  if (a->value < b->value || (isnan(a->value) && !isnan(b->value))) return 1;
  return a->index < b->index ? -1 : 1;
}

static int print_classes(const State* s, int top) {
  tvmf_tensor_info out;
  tvmf_model_info model;
  if (!tvmf_output_count(s->net) || tvmf_output_info(s->net, 0, &out)) return TVMF_OK;
  tvmf_get_model_info(s->model, &model);
  uint64_t count = out.bytes / (out.bits / 8u);
  Ranked* ranked = calloc(count + 1, sizeof *ranked);
  if (!ranked) return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory for the classes");
  for (uint64_t i = 0; i < count; i++)
    ranked[i] = (Ranked){tvmf_element(out.type, out.bits, tvmf_output(s->net, 0), i), i};
  qsort(ranked, count, sizeof *ranked, better_first);
  double sum = 0;
  for (uint64_t i = 0; i < count; i++) sum += exp(ranked[i].value - ranked[0].value);
  bool named = (uint64_t)model.labels == count;
  for (uint64_t i = 0; i < count && i < (uint64_t)top; i++)
    printf("%6.2f %%  %5llu  %.6g%s%s\n", 100 * exp(ranked[i].value - ranked[0].value) / sum,
           (unsigned long long)ranked[i].index, ranked[i].value, named ? "  " : "",
           named ? tvmf_label(s->model, (int32_t)ranked[i].index) : "");
  free(ranked);
  return TVMF_OK;
}

// ---- Times and names

static int ascending(const void* one, const void* other) {
  double a = *(const double*)one, b = *(const double*)other;
  return a < b ? -1 : a > b;
}

static double percentile(const double* sorted, int count, double share) {
  double place = share * (count - 1);
  int low = (int)place, high = low + 1 < count ? low + 1 : low;
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

static void print_json_text(const char* text) {
  putchar('"');
  for (; *text; text++)
    if (*text == '"' || *text == '\\')
      printf("\\%c", *text);
    else if ((unsigned char)*text < ' ')
      printf("\\u%04x", *text);
    else
      putchar(*text);
  putchar('"');
}

static int print_profile(const State* s, const Options* o) {
  int32_t steps = tvmf_step_count(s->net), runs = o->runs ? o->runs : 1;
  uint64_t* times = calloc(2 * (size_t)steps + 1, sizeof *times);
  int status = times ? TVMF_OK : tvmf_fail(TVMF_ENVIRONMENT, "not enough memory for a profile");
  for (int32_t run = 0; !status && run < runs; run++) {
    status = tvmf_profile(s->net, times);
    for (int32_t i = 0; i < steps; i++) times[steps + i] += times[i];
  }
  if (o->json) printf(", \"profile\": [");
  for (int32_t i = 0; !status && i < steps; i++) {
    double mean = (double)times[steps + i] / 1e3 / runs;
    if (!o->json) {
      printf("%10.1f us  %s\n", mean, tvmf_step_name(s->net, i));
      continue;
    }
    printf("%s{\"microseconds\": %.3f, \"name\": ", i ? ", " : "", mean);
    print_json_text(tvmf_step_name(s->net, i));
    putchar('}');
  }
  if (o->json) putchar(']');
  free(times);
  return status;
}

// ---- The whole

int print_text(const State* s, const Options* o) {
  tvmf_model_info model;
  tvmf_get_model_info(s->model, &model);
  if (s->error >= 0)
    printf("max relative error %.2e (tolerance %.0e)\n", s->error, model.tolerance);
  if (s->error >= 0 && s->error <= model.tolerance) printf("check passed\n");
  int status = print_classes(s, o->top);
  if (status) return status;
  qsort(s->times, (size_t)o->runs, sizeof *s->times, ascending);
  if (o->runs)
    printf("%.3f ms median (p10 %.3f, p90 %.3f, %d runs)%s\n", percentile(s->times, o->runs, 0.5),
           percentile(s->times, o->runs, 0.1), percentile(s->times, o->runs, 0.9), o->runs,
           emulated() ? " EMULATED: says nothing about a board" : "");
  double memory = peak_memory();
  if (memory >= 0) printf("%.1f MiB peak memory\n", memory / 1024);
  return o->profile ? print_profile(s, o) : TVMF_OK;
}

int print_json(const State* s, const Options* o) {
  tvmf_model_info model;
  tvmf_get_model_info(s->model, &model);
  printf("{\"model\": ");
  print_json_text(model.name);
  printf(", \"threads\": %d, \"emulated\": %s, \"milliseconds\": [", tvmf_threads(s->net),
         emulated() ? "true" : "false");
  for (int i = 0; i < o->runs; i++) printf("%s%.6f", i ? ", " : "", s->times[i]);
  printf("], \"outputs\": [");
  for (int32_t i = 0; i < tvmf_output_count(s->net); i++) {
    tvmf_tensor_info info;
    tvmf_output_info(s->net, i, &info);
    printf("%s{\"name\": ", i ? ", " : "");
    print_json_text(info.name);
    printf(", \"shape\": [");
    for (int32_t k = 0; k < info.dimensions; k++)
      printf("%s%llu", k ? ", " : "", (unsigned long long)info.shape[k]);
    printf("]}");
  }
  putchar(']');
  if (s->error >= 0)  // JSON has no infinity, but a number too large for a double
    printf(isinf(s->error) ? ", \"max_rel_error\": 1e999" : ", \"max_rel_error\": %.9e", s->error);
  double memory = peak_memory();
  if (memory >= 0) printf(", \"peak_kib\": %.0f", memory);
  int status = o->profile ? print_profile(s, o) : TVMF_OK;
  puts("}");
  return status;
}
