// What the library calls instead of the C library's, in the fuzzer: things that fail now and then,
// and a trace of what is read of a plan.
#ifndef TVM_FLOW_FAULTY_H_
#define TVM_FLOW_FAULTY_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The same numbers for the same seed, everywhere.
void fuzz_seed(uint64_t seed);
uint64_t fuzz_random(void);
uint64_t fuzz_below(uint64_t limit);

// Whether calls of the library fail now and then.
extern bool fuzz_faulty;

// Note what is copied out of these bytes from now on, ...
void fuzz_trace(const void* data, size_t bytes);
// ... until now: pairs of offset and width into `pairs`, and their number.
size_t fuzz_traced(size_t* pairs, size_t most);

#endif  // TVM_FLOW_FAULTY_H_
