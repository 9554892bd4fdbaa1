// The last failure of each thread, in words.
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

#ifndef TVM_FLOW_VERSION
#define TVM_FLOW_VERSION "unknown"
#endif

static _Thread_local char sentence[1024];

// One line, whatever names in a plan and of files contain.
int tvmf_fail(int status, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(sentence, sizeof sentence, format, values);
  va_end(values);
  for (char* at = sentence; *at; at++)
    if ((unsigned char)*at < ' ' || *at == 127) *at = '?';
  return status;
}

const char* tvmf_last_error(void) { return sentence; }

int tvmf_api_version(void) { return TVMF_API_VERSION; }

const char* tvmf_version(void) { return TVM_FLOW_VERSION; }
