// The sample that a bundle carries, against what the model's reference computed for it.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

bool tvmf_sample_path(char* path, size_t bytes, const char* directory, const char* what,
                      uint32_t index) {
  char number[16] = "";
  if (index) snprintf(number, sizeof number, "_%u", index + 1);
  int length = snprintf(path, bytes, "%s/sample_%s%s.npy", directory, what, number);
  return length >= 0 && (size_t)length < bytes;
}

static double half(uint16_t bits) {
  double fraction = bits & 0x3ff, sign = bits >> 15 ? -1 : 1;
  int exponent = bits >> 10 & 0x1f;
  if (exponent == 0x1f) return fraction > 0 ? (double)NAN : sign * (double)INFINITY;
  return sign * (exponent ? ldexp(fraction + 1024, exponent - 25) : ldexp(fraction, -24));
}

static double real(int type, int bits, const void* at) {
  uint16_t word;
  float single;
  double value;
  memcpy(bits == 16 ? (void*)&word : bits == 32 ? (void*)&single : (void*)&value, at,
         (size_t)bits / 8);
  if (bits == 64) return value;
  if (bits == 32) return (double)single;
  if (type == TVMF_FLOAT) return half(word);
  uint32_t upper = (uint32_t)word << 16;  // bfloat16 is the upper half of a float
  memcpy(&single, &upper, sizeof single);
  return (double)single;
}

double tvmf_element(int type, int bits, const void* data, uint64_t index) {
  const unsigned char* at = (const unsigned char*)data + index * (uint64_t)(bits / 8);
  bool known = bits == 16 || bits == 32 || bits == 64;
  if (type == TVMF_FLOAT || type == TVMF_BFLOAT) return known ? real(type, bits, at) : (double)NAN;
  uint64_t whole = 0;
  memcpy(&whole, at, (size_t)bits / 8);  // little-endian
  if (type != TVMF_INT) return (double)whole;
  return (double)((int64_t)(whole << (64 - bits)) >> (64 - bits));
}

static bool same(double found, double wanted) {
  return found == wanted || (isnan(found) && isnan(wanted));
}

// NaN or infinity in one alone counts as an infinite difference, and so does any of whole numbers.
static double rel_error(const Tensor* tensor, const void* found, const void* expected) {
  if (tensor->type != TVMF_FLOAT && tensor->type != TVMF_BFLOAT)
    return memcmp(found, expected, (size_t)tensor->bytes) ? (double)INFINITY : 0;
  double scale = (double)FLT_MIN, worst = 0;
  for (uint64_t i = 0; i < tensor->bytes / (tensor->bits / 8); i++) {
    double wanted = tvmf_element(tensor->type, tensor->bits, expected, i);
    double made = tvmf_element(tensor->type, tensor->bits, found, i);
    if (isfinite(wanted)) scale = fmax(scale, fabs(wanted));
    if (same(made, wanted)) continue;
    double apart = fabs(made - wanted);
    if (!isfinite(apart)) return (double)INFINITY;
    worst = fmax(worst, apart);
  }
  return worst / scale;
}

static int compare_output(tvmf_instance* net, uint32_t index, const char* path, double* worst) {
  const Tensor* tensor = tvmf_port_tensor(net->set, &net->set->outputs[index]);
  size_t bytes = (size_t)tensor->bytes + 1;
  void* expected = tvmf_memory(bytes);
  if (!expected) return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory to read %s", path);
  int status = tvmf_npy_read(path, TVMF_BUNDLE, tensor, expected);
  if (!status) *worst = fmax(*worst, rel_error(tensor, net->outputs[index], expected));
  tvmf_memory_free(expected, bytes);
  return status;
}

static int check(tvmf_instance* net, const char* directory, double* worst) {
  char path[4096];
  const Set* set = net->set;
  if (!tvmf_sample_path(path, sizeof path, directory, "expected", UINT32_MAX - 1))
    return tvmf_fail(TVMF_USAGE, "the path of the bundle is too long");
  int status = TVMF_OK;
  for (uint32_t i = 0; !status && i < set->input_count; i++) {
    tvmf_sample_path(path, sizeof path, directory, "input", i);
    const Tensor* tensor = tvmf_port_tensor(set, &set->inputs[i]);
    status = tvmf_npy_read(path, TVMF_BUNDLE, tensor, net->inputs[i]);
  }
  if (!status) status = tvmf_run_entered(net);
  for (uint32_t i = 0; !status && i < set->output_count; i++) {
    tvmf_sample_path(path, sizeof path, directory, "expected", i);
    status = compare_output(net, i, path, worst);
  }
  return status;
}

int tvmf_check(tvmf_instance* net, const char* directory, double* max_rel_error) {
  if (!net || !directory)
    return tvmf_fail(TVMF_USAGE, "tvmf_check was given no instance or directory");
  int status = tvmf_enter(net);
  if (status) return status;
  double worst = 0, tolerance = net->model->plan.tolerance;
  status = check(net, directory, &worst);
  tvmf_leave(net);
  if (status) return status;
  if (max_rel_error) *max_rel_error = worst;
  if (worst <= tolerance) return TVMF_OK;
  return tvmf_fail(TVMF_NUMERICS, "%s computes wrong values on this machine: max relative error "
                   "%.2e (tolerance %.0e) on its own sample. Fix: compile it again for this "
                   "machine, and report it if that does not help", directory, worst, tolerance);
}
