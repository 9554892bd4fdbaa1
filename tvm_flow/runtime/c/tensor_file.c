// Inputs from files. A file is untrusted: what it claims of itself is held against its size.
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "internal.h"

enum { MOST_HEADER = 1 << 16 };

typedef struct {
  const char* path;
  int status;  // of a file that cannot be used
} File;

static int refuse(const File* file, const char* format, ...) {
  char why[600];
  va_list values;
  va_start(values, format);
  vsnprintf(why, sizeof why, format, values);
  va_end(values);
  const char* fix = file->status == TVMF_BUNDLE
                        ? "copy the bundle again, or compile it again"
                        : "pass a .npy or .bin file as the input is, or a binary .ppm or .pgm";
  return tvmf_fail(file->status, "cannot read %s: %s. Fix: %s", file->path, why, fix);
}

// The whole file; `most`: the bytes that it can make sense with.
static int read_whole(const File* file, uint64_t most, Content* content) {
  const char* why;
  *content = (Content){0};
  int opened = tvmf_file_regular(file->path, &why);
  if (opened < 0) return refuse(file, "%s", why);
  off_t size = lseek(opened, 0, SEEK_END);
  int status = TVMF_OK;
  if (size <= 0) {
    status = refuse(file, "it is empty");
  } else if ((uint64_t)size > most) {
    status = refuse(file, "it has %lld bytes, which is too many", (long long)size);
  } else {
    size_t bytes = (size_t)size;
    void* memory = tvmf_memory(bytes);
    *content = (Content){memory, bytes, memory, bytes};
    if (!memory)
      status = tvmf_fail(TVMF_ENVIRONMENT, "not enough memory for the %zu bytes of %s", bytes,
                         file->path);
    else if ((why = tvmf_file_read(opened, memory, bytes)))
      status = refuse(file, "%s", why);
  }
  close(opened);
  if (status) tvmf_content_free(content);
  return status;
}

// ---- .npy: numpy.lib.format. Its header is a Python dictionary with three keys.

typedef struct {
  const char *at, *end;
} Text;

typedef struct {
  Text type, shape;
  bool fortran, same_shape;
  unsigned found;  // a bit for each key
} Header;

static bool take(Text* text, const char* word) {
  while (text->at < text->end && isspace((unsigned char)*text->at)) text->at++;
  size_t length = strlen(word);
  if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length)) return false;
  text->at += length;
  return true;
}

static bool take_string(Text* text, Text* content) {
  if (!take(text, "'")) return false;
  content->at = text->at;
  while (text->at < text->end && isprint((unsigned char)*text->at) && *text->at != '\'') text->at++;
  content->end = text->at;
  return take(text, "'");
}

static bool take_number(Text* text, uint64_t* number) {
  take(text, "");  // blanks
  const char* start = text->at;
  for (*number = 0; text->at < text->end && isdigit((unsigned char)*text->at); text->at++)
    if (__builtin_mul_overflow(*number, 10, number) ||
        __builtin_add_overflow(*number, (uint64_t)(*text->at - '0'), number))
      return false;
  return text->at > start;
}

static bool take_shape(Text* text, const Tensor* tensor, Header* header) {
  uint32_t count = 0;
  uint64_t number;
  bool same = true, comma = true;
  take(text, "");
  header->shape.at = text->at;
  if (!take(text, "(")) return false;
  for (; !take(text, ")"); count++) {
    if (!comma || !take_number(text, &number)) return false;
    same = same && count < tensor->dimensions && number == tensor->shape[count];
    comma = take(text, ",");
  }
  if (count == 1 && !comma) return false;  // a number in brackets, and no tuple
  header->shape.end = text->at;
  header->same_shape = same && count == tensor->dimensions;
  return true;
}

static bool parse_header(Text* text, const Tensor* tensor, Header* header) {
  static const char* const keys[] = {"descr", "fortran_order", "shape"};
  bool comma = true;
  if (!take(text, "{")) return false;
  while (!take(text, "}")) {
    Text key;
    unsigned which = 0;
    if (!comma || !take_string(text, &key) || !take(text, ":")) return false;
    size_t length = (size_t)(key.end - key.at);
    while (which < 3 && (strlen(keys[which]) != length || memcmp(keys[which], key.at, length)))
      which++;
    if (which == 3 || header->found & 1u << which) return false;
    header->found |= 1u << which;
    if (which == 0 && !take_string(text, &header->type)) return false;
    if (which == 1 && !(header->fortran = take(text, "True")) && !take(text, "False")) return false;
    if (which == 2 && !take_shape(text, tensor, header)) return false;
    comma = take(text, ",");
  }
  take(text, "");
  return text->at == text->end && header->found == 7;
}

bool tvmf_npy_type(int type, int bits, char name[4]) {
  static const char letters[] = {[TVMF_INT] = 'i', [TVMF_UINT] = 'u', [TVMF_FLOAT] = 'f',
                                 [TVMF_BOOL] = 'b'};
  char letter = type >= 0 && type <= TVMF_BOOL ? letters[type] : 0;
  if (!letter || (letter == 'f' && bits < 16) || (letter == 'b' && bits != 8)) return false;
  memcpy(name, (char[]){bits == 8 ? '|' : '<', letter, (char)('0' + bits / 8), 0}, 4);
  return true;
}

static void print_shape(const Tensor* tensor, char* text, size_t bytes) {
  size_t used = (size_t)snprintf(text, bytes, "(");
  for (uint32_t i = 0; i < tensor->dimensions && used < bytes; i++)
    used += (size_t)snprintf(text + used, bytes - used, "%s%llu", i ? ", " : "",
                             (unsigned long long)tensor->shape[i]);
  if (used < bytes) snprintf(text + used, bytes - used, tensor->dimensions == 1 ? ",)" : ")");
}

static int shown(const Text* text, int most) {
  return text->end - text->at > most ? most : (int)(text->end - text->at);
}

// NumPy's word for a type such as <f8, float64; the type itself where it has none.
static void type_word(const char* type, int length, char* word, size_t bytes) {
  static const char letters[] = "iufb";
  static const char* const kinds[] = {"int", "uint", "float", "bool"};
  const char* letter = length == 3 ? strchr(letters, type[1]) : NULL;
  if (letter && *letter == 'b')
    snprintf(word, bytes, "bool");
  else if (letter && *letter && *type == (type[2] == '1' ? '|' : '<'))
    snprintf(word, bytes, "%s%d", kinds[letter - letters], 8 * (type[2] - '0'));
  else
    snprintf(word, bytes, "%.*s", length, type);
}

static int check_header(const File* file, const Header* header, const Tensor* tensor) {
  char type[4], shape[400];
  const Text* found = &header->type;
  int type_length = shown(found, 40), shape_length = shown(&header->shape, 100);
  if (!tvmf_npy_type(tensor->type, tensor->bits, type))
    return refuse(file, "NumPy has no type with this input's %d bits, .bin does", tensor->bits);
  bool same = found->end - found->at == 3 && !memcmp(found->at + 1, type + 1, 2) &&
              (*found->at == '<' || *found->at == *type);
  if (!same) {
    char given[48], needed[48];
    type_word(found->at, type_length, given, sizeof given);
    type_word(type, 3, needed, sizeof needed);
    return refuse(file, "it is of type %s, %s is needed", given, needed);
  }
  print_shape(tensor, shape, sizeof shape);
  if (!header->same_shape)
    return refuse(file, "it has the shape %.*s, %s is needed", shape_length, header->shape.at,
                  shape);
  if (header->fortran) return refuse(file, "its values are in the order of Fortran, and not of C");
  return TVMF_OK;
}

static int parse_npy(const File* file, const Content* content, const Tensor* tensor, void* memory) {
  const unsigned char* bytes = content->data;
  if (content->bytes < 12 || memcmp(bytes, "\x93NUMPY", 6))
    return refuse(file, "it is no .npy file");
  if (bytes[6] < 1 || bytes[6] > 3 || bytes[7])
    return refuse(file, "it is .npy of the version %d.%d, which is unknown", bytes[6], bytes[7]);
  size_t start = bytes[6] == 1 ? 10 : 12, length = bytes[8] | (size_t)bytes[9] << 8;
  if (bytes[6] > 1) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
  if (length > content->bytes - start) return refuse(file, "it ends within its header");
  Text text = {(const char*)bytes + start, (const char*)bytes + start + length};
  Header header = {0};
  if (!parse_header(&text, tensor, &header)) return refuse(file, "its header is no plain array's");
  int status = check_header(file, &header, tensor);
  if (status) return status;
  uint64_t rest = content->bytes - start - length;
  if (rest != tensor->bytes)
    return refuse(file, "it has %llu bytes of values, its shape needs %llu",
                  (unsigned long long)rest, (unsigned long long)tensor->bytes);
  if (rest) memcpy(memory, bytes + start + length, (size_t)rest);
  return TVMF_OK;
}

int tvmf_npy_read(const char* path, int status, const Tensor* tensor, void* memory) {
  const File file = {path, status};
  Content content;
  int failed = read_whole(&file, tensor->bytes + MOST_HEADER, &content);
  if (failed) return failed;
  failed = parse_npy(&file, &content, tensor, memory);
  tvmf_content_free(&content);
  return failed;
}

// ---- .ppm and .pgm: https://netpbm.sourceforge.net/doc/ppm.html. Comments may stand wherever
// blanks may, until one blank ends the header; a comment's end of line is that blank too.

static bool blank(Text* text) {
  if (text->at == text->end) return false;
  if (*text->at == '#') {
    while (text->at < text->end && *text->at != '\n' && *text->at != '\r') text->at++;
    if (text->at == text->end) return false;
  }
  if (!isspace((unsigned char)*text->at)) return false;
  text->at++;
  return true;
}

static bool take_field(Text* text, uint64_t* number) {
  if (!blank(text)) return false;
  while (blank(text)) continue;
  return text->at < text->end && isdigit((unsigned char)*text->at) && take_number(text, number);
}

static int parse_picture(tvmf_instance* net, int32_t index, const File* file, Content* content) {
  Text text = {content->data, (const char*)content->data + content->bytes};
  bool gray = content->bytes > 2 && !memcmp(text.at, "P5", 2);
  if (!gray && (content->bytes < 3 || memcmp(text.at, "P6", 2)))
    return refuse(file, "it is no binary picture (P6 or P5)");
  uint64_t width, height, most;
  text.at += 2;
  if (!take_field(&text, &width) || !take_field(&text, &height) || !take_field(&text, &most) ||
      !blank(&text))
    return refuse(file, "its header is no picture's");
  if (most < 1 || most > 255)
    return refuse(file, "its largest value is %llu: there must be one byte per value, 1 to 255",
                  (unsigned long long)most);
  uint64_t room = (uint64_t)(text.end - text.at) / (gray ? 1 : 3);
  if (width < 1 || height < 1 || width > INT32_MAX || height > INT32_MAX || width > room / height)
    return refuse(file, "it has no %llu x %llu pixels", (unsigned long long)width,
                  (unsigned long long)height);
  uint8_t* pixels = (uint8_t*)content->mapping + (text.at - (const char*)content->data);
  for (size_t i = 0; most < 255 && i < (size_t)width * height * (gray ? 1 : 3); i++)
    pixels[i] = pixels[i] < most ? (uint8_t)rint((double)pixels[i] / (double)most * 255) : 255;
  return tvmf_set_picture_entered(net, index, pixels, (int32_t)width, (int32_t)height, 0,
                                  gray ? TVMF_GRAY : TVMF_RGB);
}

// ---- All of them

static int copy_raw(const File* file, const Content* content, const Tensor* tensor, void* memory) {
  if (content->bytes != tensor->bytes)
    return refuse(file, "it has %zu bytes, %llu are needed", content->bytes,
                  (unsigned long long)tensor->bytes);
  memcpy(memory, content->data, content->bytes);
  return TVMF_OK;
}

static int read_any(tvmf_instance* net, int32_t index, const File* file) {
  const char *suffix = strrchr(file->path, '.'), *name = net->set->inputs[index].name;
  const Tensor* tensor = tvmf_port_tensor(net->set, &net->set->inputs[index]);
  void* memory = net->inputs[index];
  if (!suffix) suffix = "";
  bool picture = !strcasecmp(suffix, ".ppm") || !strcasecmp(suffix, ".pgm");
  bool npy = !strcasecmp(suffix, ".npy");
  if (!picture && !npy && strcasecmp(suffix, ".bin"))
    return refuse(file, "it ends in none of .npy, .bin, .ppm and .pgm");
  Content content;
  int status = read_whole(file, picture ? UINT64_MAX : tensor->bytes + MOST_HEADER, &content);
  if (status) return status;
  if (picture)
    status = parse_picture(net, index, file, &content);
  else
    status = (npy ? parse_npy : copy_raw)(file, &content, tensor, memory);
  tvmf_content_free(&content);
  if (status || picture || tvmf_all_finite(tensor, memory)) return status;
  return tvmf_fail(TVMF_USAGE, "%s contains NaN or infinity, for the input %s. Fix: look at "
                   "what wrote it", file->path, name);
}

int tvmf_read_input(tvmf_instance* net, int32_t index, const char* path) {
  tvmf_tensor_info info;
  if (!net || !path) return tvmf_fail(TVMF_USAGE, "tvmf_read_input was given no instance or path");
  int status = tvmf_input_info(net, index, &info);
  if (!status) status = tvmf_enter(net);
  if (status) return status;
  status = read_any(net, index, &(File){path, TVMF_USAGE});
  tvmf_leave(net);
  return status;
}
