// Feeds libtvm_flow, built with sanitizers, what is almost right:
//
//   fuzz plan|weights|code BUNDLE CASES SEED    files of the bundle, changed, through the whole API
//   fuzz FILE BUNDLE CASES SEED                 an input for the bundle: .npy, .bin, .ppm or .pgm
//
// Every case must work or be refused in a sentence. Prints the sentences, each once, and how often
// what happened. BUNDLE and FILE are written to.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "faulty.h"
#include "tvm_flow.h"

enum { MOST_FIELDS = 1 << 14, SPARE = 4096, HEADER = 32, ELF_CHECKED = 24, MOST_SENTENCES = 512 };

typedef struct {
  unsigned char* data;  // with SPARE bytes behind
  size_t size;
} Bytes;

typedef struct {
  size_t offset, width;
} Field;

static Bytes plan, weights, code;
static Field fields[MOST_FIELDS];
static size_t field_count, stamps;  // `stamps`: where sizes and checksums of code and weights lie
static char* sentences[MOST_SENTENCES];
static size_t sentence_count, loaded, ran, refused;

static _Noreturn void die(const char* why, const char* what) {
  fprintf(stderr, "fuzz: %s: %s\n", why, what);
  exit(1);
}

static Bytes copy_of(Bytes from) {
  Bytes made = {calloc(1, from.size + SPARE), from.size};
  memcpy(made.data, from.data, from.size);
  return made;
}

static Bytes read_file(const char* folder, const char* name) {
  static unsigned char buffer[1 << 22];
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE* file = fopen(path, "rb");
  if (!file) die("cannot read", path);
  Bytes found = {buffer, fread(buffer, 1, sizeof buffer, file)};
  fclose(file);
  return copy_of(found);
}

static void write_file(const char* folder, const char* name, Bytes content) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE* file = fopen(path, "wb");
  if (!file || fwrite(content.data, 1, content.size, file) != content.size || fclose(file))
    die("cannot write", path);
}

// ---- Changes

static uint64_t special(uint64_t now) {
  static const uint64_t values[] = {
      0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 63, 64, 65, 127, 128, 255, 256, 1025, 1 << 15,
      65536, INT32_MAX, UINT32_MAX, 1ull << 32, 1ull << 40, 1ull << 41, 1ull << 45, 1ull << 46,
      (1ull << 46) + 1, 1ull << 60, 1ull << 62, 1ull << 63, UINT64_MAX};
  switch (fuzz_below(4)) {
    case 0: return now + 1;
    case 1: return now - 1;
    case 2: return fuzz_random();
    default: return values[fuzz_below(sizeof values / sizeof *values)];
  }
}

static void change_field(Bytes* bytes, Field field) {
  uint64_t now = 0;
  if (field.width > 8) field.width = 1;
  if (field.offset + field.width > bytes->size) return;
  memcpy(&now, bytes->data + field.offset, field.width);
  const Field* other = &fields[fuzz_below(field_count ? field_count : 1)];
  now = special(now);
  if (!fuzz_below(4) && other->width == field.width && other->offset + other->width <= bytes->size)
    memcpy(&now, bytes->data + other->offset, field.width);
  memcpy(bytes->data + field.offset, &now, field.width);
}

static void change_length(Bytes* bytes) {
  size_t at = fuzz_below(bytes->size + 1), count = fuzz_below(12) + 1;
  switch (fuzz_below(4)) {
    case 0:
      bytes->size = at;
      break;
    case 1:
      memset(bytes->data + bytes->size, 0, count);
      bytes->size += count;
      break;
    case 2:
      memmove(bytes->data + at + count, bytes->data + at, bytes->size - at);
      bytes->size += count;
      break;
    default:
      if (count > bytes->size - at) count = bytes->size - at;
      memmove(bytes->data + at, bytes->data + at + count, bytes->size - at - count);
      bytes->size -= count;
  }
}

static Bytes changed(Bytes from, bool structured) {
  Bytes made = copy_of(from);
  for (size_t left = fuzz_below(3) + 1; left; left--) {
    uint64_t kind = fuzz_below(16);
    size_t anywhere = fuzz_below(made.size ? made.size : 1);
    if (structured && kind < 11)
      change_field(&made, fields[fuzz_below(field_count)]);
    else if (kind < 13)
      change_field(&made, (Field){anywhere, (size_t)1 << fuzz_below(4)});
    else
      change_length(&made);
  }
  return made;
}

static void put(Bytes* bytes, size_t at, uint64_t value) {
  if (at + sizeof value <= bytes->size) memcpy(bytes->data + at, &value, sizeof value);
}

static void seal(Bytes* bytes) {
  if (bytes->size < HEADER) return;
  put(bytes, 16, bytes->size);
  put(bytes, 24, tvmf_checksum(bytes->data + HEADER, bytes->size - HEADER));
}

static void stamp(Bytes* made, size_t at, Bytes content) {
  put(made, at, content.size);
  put(made, at + 8, tvmf_checksum(content.data, content.size));
}

// ---- What must work

static void note_sentence(const char* sentence) {
  for (size_t i = 0; i < sentence_count; i++)
    if (!strcmp(sentences[i], sentence)) return;
  if (sentence_count < MOST_SENTENCES) sentences[sentence_count++] = strdup(sentence);
}

static bool works(int status) {
  if (!status) return true;
  const char* sentence = tvmf_last_error();
  if (status != TVMF_USAGE && status != TVMF_BUNDLE && status != TVMF_ENVIRONMENT)
    die("status without a meaning", sentence);
  if (strlen(sentence) < 10 || strchr(sentence, '\n')) die("no sentence", sentence);
  refused++;
  note_sentence(sentence);
  return false;
}

// Everything is looked at, and read to its last byte.
static uint64_t look(tvmf_instance* net, int32_t index, bool output) {
  tvmf_tensor_info info;
  int status = (output ? tvmf_output_info : tvmf_input_info)(net, index, &info);
  if (status) die("no input or output", tvmf_last_error());
  uint64_t sum = strlen(info.name) + strlen(info.layout);
  for (int32_t i = 0; i < info.dimensions; i++) sum += info.shape[i];
  unsigned char* at = (output ? tvmf_output : tvmf_input)(net, index);
  if (!output) memset(at, 1, info.bytes);
  for (uint64_t i = 0; i < info.bytes; i++) sum += at[i];
  return sum;
}

static uint64_t use_instance(tvmf_instance* net, const char* directory) {
  static const unsigned char pixels[7 * 5 * 3] = {200};
  uint64_t sum = 0, nanoseconds[3];
  for (int32_t i = 0; i < tvmf_input_count(net) && i < 64; i++) sum += look(net, i, false);
  int status = tvmf_run(net);
  bool done = works(status);
  ran += done;
  for (int32_t i = 0; done && i < tvmf_output_count(net) && i < 64; i++) sum += look(net, i, true);
  for (int32_t i = 0; i < tvmf_step_count(net); i++) sum += strlen(tvmf_step_name(net, i));
  works(tvmf_set_picture(net, 0, pixels, 7, 5, 0, TVMF_RGB));
  if (works(tvmf_start(net))) works(tvmf_wait(net));
  works(tvmf_time(net, 0, 3, nanoseconds));
  double error;
  status = directory ? tvmf_check(net, directory, &error) : TVMF_OK;
  if (status != TVMF_NUMERICS) works(status);
  return sum;
}

static uint64_t use(tvmf_model* model, const char* directory) {
  tvmf_model_info info;
  tvmf_get_model_info(model, &info);
  uint64_t sum = strlen(info.name) + strlen(info.target) + strlen(info.version);
  for (int32_t i = -1; i <= info.labels; i++) {
    const char* label = tvmf_label(model, i);
    sum += label ? strlen(label) : 0;
  }
  for (int32_t set = 0; set <= info.sets && set < 4; set++) {
    const tvmf_options options = {.size = sizeof options, .set = set};
    tvmf_instance* net;
    if (!works(tvmf_open(model, &options, &net))) continue;
    sum += use_instance(net, directory);
    if (tvmf_close(net)) die("cannot close", tvmf_last_error());
  }
  tvmf_unload(model);
  return sum;
}

// Without spare bytes, so that reading behind the end is found.
static void load_and_use(Bytes p, Bytes w, Bytes c, const char* directory) {
  tvmf_model* model;
  unsigned char *tight = malloc(p.size), *lax = malloc(w.size + 1);
  memcpy(tight, p.data, p.size), memcpy(lax + 1, w.data, w.size);
  fuzz_faulty = true;
  int status = directory ? tvmf_load(directory, fuzz_below(2), &model)
                         : tvmf_load_memory(tight, p.size, lax + 1, w.size, c.data, c.size, &model);
  if (works(status)) {
    loaded++;
    use(model, directory);
  }
  fuzz_faulty = false;
  free(tight), free(lax);
}

// ---- Cases

static void plan_case(const char* directory) {
  Bytes made = changed(plan, true);
  if (fuzz_below(10)) seal(&made);
  bool written = !fuzz_below(16);
  if (written) write_file(directory, "plan.bin", made);
  load_and_use(made, weights, code, written ? directory : NULL);
  free(made.data);
}

static void weights_case(const char* directory) {
  Bytes made = changed(weights, false), sealed = copy_of(plan);
  if (fuzz_below(2)) stamp(&sealed, stamps + 16, made);
  seal(&sealed);
  bool written = !fuzz_below(4);
  if (written) {
    write_file(directory, "plan.bin", sealed);
    write_file(directory, "weights.bin", made);
  }
  load_and_use(sealed, made, code, written ? directory : NULL);
  free(made.data), free(sealed.data);
}

// What the dynamic linker does with a changed library whose checksum is right is its own affair,
// but for the beginning, which it checks.
static void code_case(const char* directory) {
  Bytes sealed = copy_of(plan), made = code;
  bool beginning = fuzz_below(2);
  if (beginning)
    (made = copy_of(code)).data[fuzz_below(ELF_CHECKED)] = (unsigned char)special(0);
  else
    made = changed(code, false);
  if (beginning) stamp(&sealed, stamps, made);
  seal(&sealed);
  bool written = !fuzz_below(4);
  if (written) {
    write_file(directory, "plan.bin", sealed);
    write_file(directory, "model.so", made);
  }
  load_and_use(sealed, weights, made, written ? directory : NULL);
  free(made.data), free(sealed.data);
}

static void input_case(tvmf_instance* net, Bytes good, const char* path) {
  Bytes made = changed(good, false);
  write_file("", path, made);
  free(made.data);
  if (works(tvmf_read_input(net, 0, path))) ran += works(tvmf_run(net));
}

static void find_fields(void) {
  tvmf_model* model;
  fuzz_trace(plan.data, plan.size);
  if (tvmf_load_memory(plan.data, plan.size, weights.data, weights.size, code.data, code.size,
                       &model))
    die("the bundle itself is refused", tvmf_last_error());
  tvmf_unload(model);
  field_count = fuzz_traced((size_t*)fields, MOST_FIELDS);
  for (size_t i = 5; i + 5 < field_count && !stamps; i++) {
    bool eights = true;  // two sizes, two checksums, the tolerance
    for (size_t k = 0; k < 5; k++) eights = eights && fields[i + k].width == 8;
    if (eights) stamps = fields[i].offset;
  }
  if (!stamps) die("no checksums found", "plan.bin");
}

static void input_cases(const char* directory, const char* path, long cases) {
  tvmf_model* model;
  tvmf_instance* net;
  Bytes good = read_file("", path);
  if (tvmf_load(directory, 0, &model) || tvmf_open(model, NULL, &net)) die("", tvmf_last_error());
  if (tvmf_read_input(net, 0, path)) die("the file itself is refused", tvmf_last_error());
  for (long i = 0; i < cases; i++) input_case(net, good, path);
  tvmf_close(net);
  tvmf_unload(model);
  free(good.data);
}

int main(int argc, char** argv) {
  if (argc != 5) die("usage", "fuzz plan|weights|code|FILE BUNDLE CASES SEED");
  const char *kind = argv[1], *directory = argv[2];
  long cases = atol(argv[3]);
  plan = read_file(directory, "plan.bin"), weights = read_file(directory, "weights.bin");
  code = read_file(directory, "model.so");
  find_fields();
  fuzz_seed(strtoull(argv[4], NULL, 10));
  void (*one)(const char*) = !strcmp(kind, "plan")      ? plan_case
                             : !strcmp(kind, "weights") ? weights_case
                             : !strcmp(kind, "code")    ? code_case
                                                        : NULL;
  if (!one) input_cases(directory, kind, cases);
  for (long i = 0; one && i < cases; i++) one(directory);
  for (size_t i = 0; i < sentence_count; i++) puts(sentences[i]), free(sentences[i]);
  printf("%ld cases: %zu loaded, %zu ran, %zu refused\n", cases, loaded, ran, refused);
  free(plan.data), free(weights.data), free(code.data);
  return 0;
}
