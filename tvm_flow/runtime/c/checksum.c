// XXH64 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), seed 0: finds damage at the
// speed of memory. It is no protection against intent, which could as well change the code.
#include <string.h>

#include "internal.h"

static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu, P3 = 0x165667B19E3779F9u,
                      P4 = 0x85EBCA77C2B2AE63u, P5 = 0x27D4EB2F165667C5u;

static inline uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline uint64_t word(const unsigned char* at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static inline uint64_t lane(uint64_t lane, uint64_t input) {
  return rotate(lane + input * P2, 31) * P1;
}

static uint64_t tail(uint64_t sum, const unsigned char* at, const unsigned char* end) {
  for (; end - at >= 8; at += 8) sum = rotate(sum ^ lane(0, word(at)), 27) * P1 + P4;
  if (end - at >= 4) {
    uint32_t half;
    memcpy(&half, at, sizeof half);
    sum = rotate(sum ^ half * P1, 23) * P2 + P3;
    at += 4;
  }
  for (; at < end; at++) sum = rotate(sum ^ *at * P5, 11) * P1;
  sum = (sum ^ sum >> 33) * P2;
  sum = (sum ^ sum >> 29) * P3;
  return sum ^ sum >> 32;
}

uint64_t tvmf_checksum(const void* data, size_t bytes) {
  if (!bytes) return tail(P5, NULL, NULL);
  const unsigned char *at = data, *end = at + bytes;
  if (bytes < 32) return tail(P5 + bytes, at, end);
  uint64_t lanes[4] = {P1 + P2, P2, 0, -P1};
  for (; end - at >= 32; at += 32)
    for (int i = 0; i < 4; i++) lanes[i] = lane(lanes[i], word(at + 8 * i));
  uint64_t sum = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) +
                 rotate(lanes[3], 18);
  for (int i = 0; i < 4; i++) sum = (sum ^ lane(0, lanes[i])) * P1 + P4;
  return tail(sum + bytes, at, end);
}
