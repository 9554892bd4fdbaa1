// Runs a bundle: reads its inputs, prints the top classes and the time per run, or checks it.
//
// Exit codes are those of tvmf_status, and 1 where results could not be written.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

enum { UNWRITTEN = 1, WARM_UP = 5, MOST_RUNS = 10000000, MOST_PATH = 4096 };

static const char USAGE[] =
    "runner [FILE.npy|.bin|.ppm|.pgm ...] [--bundle DIR] [--threads N] [--runs N] [--top K] "
    "[--check] [--save FILE.npy] [--profile] [--json]";

typedef struct {
  char bundle[MOST_PATH];
  const char *save, **files;
  int file_count, threads, runs, top;
  bool check, profile, json;
} Options;

typedef struct {
  tvmf_model* model;
  tvmf_instance* net;
  double* times;  // milliseconds
  double error;   // of a check; negative: there was none
} State;

static int fail(int status) {
  fflush(stdout);
  fprintf(stderr, "error: %s\n", tvmf_last_error());
  return status;
}

// ---- Options

static int parse_number(const char* word, const char* text, int least, int most, int* number) {
  char* end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || errno || value < least || value > most)
    return tvmf_fail(TVMF_USAGE, "%s %s is not possible: it must be a number from %d to %d", word,
                     text, least, most);
  *number = (int)value;
  return TVMF_OK;
}

static int parse_option(Options* o, const char* word, const char* value) {
  if (!strcmp(word, "--threads")) return parse_number(word, value, 1, 1024, &o->threads);
  if (!strcmp(word, "--runs")) return parse_number(word, value, 0, MOST_RUNS, &o->runs);
  if (!strcmp(word, "--top")) return parse_number(word, value, 1, 1000000, &o->top);
  if (!strcmp(word, "--save")) {
    o->save = value;
    return TVMF_OK;
  }
  int length = snprintf(o->bundle, sizeof o->bundle, "%s", value);
  if (length < MOST_PATH - 64) return TVMF_OK;
  return tvmf_fail(TVMF_USAGE, "the path of --bundle is too long");
}

static bool takes_value(const char* word) {
  static const char* const words[] = {"--threads", "--runs", "--top", "--save", "--bundle"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (!strcmp(word, words[i])) return true;
  return false;
}

static int parse(Options* o, int argc, char** argv) {
  o->files = calloc((size_t)argc + 1, sizeof *o->files);
  if (!o->files) return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory");
  for (int i = 1; i < argc; i++) {
    const char* word = argv[i];
    int status = TVMF_OK;
    if (!strcmp(word, "--check")) {
      o->check = true;
    } else if (!strcmp(word, "--profile")) {
      o->profile = true;
    } else if (!strcmp(word, "--json")) {
      o->json = true;
    } else if (takes_value(word)) {
      if (i + 1 == argc) return tvmf_fail(TVMF_USAGE, "%s needs a value", word);
      status = parse_option(o, word, argv[++i]);
    } else if (*word == '-') {
      return tvmf_fail(TVMF_USAGE, "unknown option %s. Usage: %s", word, USAGE);
    } else {
      o->files[o->file_count++] = word;
    }
    if (status) return status;
  }
  if (!o->check || !o->file_count) return TVMF_OK;
  return tvmf_fail(TVMF_USAGE, "--check runs the sample of the bundle and takes no FILE");
}

// The folder of this program.
static void default_bundle(char* path, const char* program) {
  ssize_t length = readlink("/proc/self/exe", path, MOST_PATH - 64);
  if (length > 0 && length < MOST_PATH - 64)
    path[length] = 0;
  else  // without /proc
    snprintf(path, MOST_PATH - 64, "%s", program);
  char* last = strrchr(path, '/');
  if (last)
    last[last == path] = 0;
  else
    strcpy(path, ".");
}

// ---- What the system knows

static bool find_line(const char* path, const char* start, char* line, int bytes, bool* readable) {
  FILE* file = fopen(path, "re");
  bool found = false;
  *readable = file;
  while (file && !found && fgets(line, bytes, file)) found = !strncmp(line, start, strlen(start));
  if (file) fclose(file);
  return found;
}

// QEMU's user mode shows AArch64 programs the host's /proc/cpuinfo, which names no Arm core.
static bool emulated(void) {
#if defined(__aarch64__)
  char line[256];
  bool readable;
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

static void print_shape(FILE* file, const tvmf_tensor_info* info) {
  for (int32_t i = 0; i < info->dimensions; i++)
    fprintf(file, "%s%llu", i ? ", " : "", (unsigned long long)info->shape[i]);
}

static void print_npy(FILE* file, const tvmf_tensor_info* info, const char* type,
                      const void* values) {
  enum { BLOCK = 64, PREFIX = 10 };  // values begin at a multiple of BLOCK
  char header[1024];
  FILE* text = fmemopen(header, sizeof header, "w");
  if (!text) return;
  fprintf(text, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
  print_shape(text, info);
  fprintf(text, "%s), }", info->dimensions == 1 ? "," : "");
  size_t length = (size_t)ftell(text), padded = (PREFIX + length) / BLOCK * BLOCK + BLOCK - PREFIX;
  fclose(text);
  memset(header + length, ' ', padded - length - 1);
  header[padded - 1] = '\n';
  fwrite("\x93NUMPY\1", 1, 8, file);
  fputc((int)(padded & 255), file);
  fputc((int)(padded >> 8), file);
  fwrite(header, 1, padded, file);
  fwrite(values, 1, (size_t)info->bytes, file);
}

// An unfinished file does not stay, as far as it is one: this may be a device.
static int write_npy(const char* path, const tvmf_tensor_info* info, const char* type,
                     const void* values) {
  FILE* file = fopen(path, "we");
  int cause = errno;
  if (file) {
    struct stat found;
    errno = 0;
    print_npy(file, info, type, values);
    bool regular = !fstat(fileno(file), &found) && S_ISREG(found.st_mode), bad = ferror(file);
    cause = errno;
    if (!fclose(file) && !bad) return TVMF_OK;
    if (!bad) cause = errno;
    if (regular) unlink(path);
  }
  return tvmf_fail(UNWRITTEN, "cannot write %s: %s", path, strerror(cause));
}

// FILE.npy of the first output, FILE_2.npy of the second, and so on.
static int save(const State* s, const Options* o) {
  size_t stem = strlen(o->save);
  if (stem > 4 && !strcmp(o->save + stem - 4, ".npy")) stem -= 4;
  for (int32_t i = 0; i < tvmf_output_count(s->net); i++) {
    char path[MOST_PATH], number[16] = "", type[4];
    tvmf_tensor_info info;
    tvmf_output_info(s->net, i, &info);
    if (i) snprintf(number, sizeof number, "_%d", i + 1);
    if (snprintf(path, sizeof path, "%.*s%s.npy", (int)stem, o->save, number) >= MOST_PATH)
      return tvmf_fail(TVMF_USAGE, "the path of --save is too long");
    if (!tvmf_npy_type(info.type, info.bits, type))
      return tvmf_fail(TVMF_USAGE, "cannot write %s: NumPy has no type for the output %s", path,
                       info.name);
    int status = write_npy(path, &info, type, tvmf_output(s->net, i));
    if (status) return status;
    if (!o->json) printf("saved %s\n", path);
  }
  return TVMF_OK;
}

// ---- Times

static int ascending(const void* one, const void* other) {
  double a = *(const double*)one, b = *(const double*)other;
  return a < b ? -1 : a > b;
}

static double percentile(const double* sorted, int count, double share) {
  double place = share * (count - 1);
  int low = (int)place, high = low + 1 < count ? low + 1 : low;
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

static int measure(State* s, int runs) {
  uint64_t* times = calloc((size_t)runs + 1, sizeof *times);
  s->times = calloc((size_t)runs + 1, sizeof *s->times);
  int status = TVMF_OK;
  if (!times || !s->times)
    status = tvmf_fail(TVMF_ENVIRONMENT, "not enough memory for %d times", runs);
  else if (runs)
    status = tvmf_time(s->net, WARM_UP, runs, times);
  for (int i = 0; !status && i < runs; i++) s->times[i] = (double)times[i] / 1e6;
  free(times);
  return status;
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

// ---- Reports

static int print_text(const State* s, const Options* o) {
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

static int print_json(const State* s, const Options* o) {
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
    print_shape(stdout, &info);
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

// ---- The program

static int read_inputs(const State* s, const Options* o) {
  int32_t inputs = tvmf_input_count(s->net);
  if (o->file_count && o->file_count != inputs)
    return tvmf_fail(TVMF_USAGE, "%d FILE(s) were given, the network has %d input(s). Fix: pass "
                     "one for each, in their order, or none to run the sample", o->file_count,
                     inputs);
  int status = TVMF_OK;
  for (int32_t i = 0; !status && i < inputs; i++) {
    char sample[MOST_PATH];
    tvmf_sample_path(sample, sizeof sample, o->bundle, "input", (uint32_t)i);
    status = tvmf_read_input(s->net, i, o->file_count ? o->files[i] : sample);
  }
  return status;
}

static int work(State* s, const Options* o) {
  const tvmf_options options = {.size = sizeof options, .flags = TVMF_PIN, .threads = o->threads};
  int status = tvmf_load(o->bundle, 0, &s->model), checked = TVMF_OK;
  if (!status) status = tvmf_open(s->model, &options, &s->net);
  if (status) return status;
  if (o->check) {
    checked = tvmf_check(s->net, o->bundle, &s->error);
    if (s->error < 0) return checked;
  } else if ((status = read_inputs(s, o)) || (status = tvmf_run(s->net))) {
    return status;
  }
  if (o->save && (status = save(s, o))) return status;
  // Of wrong numbers no time is of interest, and the sentence that says so is to stay.
  Options shown = *o;
  if (checked) shown.runs = 0, shown.profile = false;
  if ((status = measure(s, shown.runs))) return status;
  status = o->json ? print_json(s, &shown) : print_text(s, &shown);
  return status ? status : checked;
}

// A file that is opened must not take the place of a standard stream that is closed: what is
// printed would go into it.
static bool streams_usable(void) {
  bool usable = fcntl(STDOUT_FILENO, F_GETFD) >= 0;
  while (true) {
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (file > STDERR_FILENO) close(file);
    if (file < 0 || file > STDERR_FILENO) return usable;
  }
}

int main(int argc, char** argv) {
  State state = {.error = -1};
  Options o = {.runs = 50, .top = 5};
  bool usable = streams_usable();
  signal(SIGXFSZ, SIG_IGN);  // a limit on files' sizes is an error of writing
  if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
    printf("usage: %s\n", USAGE);
  } else {
    default_bundle(o.bundle, argv[0]);
    int status = parse(&o, argc, argv);
    if (!status) status = work(&state, &o);
    tvmf_close(state.net);
    tvmf_unload(state.model);
    free(state.times);
    free(o.files);
    if (status) return fail(status);
  }
  if (usable && !fflush(stdout) && !ferror(stdout)) return TVMF_OK;
  fprintf(stderr, "error: cannot write to standard output: %s\n",
          usable ? strerror(errno) : "it is closed");
  return UNWRITTEN;
}
