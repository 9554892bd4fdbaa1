// Runs a bundle: reads its inputs, prints the top classes and the time per run, or checks it.
//
// Exit codes are those of tvmf_status, and 1 where results could not be written.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

enum { WARM_UP = 5, MOST_RUNS = 10000000 };

static const char USAGE[] =
    "runner [FILE.npy|.bin|.ppm|.pgm ...] [--bundle DIR] [--threads N] [--runs N] [--top K] "
    "[--check] [--save FILE.npy] [--profile] [--json]";

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

static bool wants_help(char** argv) {
  while (*argv && strcmp(*argv, "--help") && strcmp(*argv, "-h")) argv++;
  return *argv;
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

// ---- Times

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
  if (o->save && (status = save_outputs(s, o))) return status;
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
  if (wants_help(argv)) {
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
