// Loading and unloading.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#ifdef TVMF_EMBEDDED
extern const char tvmf_embedded_plan[], tvmf_embedded_plan_end[];
extern const char tvmf_embedded_weights[], tvmf_embedded_weights_end[];
extern const tvmf_module_table tvmf_module;
#endif

static const char AGAIN[] = "copy the bundle again, or compile it again";

static tvmf_model* new_model(void) {
  tvmf_model* model = calloc(1, sizeof *model);
  if (!model) {
    tvmf_fail(TVMF_ENVIRONMENT, "not enough memory to load a bundle");
    return NULL;
  }
  atomic_store(&model->users, 1);
  return model;
}

static void release(tvmf_model* model) {
  if (atomic_fetch_sub(&model->users, 1) != 1) return;
  tvmf_code_unload(&model->code);
  tvmf_content_free(&model->weights);
  tvmf_plan_free(&model->plan);
  free(model->kernels);
  free(model);
}

void tvmf_unload(tvmf_model* model) {
  if (model) release(model);
}

void tvmf_model_retain(tvmf_model* model) { atomic_fetch_add(&model->users, 1); }

static int link_kernels(tvmf_model* model, const char* path) {
  model->kernels = calloc(model->plan.kernel_count + 1, sizeof *model->kernels);
  if (!model->kernels) return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory to load %s", path);
  return tvmf_code_link(&model->code, &model->plan, path, model->kernels);
}

static int check_weights(const tvmf_model* model, const char* path) {
  const Plan* plan = &model->plan;
  if (model->weights.bytes != plan->weights_bytes)
    return tvmf_fail(TVMF_BUNDLE, "%s is damaged: it has %zu bytes, %llu were written. Fix: %s", path,
                     model->weights.bytes, (unsigned long long)plan->weights_bytes, AGAIN);
  if (tvmf_checksum(model->weights.data, model->weights.bytes) != plan->weights_sum)
    return tvmf_fail(TVMF_BUNDLE, "%s is damaged: it was changed after it was written. Fix: %s", path,
                     AGAIN);
  return TVMF_OK;
}

// Weights that are in memory already: as they lie, or a copy in huge pages.
static int use_weights(tvmf_model* model, const void* weights, size_t bytes, bool copy,
                       const char* path) {
  model->weights = (Content){weights, bytes, NULL, 0};
  int status = bytes && copy ? tvmf_copy_huge(weights, bytes, path, &model->weights) : TVMF_OK;
  return status ? status : check_weights(model, path);
}

static int load_plan(tvmf_model* model, const char* directory) {
  char path[4096];
  snprintf(path, sizeof path, "%s/plan.bin", directory);
  if (access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR)) {
    snprintf(path, sizeof path, "%s/manifest.json", directory);
    if (!access(path, F_OK))
      return tvmf_fail(TVMF_BUNDLE, "%s has no plan.bin: it is incomplete, or was written by an older "
                       "version of tvm-flow. Fix: compile it again", directory);
    return tvmf_fail(TVMF_BUNDLE, "%s is not a bundle: it has no plan.bin. Fix: pass the directory that "
                     "tvm-flow compile --output wrote", directory);
  }
  Content content;
  int file = tvmf_file_open(path);
  if (file < 0) return TVMF_BUNDLE;
  int status = tvmf_file_content(file, path, &content);
  close(file);
  if (status) return status;
  status = tvmf_plan_read(&model->plan, content.data, content.bytes);
  tvmf_content_free(&content);
  return status ? status : tvmf_machine_check(&model->plan, directory);
}

static int load_weights(tvmf_model* model, const char* directory, uint32_t flags) {
  char path[4096];
  if (!model->plan.weights_bytes) return TVMF_OK;
  snprintf(path, sizeof path, "%s/weights.bin", directory);
  int file = tvmf_file_open(path);
  if (file < 0) return TVMF_BUNDLE;
  bool shared = flags & TVMF_SHARED_WEIGHTS || !tvmf_huge_pages();
  uint64_t bytes = model->plan.weights_bytes;
  off_t found = lseek(file, 0, SEEK_END);
  int status;
  if (found != (off_t)bytes)
    status = tvmf_fail(TVMF_BUNDLE, "%s is damaged: it has %lld bytes, %llu were written. Fix: %s",
                       path, (long long)found, (unsigned long long)bytes, AGAIN);
  else
    status = shared ? tvmf_file_map(file, path, &model->weights)
                    : tvmf_file_read_huge(file, path, bytes, &model->weights);
  close(file);
  return status ? status : check_weights(model, path);
}

// Closes `file`. `directory`: where it lies; NULL: nowhere.
static int load_code(tvmf_model* model, int file, const char* directory, const char* path) {
  Content content;
  int status = tvmf_file_content(file, path, &content);
  if (!status) status = tvmf_code_check(&model->plan, &content, path);
  tvmf_content_free(&content);
  if (!status) status = tvmf_code_load(&model->code, file, directory, path);
  close(file);
  return status ? status : link_kernels(model, path);
}

static int load_directory(tvmf_model* model, const char* directory, uint32_t flags) {
  char path[4096];
  if (strlen(directory) > sizeof path - 64)
    return tvmf_fail(TVMF_USAGE, "the path of the bundle is too long");
  int status = load_plan(model, directory);
  if (!status) status = load_weights(model, directory, flags);
  if (status) return status;
  snprintf(path, sizeof path, "%s/model.so", directory);
  int file = tvmf_file_open(path);
  return file < 0 ? TVMF_BUNDLE : load_code(model, file, directory, path);
}

static int load_embedded(tvmf_model* model, uint32_t flags) {
#ifdef TVMF_EMBEDDED
  size_t bytes = (size_t)(tvmf_embedded_plan_end - tvmf_embedded_plan);
  int status = tvmf_plan_read(&model->plan, tvmf_embedded_plan, bytes);
  if (!status) status = tvmf_machine_check(&model->plan, "this library");
  if (status) return status;
  size_t weights = (size_t)(tvmf_embedded_weights_end - tvmf_embedded_weights);
  model->code.table = &tvmf_module;
  bool shared = flags & TVMF_SHARED_WEIGHTS || !tvmf_huge_pages();
  status = use_weights(model, tvmf_embedded_weights, weights, !shared, "this library");
  return status ? status : link_kernels(model, "this library");
#else
  (void)model, (void)flags;
  return tvmf_fail(TVMF_USAGE, "there is no bundle in this library. Fix: pass a directory, or use the "
                   "library that tvm-flow compile --single-file wrote");
#endif
}

static int finish(tvmf_model* made, int status, tvmf_model** model) {
  if (status) release(made);
  *model = status ? NULL : made;
  return status;
}

int tvmf_load(const char* directory, uint32_t flags, tvmf_model** model) {
  if (!model) return tvmf_fail(TVMF_USAGE, "tvmf_load was given no place for the model");
  *model = NULL;
  if (flags & ~(uint32_t)TVMF_SHARED_WEIGHTS)
    return tvmf_fail(TVMF_USAGE, "tvmf_load was given unknown flags");
  tvmf_model* made = new_model();
  if (!made) return TVMF_ENVIRONMENT;
  int status = directory ? load_directory(made, directory, flags) : load_embedded(made, flags);
  return finish(made, status, model);
}

int tvmf_load_memory(const void* plan, size_t plan_bytes, const void* weights,
                     size_t weights_bytes, const void* code, size_t code_bytes,
                     tvmf_model** model) {
  if (!model || !plan || !code || (!weights && weights_bytes))
    return tvmf_fail(TVMF_USAGE, "tvmf_load_memory was given no plan, weights, code or model");
  *model = NULL;
  tvmf_model* made = new_model();
  if (!made) return TVMF_ENVIRONMENT;
  int status = tvmf_plan_read(&made->plan, plan, plan_bytes);
  if (!status) status = tvmf_machine_check(&made->plan, "the bundle in memory");
  if (!status) {
    bool misplaced = (uintptr_t)weights % made->plan.alignment;
    status = use_weights(made, weights, weights_bytes, misplaced, "weights.bin in memory");
  }
  if (!status) {
    int file = tvmf_file_from_memory(code, code_bytes);
    status = file < 0 ? TVMF_ENVIRONMENT : load_code(made, file, NULL, "model.so in memory");
  }
  return finish(made, status, model);
}

void tvmf_get_model_info(const tvmf_model* model, tvmf_model_info* info) {
  const Plan* plan = &model->plan;
  *info = (tvmf_model_info){
      .name = plan->model,
      .target = plan->board,
      .version = plan->version,
      .threads = (int32_t)plan->threads,
      .alignment = (int32_t)plan->alignment,
      .sets = (int32_t)plan->set_count,
      .labels = (int32_t)plan->label_count,
      .weights_bytes = plan->weights_bytes,
      .code_bytes = plan->code_bytes,
      .tolerance = plan->tolerance,
  };
}

const char* tvmf_label(const tvmf_model* model, int32_t index) {
  bool there = index >= 0 && (uint32_t)index < model->plan.label_count;
  return there ? model->plan.labels[index] : NULL;
}
