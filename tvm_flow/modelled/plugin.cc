// QEMU plugin (plugin API 1, QEMU 6.0 to 7.2): what one call of a kernel executes.
//
// Between the marker instructions of driver.cc it follows the basic blocks and writes them as
//   block   straight-line code, one per basic block
//   chunk   blocks in ascending address order: one iteration of a loop, or the code around one
//   segment a short sequence of (chunk, repetitions) and how often it occurred
// so that a whole kernel becomes a few dozen pieces of code with counts. It also simulates a data
// cache of two levels (LRU, write-allocate), and counts accesses that lie across two of its lines.
// No QEMU headers are needed: the few declarations are here. Arguments: out=FILE, l1=BYTES:WAYS,
// l2=BYTES:WAYS, widest=BYTES (of what the core loads at once).
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))
extern "C" {
using PluginId = uint64_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_tb_trans_cb(PluginId, void (*)(PluginId, qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb*, void (*)(unsigned, void*), int, void*);
void qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_insn*, void (*)(unsigned, void*), int,
                                            void*);
void qemu_plugin_register_vcpu_mem_cb(qemu_plugin_insn*,
                                      void (*)(unsigned, uint32_t, uint64_t, void*), int, int,
                                      void*);
void qemu_plugin_register_vcpu_insn_exec_inline(qemu_plugin_insn*, int, void*, uint64_t);
void qemu_plugin_register_atexit_cb(PluginId, void (*)(PluginId, void*), void*);
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb*);
uint64_t qemu_plugin_tb_vaddr(const qemu_plugin_tb*);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const qemu_plugin_insn*);
unsigned qemu_plugin_mem_size_shift(uint32_t);
}
EXPORT int qemu_plugin_version = 1;

namespace {

constexpr int kReadWrite = 3;           // QEMU_PLUGIN_MEM_RW
constexpr int kAdd = 0;                 // QEMU_PLUGIN_INLINE_ADD_U64
constexpr unsigned kLineShift = 6;      // cache lines of 64 bytes, as all supported cores have
constexpr size_t kSegmentChunks = 24;   // a segment without repetitions ends here
// Markers: AArch64 `hint #100` and `hint #101`; x86 `nopl 0x7f00a5a5(%rax)` and `...a6(%rax)`.
const unsigned char kArmOn[] = {0x9f, 0x2c, 0x03, 0xd5}, kArmOff[] = {0xbf, 0x2c, 0x03, 0xd5};
const unsigned char kX86On[] = {0x0f, 0x1f, 0x80, 0xa5, 0xa5, 0x00, 0x7f};
const unsigned char kX86Off[] = {0x0f, 0x1f, 0x80, 0xa6, 0xa5, 0x00, 0x7f};

struct Block {
  uint64_t address;
  uint32_t id;
  std::string code;  // hexadecimal bytes, instructions separated by commas
};

// One level of cache. Misses that follow a miss of the line before are what a prefetcher hides.
class Cache {
 public:
  void configure(const char* text) {
    uint64_t bytes = strtoull(text, nullptr, 10);
    const char* colon = strchr(text, ':');
    ways_ = colon ? strtoull(colon + 1, nullptr, 10) : 8;
    sets_ = 1;
    while (2 * sets_ * ways_ << kLineShift <= bytes) sets_ *= 2;
    lines_.assign(sets_ * ways_, 0);
    used_.assign(sets_ * ways_, 0);
  }
  bool holds(uint64_t line) const {
    size_t first = (line & (sets_ - 1)) * ways_;
    for (size_t i = first; i < first + ways_; i++)
      if (lines_[i] == line + 1) return true;
    return false;
  }
  bool access(uint64_t line) {
    size_t first = (line & (sets_ - 1)) * ways_, victim = first;
    for (size_t i = first; i < first + ways_; i++) {
      if (lines_[i] == line + 1) {
        used_[i] = ++clock_;
        return true;
      }
      if (used_[i] < used_[victim]) victim = i;
    }
    lines_[victim] = line + 1;
    used_[victim] = ++clock_;
    return false;
  }

 private:
  uint64_t sets_ = 1, ways_ = 1, clock_ = 0;
  std::vector<uint64_t> lines_, used_;
};

// Recognises lines that continue one of the last few streams.
class Streams {
 public:
  bool continues(uint64_t line) {
    for (uint64_t& last : last_)
      if (line == last + 1 || line + 1 == last) {
        last = line;
        return true;
      }
    last_[next_++ % kStreams] = line;
    return false;
  }

 private:
  static constexpr size_t kStreams = 16;
  uint64_t last_[kStreams] = {};
  size_t next_ = 0;
};

struct Level {
  Cache cache;
  uint64_t random = 0, streamed = 0;
  void missed(bool follows) { (follows ? streamed : random)++; }
};

// An instruction that accesses memory: QEMU reports a vector in pieces of 8 bytes.
struct Accessor {
  uint64_t executed = 0, seen = 0;  // how often, and at the last piece
  uint64_t start = 0, line = 0;     // of the vector the last piece belongs to; line of that piece
};

using Run = std::pair<uint32_t, uint32_t>;  // chunk, repetitions

std::string out_path;
Level l1, l2;
Streams streams;
std::unordered_map<uint64_t, bool> touched;  // line -> its first touch continued a stream
uint64_t loads_stores = 0, splits = 0, widest = 16;
bool on = false;
std::map<std::pair<uint64_t, std::string>, Block*> blocks;
std::map<std::vector<uint32_t>, uint32_t> chunks;
std::map<std::vector<Run>, uint64_t> segments;
std::vector<uint32_t> chunk;
std::vector<Run> segment;
Run run{0, 0};
uint64_t last_address = 0;
bool has_loop = false;

void end_segment() {
  if (!segment.empty()) segments[segment]++;
  segment.clear();
  has_loop = false;
}

void end_run() {
  if (run.second == 0) return;
  if ((run.second > 1 && has_loop) || segment.size() >= kSegmentChunks) end_segment();
  has_loop |= run.second > 1;
  segment.push_back(run);
  run.second = 0;
}

void end_chunk() {
  if (chunk.empty()) return;
  auto found = chunks.emplace(chunk, static_cast<uint32_t>(chunks.size())).first;
  chunk.clear();
  if (run.second && run.first != found->second) end_run();
  run.first = found->second;
  run.second++;
}

void on_block(unsigned, void* data) {
  if (!on) return;
  auto* block = static_cast<Block*>(data);
  if (block->address <= last_address) end_chunk();
  last_address = block->address;
  chunk.push_back(block->id);
}

// Whether this piece is the first of an access on another line than the access began on.
bool goes_across(Accessor& by, uint64_t address, uint64_t last) {
  if (by.seen != by.executed) {
    by.seen = by.executed;
    by.start = address;
    by.line = address >> kLineShift;
  }
  bool across = last != by.line && ((last << kLineShift) - by.start) % widest;
  by.line = last;
  return across;
}

void on_access(unsigned, uint32_t info, uint64_t address, void* by) {
  uint64_t line = address >> kLineShift;
  uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> kLineShift;
  loads_stores += on;
  splits += goes_across(*static_cast<Accessor*>(by), address, last) && on;
  for (; line <= last; line++) {
    if (l1.cache.access(line)) continue;
    bool follows = streams.continues(line), known = l2.cache.access(line);
    if (!on || touched.emplace(line, follows).second) continue;  // counted in write_all
    l1.missed(follows);
    if (!known) l2.missed(follows);
  }
}

void on_marker(unsigned, void* data) {
  on = data != nullptr;
  if (!on) {
    end_chunk();
    end_run();
    end_segment();
  }
}

Block* block_of(qemu_plugin_tb* tb) {
  std::string code;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
    qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    auto* bytes = static_cast<const unsigned char*>(qemu_plugin_insn_data(insn));
    if (i) code += ',';
    for (size_t k = 0; k < qemu_plugin_insn_size(insn); k++) {
      char digits[3];
      snprintf(digits, sizeof digits, "%02x", bytes[k]);
      code += digits;
    }
  }
  uint64_t address = qemu_plugin_tb_vaddr(tb);
  Block*& found = blocks[{address, code}];
  if (!found) found = new Block{address, static_cast<uint32_t>(blocks.size() - 1), code};
  return found;
}

void on_translation(PluginId, qemu_plugin_tb* tb) {
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, block_of(tb));
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
    qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    size_t size = qemu_plugin_insn_size(insn);
    const void* bytes = qemu_plugin_insn_data(insn);
    auto is = [&](const unsigned char* marker, size_t length) {
      return size == length && memcmp(bytes, marker, length) == 0;
    };
    if (is(kArmOn, sizeof kArmOn) || is(kX86On, sizeof kX86On))
      qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, 0, &on);
    else if (is(kArmOff, sizeof kArmOff) || is(kX86Off, sizeof kX86Off))
      qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, 0, nullptr);
    else {
      auto* accessor = new Accessor;
      qemu_plugin_register_vcpu_insn_exec_inline(insn, kAdd, &accessor->executed, 1);
      qemu_plugin_register_vcpu_mem_cb(insn, on_access, 0, kReadWrite, accessor);
    }
  }
}

void write_all(PluginId, void*) {
  // In a series of calls, a first touch misses unless the call before left the line there.
  for (auto& [line, follows] : touched) {
    if (!l1.cache.holds(line)) l1.missed(follows);
    if (!l2.cache.holds(line)) l2.missed(follows);
  }
  FILE* file = fopen(out_path.c_str(), "w");
  if (!file) return;
  fprintf(file, "accesses %" PRIu64 " lines %zu l1 %" PRIu64 " %" PRIu64 " l2 %" PRIu64
          " %" PRIu64 " splits %" PRIu64 "\n", loads_stores, touched.size(), l1.random,
          l1.streamed, l2.random, l2.streamed, splits);
  for (auto& [key, block] : blocks) fprintf(file, "block %u %s\n", block->id, block->code.c_str());
  for (auto& [parts, id] : chunks) {
    fprintf(file, "chunk %u", id);
    for (uint32_t part : parts) fprintf(file, " %u", part);
    fputc('\n', file);
  }
  for (auto& [parts, count] : segments) {
    fprintf(file, "segment %" PRIu64, count);
    for (auto& [id, repetitions] : parts) fprintf(file, " %u*%u", id, repetitions);
    fputc('\n', file);
  }
  fclose(file);
}

}  // namespace

EXPORT int qemu_plugin_install(PluginId id, const void*, int argc, char** argv) {
  for (int i = 0; i < argc; i++) {
    if (!strncmp(argv[i], "out=", 4)) out_path = argv[i] + 4;
    if (!strncmp(argv[i], "l1=", 3)) l1.cache.configure(argv[i] + 3);
    if (!strncmp(argv[i], "l2=", 3)) l2.cache.configure(argv[i] + 3);
    if (!strncmp(argv[i], "widest=", 7)) widest = strtoull(argv[i] + 7, nullptr, 10);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, write_all, nullptr);
  return 0;
}
