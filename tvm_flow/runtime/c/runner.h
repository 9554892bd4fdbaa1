// Shared by the sources of the program `runner`.
#ifndef TVM_FLOW_RUNNER_H_
#define TVM_FLOW_RUNNER_H_

#include "internal.h"

enum { UNWRITTEN = 1, MOST_PATH = 4096 };  // the exit code where results could not be written

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

// ---- runner_save.c: outputs as .npy.
int save_outputs(const State* s, const Options* o);

// ---- runner_report.c: everything that is printed.
int print_text(const State* s, const Options* o);
int print_json(const State* s, const Options* o);

#endif  // TVM_FLOW_RUNNER_H_
