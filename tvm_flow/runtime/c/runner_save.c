// Outputs as files of NumPy.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"

static void print_npy(FILE* file, const tvmf_tensor_info* info, const char* type,
                      const void* values) {
  enum { BLOCK = 64, PREFIX = 10 };  // values begin at a multiple of BLOCK
  char header[1024];
  FILE* text = fmemopen(header, sizeof header, "w");
  if (!text) return;
  fprintf(text, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
  for (int32_t i = 0; i < info->dimensions; i++)
    fprintf(text, "%s%llu", i ? ", " : "", (unsigned long long)info->shape[i]);
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
int save_outputs(const State* s, const Options* o) {
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
