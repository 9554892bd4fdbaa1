// Whether all numbers are finite.
#include "internal.h"

// An exponent of all ones means NaN or infinity.
#define ALL_FINITE(name, word, exponent)                      \
  static bool name(const void* data, uint64_t count) {        \
    const word* values = data;                                \
    word bad = 0;                                             \
    for (uint64_t i = 0; i < count; i++)                      \
      bad |= (word)((values[i] & exponent) == exponent);      \
    return !bad;                                              \
  }

ALL_FINITE(finite16, uint16_t, 0x7c00u)
ALL_FINITE(finite_brain16, uint16_t, 0x7f80u)
ALL_FINITE(finite32, uint32_t, 0x7f800000u)
ALL_FINITE(finite64, uint64_t, 0x7ff0000000000000u)

bool tvmf_may_be_nan(const Tensor* tensor) {
  if (tensor->type == TVMF_BFLOAT) return tensor->bits == 16;
  return tensor->type == TVMF_FLOAT && tensor->bits >= 16 && tensor->bits <= 64;
}

bool tvmf_all_finite(const Tensor* tensor, const void* data) {
  uint64_t count = tensor->bytes / (tensor->bits / 8);
  if (tensor->type == TVMF_BFLOAT) return tensor->bits != 16 || finite_brain16(data, count);
  if (tensor->type != TVMF_FLOAT) return true;
  switch (tensor->bits) {
    case 16: return finite16(data, count);
    case 32: return finite32(data, count);
    case 64: return finite64(data, count);
    default: return true;
  }
}
