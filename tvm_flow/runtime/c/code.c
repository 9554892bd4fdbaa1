// The library of kernels: checked as a file, opened, and held against the plan.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "internal.h"

static const char AGAIN[] = "copy the bundle again, or compile it again";

int tvmf_code_check(const Plan* plan, const Content* content, const char* path) {
  const unsigned char* bytes = content->data;
  if (content->bytes != plan->code_bytes)
    return tvmf_fail(TVMF_BUNDLE, "%s is damaged: it has %zu bytes, %llu were written. Fix: %s", path,
                     content->bytes, (unsigned long long)plan->code_bytes, AGAIN);
  if (content->bytes < 64 || memcmp(bytes, "\177ELF\2\1", 6))
    return tvmf_fail(TVMF_BUNDLE, "%s is not a 64-bit library. Fix: %s", path, AGAIN);
  if ((bytes[18] | bytes[19] << 8) != (int)plan->machine)
    return tvmf_fail(TVMF_BUNDLE, "%s is of another bundle: it is for another architecture than the "
                     "plan. Fix: %s", path, AGAIN);
  if (tvmf_checksum(bytes, content->bytes) != plan->code_sum)
    return tvmf_fail(TVMF_BUNDLE, "%s is damaged: it was changed after it was written. Fix: %s", path,
                     AGAIN);
  return TVMF_OK;
}

// dlopen takes a library it has already for the one that is opened by the same name, although a path
// or a descriptor may be another file's by now. So no name is used twice: "/" and "/." mean the
// same, and write a number that counts up, bit by bit.
static void unique_name(char* name, size_t bytes, const char* folder, const char* file) {
  static _Atomic uint32_t loads;
  size_t used = (size_t)snprintf(name, bytes, "%s", folder);
  for (uint32_t left = atomic_fetch_add(&loads, 1); left && used + 2 < bytes; left >>= 1)
    used += (size_t)snprintf(name + used, bytes - used, left & 1 ? "/." : "//");
  snprintf(name + used, bytes - used, "/%s", file);
}

// The file that was checked, by its descriptor: its path may name another one by now. Without
// /proc, the path has to do.
static bool name_of(int file, const char* directory, char* name, size_t bytes) {
  char number[16];
  snprintf(number, sizeof number, "%d", file);
  unique_name(name, bytes, "/proc/self/fd", number);
  if (!access(name, R_OK)) return true;
  if (directory) unique_name(name, bytes, directory, "model.so");
  return directory;
}

int tvmf_code_load(Code* code, int file, const char* directory, const char* path) {
  char name[4096 + 64];
  if (!name_of(file, directory, name, sizeof name))
    return tvmf_fail(TVMF_ENVIRONMENT, "cannot load %s: there is no /proc. Fix: mount it, or load the "
                     "bundle from a directory", path);
  code->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (code->library) {
    code->table = dlsym(code->library, "tvmf_module");
    return TVMF_OK;
  }
  struct statvfs system;
  if (!fstatvfs(file, &system) && system.f_flag & ST_NOEXEC)
    return tvmf_fail(TVMF_ENVIRONMENT, "cannot load %s: its file system is mounted noexec, so that no "
                     "code may run from it. Fix: copy the bundle to another place, or mount it exec",
                     path);
  const char* why = dlerror();
  return tvmf_fail(TVMF_BUNDLE, "cannot load %s: %s. Fix: %s", path, why ? why : "no reason given",
                   AGAIN);
}

static const tvmf_kernel* find(const tvmf_module_table* table, const char* symbol) {
  for (uint32_t i = 0; i < table->kernel_count; i++)
    if (!strcmp(table->kernels[i].name, symbol)) return &table->kernels[i];
  return NULL;
}

static const char* check_step(const Set* set, const Step* step, const tvmf_kernel* kernel) {
  if (step->argument_count != kernel->arguments) return "takes another number of arguments";
  for (uint32_t i = 0; i < kernel->arguments; i++) {
    const Tensor* tensor = &set->tensors[step->arguments[i]];
    if (tensor->bytes < kernel->bytes[i]) return "takes larger tensors";
    bool written = i + kernel->outputs >= kernel->arguments;
    if (written && (tensor->place == TVMF_PLACE_WEIGHTS || tensor->place == TVMF_PLACE_INPUT))
      return "writes where it may not";
  }
  return NULL;
}

// Every call of the plan against what the library says of the kernel.
int tvmf_code_link(Code* code, const Plan* plan, const char* path, const tvmf_kernel** kernels) {
  const tvmf_module_table* table = code->table;
  if (!table || table->abi != TVMF_MODULE_ABI)
    return tvmf_fail(TVMF_BUNDLE, "%s has no kernels for this version of tvm-flow. Fix: compile it "
                     "again", path);
  for (uint32_t i = 0; i < plan->kernel_count; i++)
    if (!(kernels[i] = find(table, plan->kernels[i].symbol)))
      return tvmf_fail(TVMF_BUNDLE, "%s lacks the kernel %s. Fix: %s", path, plan->kernels[i].symbol,
                       AGAIN);
  for (uint32_t s = 0; s < plan->set_count; s++) {
    const Set* set = &plan->sets[s];
    for (uint32_t i = 0; i < set->step_count; i++) {
      const Step* step = &set->steps[i];
      if (step->kind != TVMF_STEP_KERNEL) continue;
      const char* why = check_step(set, step, kernels[step->kernel]);
      if (why)
        return tvmf_fail(TVMF_BUNDLE, "the bundle's plan does not fit %s: kernel %s %s. Fix: %s",
                         path, kernels[step->kernel]->name, why, AGAIN);
    }
  }
  static const tvmf_services services = {tvmf_pool_launch, tvmf_scratch_alloc, tvmf_scratch_free};
  table->attach(&services);
  return TVMF_OK;
}

void tvmf_code_unload(Code* code) {
  if (code->library) dlclose(code->library);
}
