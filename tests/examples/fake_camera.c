// A camera for programs started with LD_PRELOAD: /dev/video-test gives YUYV frames of as many bytes
// a row as the environment variable FAKE_STRIDE says. A damaged one, red, green, and then Ctrl-C.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFERS = 2 };
static int camera = -1, frames, streaming;
static struct v4l2_pix_format format;
static unsigned char queue[16];
static int queued;

static int is_camera(const char* path) { return !strcmp(path, "/dev/video-test"); }

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = flags & O_CREAT ? va_arg(more, int) : 0;
  va_end(more);
  if (is_camera(path)) return camera = memfd_create("camera", 0);
  int (*real)(const char*, int, ...) = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, "open");
  return real(path, flags, mode);
}

static off_t buffer_bytes(void) { return (format.sizeimage + 4095) / 4096 * 4096; }

static void write_frame(unsigned index, const unsigned char pair[4]) {
  for (unsigned y = 0; y < format.height; y++)
    for (unsigned x = 0; x < format.width / 2; x++)
      if (pwrite(camera, pair, 4, index * buffer_bytes() + y * format.bytesperline + 4 * x) != 4)
        abort();
}

static int dequeue(struct v4l2_buffer* buffer) {
  static const unsigned char blue[] = {41, 240, 41, 110}, red[] = {82, 90, 82, 240},
                             green[] = {145, 54, 145, 34};
  static const unsigned char* const colours[] = {blue, red, green};
  if (!queued || !streaming) abort();  // the program would wait for ever
  buffer->index = queue[0];
  memmove(queue, queue + 1, (size_t)--queued);
  buffer->bytesused = format.sizeimage;
  buffer->flags = frames ? 0 : V4L2_BUF_FLAG_ERROR;
  write_frame(buffer->index, colours[frames++]);
  if (frames == 3) raise(SIGINT);
  return 0;
}

int ioctl(int file, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void* argument = va_arg(more, void*);
  va_end(more);
  struct v4l2_buffer* buffer = argument;
  if (file != camera) return errno = ENOTTY, -1;
  switch (request) {
    case VIDIOC_S_FMT:
      format = ((struct v4l2_format*)argument)->fmt.pix;
      if (format.width > 1000) format.width = 1000;
      format.bytesperline = (unsigned)atoi(getenv("FAKE_STRIDE"));
      format.sizeimage = format.bytesperline * format.height;
      ((struct v4l2_format*)argument)->fmt.pix = format;
      return ftruncate(camera, BUFFERS * buffer_bytes());
    case VIDIOC_REQBUFS:
      ((struct v4l2_requestbuffers*)argument)->count = BUFFERS;
      return 0;
    case VIDIOC_QUERYBUF:
      buffer->length = (unsigned)buffer_bytes();
      buffer->m.offset = buffer->index * (unsigned)buffer_bytes();
      return 0;
    case VIDIOC_QBUF:
      if (queued == BUFFERS) abort();  // given back twice
      queue[queued++] = (unsigned char)buffer->index;
      return 0;
    case VIDIOC_STREAMON:
      streaming = 1;
      return 0;
    case VIDIOC_DQBUF:
      return dequeue(buffer);
    default:
      return errno = EINVAL, -1;
  }
}
