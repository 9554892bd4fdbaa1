// Pictures as networks want them, bit for bit what Pillow and NumPy make of them:
//
//   picture.resize(size, BILINEAR).crop(box), then (v / 255 * range - mean) / std in float32
//
// Pillow resizes pictures of 8 bits along rows, and then along columns, with weights in fixed
// point, and rounds to 8 bits after each (src/libImaging/Resample.c). Only what the crop needs is
// computed: the first pass goes into a ring of as many rows as one row of the result is made of.
// What depends on sizes alone is kept from picture to picture.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { PRECISION_BITS = 32 - 8 - 2, HALF = 1 << (PRECISION_BITS - 1), MOST_SIDE = 1 << 16 };

// Pixels that one of the result is made of, along one axis.
typedef struct {
  int32_t first, count;
} Span;

typedef struct {
  int32_t from, count;  // pixels of the picture; of the crop
  int64_t to, begin;    // pixels of the resized picture; where the crop begins in it
  int32_t taps;         // weights of each span, as far as they are used
  Span* spans;
  int32_t* weights;
} Axis;

// The beginning of the instance's picture_buffer.
typedef struct {
  const Picture* picture;
  Axis x, y;
  float values[4][256];  // of the channels of the network
  uint8_t *gray, *ring;  // a row of the picture; y.taps rows of x.count pixels
  int32_t* sums;         // a row of the result
} Resizer;

// What the input wants and the picture has, as distances in memory.
typedef struct {
  const uint8_t* pixels;
  size_t stride;
  int pixel, channels;  // bytes of a pixel; channels that are resized: 1 or 3
  bool swapped, to_gray;
  int outputs;  // channels of the network
  size_t channel_step, column_step, row_step;
  void* values;
  bool raw;  // uint8
} Job;

// ---- Sizes and weights

static void place_axis(Axis* axis, int32_t from, uint32_t crop, double scale) {
  axis->from = from, axis->count = (int32_t)crop;
  axis->to = (int64_t)fmax(crop, rint(from * scale));
  axis->begin = (int64_t)rint((double)(axis->to - crop) / 2);
  axis->taps = (int32_t)ceil(fmax((double)from / (double)axis->to, 1)) * 2 + 1;
}

// The shorter side becomes `resize` pixels, or more where the crop would not fit otherwise; ties
// are rounded to even, as in Python.
static void place_axes(Resizer* r, const Picture* p, int32_t width, int32_t height) {
  double scale = (double)p->resize / (width < height ? width : height);
  scale = fmax(scale, fmax((double)p->width / width, (double)p->height / height));
  place_axis(&r->x, width, p->width, scale);
  place_axis(&r->y, height, p->height, scale);
}

static double triangle(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

static void fill_axis(Axis* axis) {
  double scale = (double)axis->from / (double)axis->to, support = fmax(scale, 1);
  double step = 1 / support;
  for (int32_t i = 0; i < axis->count; i++) {
    double center = ((double)(axis->begin + i) + 0.5) * scale, sum = 0;
    int32_t first = (int32_t)(center - support + 0.5), end = (int32_t)(center + support + 0.5);
    if (first < 0) first = 0;
    if (end > axis->from) end = axis->from;
    axis->spans[i] = (Span){first, end - first};
    for (int32_t k = first; k < end; k++) sum += triangle((k - center + 0.5) * step);
    int32_t* weights = &axis->weights[(size_t)i * (size_t)axis->taps];
    for (int32_t k = first; k < end; k++) {
      double weight = triangle((k - center + 0.5) * step) / sum;
      *weights++ = (int32_t)(0.5 + weight * (1 << PRECISION_BITS));
    }
  }
}

static void fill_values(Resizer* r, const Picture* p) {
  for (int c = 0; c < 4; c++)
    for (int v = 0; v < 256; v++) {
      float value = (float)v;
      if (p->scale != 255) value = value / 255;
      if (p->scale != 255 && p->scale != 1) value = value * p->scale;
      r->values[c][v] = (value - p->mean[c]) / p->std[c];
    }
}

static size_t part(size_t* used, size_t bytes) {
  size_t at = *used;
  *used += (bytes + 63) / 64 * 64;
  return at;
}

// The resizer for this size of picture: the last one, or a new one. NULL without memory.
static Resizer* prepare(tvmf_instance* net, const Picture* p, int32_t width, int32_t height) {
  Resizer *last = net->picture_buffer, made = {.picture = p};
  if (last && last->picture == p && last->x.from == width && last->y.from == height) return last;
  place_axes(&made, p, width, height);
  size_t columns = (size_t)made.x.count, rows = (size_t)made.y.count, used = 0;
  size_t taps_x = (size_t)made.x.taps, taps_y = (size_t)made.y.taps;
  part(&used, sizeof made);
  size_t spans_x = part(&used, columns * sizeof(Span)), spans_y = part(&used, rows * sizeof(Span));
  size_t weights_x = part(&used, columns * taps_x * 4), weights_y = part(&used, rows * taps_y * 4);
  size_t sums = part(&used, columns * 3 * 4), ring = part(&used, taps_y * columns * 3);
  size_t gray = part(&used, (size_t)width);
  if (used > net->picture_bytes) {
    free(net->picture_buffer);
    net->picture_buffer = malloc(used);
    net->picture_bytes = net->picture_buffer ? used : 0;
    if (!net->picture_buffer) return NULL;
  }
  char* buffer = net->picture_buffer;
  made.x.spans = (Span*)(buffer + spans_x), made.x.weights = (int32_t*)(buffer + weights_x);
  made.y.spans = (Span*)(buffer + spans_y), made.y.weights = (int32_t*)(buffer + weights_y);
  made.sums = (int32_t*)(buffer + sums), made.ring = (uint8_t*)(buffer + ring);
  made.gray = (uint8_t*)(buffer + gray);
  fill_axis(&made.x);
  fill_axis(&made.y);
  fill_values(&made, p);
  memcpy(buffer, &made, sizeof made);
  return net->picture_buffer;
}

// ---- Pixels

static uint8_t clip(int32_t sum) {
  int32_t value = sum >> PRECISION_BITS;
  return value > 255 ? 255 : (uint8_t)value;
}

// Inlined for each size of pixel, so that the loops over channels are none.
static inline __attribute__((always_inline)) void resize_row(const Axis* axis, const uint8_t* from,
                                                             int pixel, int channels, uint8_t* to) {
  for (int32_t i = 0; i < axis->count; i++, to += channels) {
    const uint8_t* at = from + (size_t)axis->spans[i].first * (size_t)pixel;
    const int32_t* weights = &axis->weights[(size_t)i * (size_t)axis->taps];
    int32_t sums[3] = {HALF, HALF, HALF};
    for (int32_t k = 0; k < axis->spans[i].count; k++, at += pixel)
      for (int c = 0; c < channels; c++) sums[c] += at[c] * weights[k];
    for (int c = 0; c < channels; c++) to[c] = clip(sums[c]);
  }
}

// ITU-R 601-2 in fixed point, as Pillow's convert("L").
static void to_gray(const Job* job, const uint8_t* from, int32_t width, uint8_t* to) {
  int red = job->swapped ? 2 : 0;
  for (int32_t i = 0; i < width; i++, from += job->pixel)
    to[i] = (uint8_t)((from[red] * 19595 + from[1] * 38470 + from[2 - red] * 7471 + 0x8000) >> 16);
}

static void take_row(const Resizer* r, const Job* job, int32_t row, uint8_t* to) {
  const uint8_t* from = job->pixels + (size_t)row * job->stride;
  if (job->to_gray) {
    to_gray(job, from, r->x.from, r->gray);
    resize_row(&r->x, r->gray, 1, 1, to);
  } else if (job->pixel == 1) {
    resize_row(&r->x, from, 1, 1, to);
  } else if (job->pixel == 3) {
    resize_row(&r->x, from, 3, 3, to);
  } else {
    resize_row(&r->x, from, 4, 3, to);
  }
}

static void store_row(const Resizer* r, const Job* job, int32_t row) {
  for (int c = 0; c < job->outputs; c++) {
    int color = r->picture->bgr && job->outputs == 3 ? 2 - c : c;
    const int32_t* sums = r->sums + (job->channels == 1 ? 0 : job->swapped ? 2 - color : color);
    size_t at = (size_t)c * job->channel_step + (size_t)row * job->row_step;
    for (int32_t i = 0; i < r->x.count; i++, at += job->column_step, sums += job->channels) {
      if (job->raw)
        ((uint8_t*)job->values)[at] = clip(*sums);
      else
        ((float*)job->values)[at] = r->values[c][clip(*sums)];
    }
  }
}

static void resize(const Resizer* r, const Job* job) {
  size_t length = (size_t)r->x.count * (size_t)job->channels;
  int32_t done = r->y.spans[0].first;
  for (int32_t row = 0; row < r->y.count; row++) {
    const Span* span = &r->y.spans[row];
    const int32_t* weights = &r->y.weights[(size_t)row * (size_t)r->y.taps];
    for (; done < span->first + span->count; done++)
      take_row(r, job, done, r->ring + (size_t)(done % r->y.taps) * length);
    for (size_t i = 0; i < length; i++) r->sums[i] = HALF;
    for (int32_t k = 0; k < span->count; k++) {
      const uint8_t* from = r->ring + (size_t)((span->first + k) % r->y.taps) * length;
      for (size_t i = 0; i < length; i++) r->sums[i] += from[i] * weights[k];
    }
    store_row(r, job, row);
  }
}

// ---- What is asked for

static int describe_picture(Job* job, const void* pixels, int32_t width, int32_t height,
                            size_t stride, tvmf_pixels order) {
  static const int sizes[] = {[TVMF_RGB] = 3, [TVMF_BGR] = 3, [TVMF_RGBA] = 4, [TVMF_BGRA] = 4,
                              [TVMF_GRAY] = 1};
  if (!pixels || (unsigned)order > TVMF_GRAY)
    return tvmf_fail(TVMF_USAGE, "the picture has no pixels, or none in a known order. Fix: pass "
                     "uint8 pixels, and TVMF_RGB or another of tvmf_pixels");
  if (width < 1 || height < 1 || width > MOST_SIDE || height > MOST_SIDE)
    return tvmf_fail(TVMF_USAGE, "a picture of %d x %d pixels is not possible. Fix: pass one with "
                     "sides of 1 to %d", width, height, MOST_SIDE);
  job->pixel = sizes[order];
  size_t row = (size_t)width * (size_t)job->pixel;
  if (!stride) stride = row;
  if (stride < row || stride > PTRDIFF_MAX / (size_t)height)
    return tvmf_fail(TVMF_USAGE, "rows %zu bytes apart do not fit pixels that take %zu. Fix: "
                     "pass the distance in bytes, or 0 where there are no gaps", stride, row);
  job->pixels = pixels, job->stride = stride;
  job->swapped = order == TVMF_BGR || order == TVMF_BGRA;
  return TVMF_OK;
}

static int describe_input(Job* job, const Tensor* tensor, const Port* port, const Picture* p) {
  bool nhwc = !strcmp(port->layout, "NHWC");
  const uint64_t* shape = tensor->shape;
  bool fits = tensor->dimensions == 4 && shape[nhwc ? 1 : 2] == p->height &&
              shape[nhwc ? 2 : 3] == p->width && (nhwc || !strcmp(port->layout, "NCHW"));
  uint64_t channels = fits ? shape[nhwc ? 3 : 1] : 0;
  job->raw = tensor->type == TVMF_UINT && tensor->bits == 8;
  if ((channels != 1 && channels != 3) || shape[0] != 1 ||
      !(job->raw || (tensor->type == TVMF_FLOAT && tensor->bits == 32)))
    return tvmf_fail(TVMF_USAGE, "pictures do not fit the input %s: it is not one of %u x %u "
                     "pixels with 1 or 3 channels of float32 or uint8. Fix: compile it for a batch "
                     "of 1, or write to tvmf_input", port->name, p->width, p->height);
  size_t pixels = (size_t)p->width * p->height, count = (size_t)channels;
  job->outputs = (int)count;
  job->to_gray = count == 1 && job->pixel > 1;
  job->channels = count == 1 || job->pixel == 1 ? 1 : 3;
  job->channel_step = nhwc ? 1 : pixels;
  job->column_step = nhwc ? count : 1;
  job->row_step = p->width * job->column_step;
  return TVMF_OK;
}

static const Picture* find(const Plan* plan, int32_t index) {
  for (uint32_t i = 0; i < plan->picture_count; i++)
    if (plan->pictures[i].input == (uint32_t)index) return &plan->pictures[i];
  return NULL;
}

int tvmf_set_picture_entered(tvmf_instance* net, int32_t index, const void* pixels, int32_t width,
                             int32_t height, size_t stride, tvmf_pixels order) {
  const Picture* picture = find(&net->model->plan, index);
  const Port* port = &net->set->inputs[index];
  Job job = {.values = net->inputs[index]};
  if (!picture)
    return tvmf_fail(TVMF_USAGE, "the bundle does not say how a picture becomes the input %s. Fix: "
                     "compile it with the picture flags (tvm-flow compile --help), or pass values",
                     port->name);
  int status = describe_picture(&job, pixels, width, height, stride, order);
  if (!status) status = describe_input(&job, tvmf_port_tensor(net->set, port), port, picture);
  if (status) return status;
  const Resizer* resizer = prepare(net, picture, width, height);
  if (!resizer)
    return tvmf_fail(TVMF_ENVIRONMENT, "not enough memory for a picture of %d x %d pixels", width,
                     height);
  resize(resizer, &job);
  return TVMF_OK;
}

int tvmf_set_picture(tvmf_instance* net, int32_t index, const void* pixels, int32_t width,
                     int32_t height, size_t stride, tvmf_pixels order) {
  tvmf_tensor_info info;
  if (!net) return tvmf_fail(TVMF_USAGE, "tvmf_set_picture was given no instance");
  int status = tvmf_input_info(net, index, &info);
  if (!status) status = tvmf_enter(net);
  if (status) return status;
  status = tvmf_set_picture_entered(net, index, pixels, width, height, stride, order);
  tvmf_leave(net);
  return status;
}
