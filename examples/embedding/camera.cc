// Classify frames as they come, from a pipe or from a camera of Linux:
//
//   ffmpeg -i video.mp4 -vf scale=640:480 -f rawvideo -pix_fmt rgb24 - | camera BUNDLE 640 480
//   camera BUNDLE 640 480 /dev/video0
//
// Ctrl-C and the end of the stream end it, with the number of frames per second.
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "tvm_flow.h"

namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }
[[noreturn]] void fail_system(const std::string& what) { fail(what + ": " + std::strerror(errno)); }

// ---- The network

// Owns a model and an instance of it. Every call throws what went wrong, in a sentence.
class Network {
 public:
  explicit Network(const char* bundle) {
    tvmf_model* model;
    require(tvmf_load(bundle, 0, &model));
    model_.reset(model);
    tvmf_instance* net;
    require(tvmf_open(model, nullptr, &net));
    net_.reset(net);
    tvmf_tensor_info info;
    require(tvmf_output_info(net, 0, &info));
    if (info.type != TVMF_FLOAT || info.bits != 32) fail("the network's output is not float32");
    order_.resize(info.bytes / sizeof(float));
  }

  // Resize, crop and normalise straight into the input, as the bundle says, and run.
  void run(const uint8_t* pixels, int width, int height, size_t stride, tvmf_pixels order) {
    require(tvmf_set_picture(net_.get(), 0, pixels, width, height, stride, order));
    require(tvmf_run(net_.get()));
  }

  // "12.3 % tabby, 8.1 % tiger cat, ...": probabilities of the `count` best classes.
  std::string top(size_t count) {
    auto scores = static_cast<const float*>(tvmf_output(net_.get(), 0));
    std::iota(order_.begin(), order_.end(), 0);
    count = std::min(count, order_.size());
    std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count),
                      order_.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    double sum = 0;
    for (size_t i : order_) sum += std::exp(scores[i] - scores[order_[0]]);
    std::string text;
    for (size_t i = 0; i < count; i++) {
      char percent[32];
      double share = std::exp(scores[order_[i]] - scores[order_[0]]) / sum;
      std::snprintf(percent, sizeof percent, "%s%.1f %% ", i ? ", " : "", 100 * share);
      const char* label = tvmf_label(model_.get(), static_cast<int32_t>(order_[i]));
      text += percent + (label ? std::string(label) : "class " + std::to_string(order_[i]));
    }
    return text;
  }

 private:
  static void require(int status) {
    if (status) fail(tvmf_last_error());
  }
  struct Unload {
    void operator()(tvmf_model* model) const { tvmf_unload(model); }
  };
  struct Close {
    void operator()(tvmf_instance* net) const { tvmf_close(net); }
  };
  std::unique_ptr<tvmf_model, Unload> model_;
  std::unique_ptr<tvmf_instance, Close> net_;  // goes before the model
  std::vector<size_t> order_;
};

// ---- Waiting, and Ctrl-C

int stop_signals = -1;

// Ctrl-C becomes something to read: it can neither interrupt a run nor come between a look at a
// flag and a read that never returns.
void catch_signals() {
  sigset_t caught;
  sigemptyset(&caught);
  sigaddset(&caught, SIGINT);
  sigaddset(&caught, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &caught, nullptr);
  stop_signals = signalfd(-1, &caught, SFD_CLOEXEC);
  if (stop_signals < 0) fail_system("cannot wait for Ctrl-C");
}

// Until there is something to read; false: it is time to stop.
bool wait_for(int file) {
  pollfd waiting[] = {{file, POLLIN, 0}, {stop_signals, POLLIN, 0}};
  while (poll(waiting, 2, -1) < 0)
    if (errno != EINTR) fail_system("cannot wait for frames");
  return !waiting[1].revents;
}

// ---- Frames

enum class Format { rgb24, bgr24, yuyv422 };

size_t bytes_of_pixel(Format format) { return format == Format::yuyv422 ? 2 : 3; }

// A row. Two pixels share their colour. ITU-R BT.601 in fixed point, 16 to 235 for black to white.
void yuyv_to_rgb(const uint8_t* from, size_t pixels, uint8_t* to) {
  auto clip = [](int value) { return static_cast<uint8_t>(std::clamp(value >> 8, 0, 255)); };
  for (size_t i = 0; i < pixels; i++, to += 3) {
    const uint8_t* pair = from + i / 2 * 4;
    int y = 298 * (from[2 * i] - 16) + 128, u = pair[1] - 128, v = pair[3] - 128;
    to[0] = clip(y + 409 * v);
    to[1] = clip(y - 100 * u - 208 * v);
    to[2] = clip(y + 516 * u);
  }
}

class Source {
 public:
  virtual ~Source() = default;
  // The next frame, whose rows are stride() bytes apart; nullptr at the end. It is valid until the
  // next call.
  virtual const uint8_t* next() = 0;
  size_t stride() const { return stride_; }

 protected:
  size_t stride_ = 0;
};

class Pipe : public Source {
 public:
  Pipe(size_t stride, size_t height) : frame_(stride * height) { stride_ = stride; }

  const uint8_t* next() override {
    for (size_t got = 0; got < frame_.size();) {
      if (!wait_for(STDIN_FILENO)) return nullptr;
      ssize_t count = read(STDIN_FILENO, frame_.data() + got, frame_.size() - got);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail_system("cannot read frames from standard input");
      if (count == 0) {
        if (got)
          std::fprintf(stderr, "note: the last frame is left out: it ends after %zu of %zu bytes\n",
                       got, frame_.size());
        return nullptr;
      }
      got += static_cast<size_t>(count);
    }
    return frame_.data();
  }

 private:
  std::vector<uint8_t> frame_;
};

// A camera that gives YUYV, as nearly all do; its memory is mapped, so frames are not copied.
class Camera : public Source {
 public:
  Camera(const std::string& path, uint32_t width, uint32_t height) : path_(path) {
    file_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file_ < 0) fail_system("cannot open " + path);
    v4l2_format format = {};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    format.fmt.pix.width = width, format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
    ask(VIDIOC_S_FMT, &format, "set the format of");
    const v4l2_pix_format& got = format.fmt.pix;
    if (got.pixelformat != V4L2_PIX_FMT_YUYV) fail(path + " does not give YUYV");
    if (got.width != width || got.height != height)
      fail(path + " gives frames of " + std::to_string(got.width) + " x " +
           std::to_string(got.height) + " only: say so");
    stride_ = std::max(got.bytesperline, 2 * width);
    bytes_ = stride_ * (height - 1) + 2 * width;
    map_buffers();
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    ask(VIDIOC_STREAMON, &type, "start");
  }
  Camera(const Camera&) = delete;
  Camera& operator=(const Camera&) = delete;

  ~Camera() override {
    for (const Mapping& one : buffers_) munmap(one.memory, one.bytes);
    if (file_ >= 0) close(file_);  // ends the stream, too
  }

  const uint8_t* next() override {
    if (lent_) ask(VIDIOC_QBUF, &current_, "give a frame back to");
    lent_ = false;
    while (wait_for(file_)) {
      current_ = captured();
      ask(VIDIOC_DQBUF, &current_, "read a frame from");
      lent_ = true;
      bool whole = !(current_.flags & V4L2_BUF_FLAG_ERROR) && current_.bytesused >= bytes_;
      if (whole) return static_cast<const uint8_t*>(buffers_.at(current_.index).memory);
      ask(VIDIOC_QBUF, &current_, "give a frame back to");
      lent_ = false;
    }
    return nullptr;
  }

 private:
  struct Mapping {
    void* memory;
    size_t bytes;
  };

  static v4l2_buffer captured() {
    v4l2_buffer buffer = {};
    buffer.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    buffer.memory = V4L2_MEMORY_MMAP;
    return buffer;
  }

  void ask(unsigned long request, void* argument, const char* what) {
    while (ioctl(file_, request, argument) < 0)
      if (errno != EINTR) fail_system(std::string("cannot ") + what + " " + path_);
  }

  void map_buffers() {
    v4l2_requestbuffers wanted = {};
    wanted.count = 4;
    wanted.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    wanted.memory = V4L2_MEMORY_MMAP;
    ask(VIDIOC_REQBUFS, &wanted, "get memory of");
    for (uint32_t i = 0; i < wanted.count; i++) {
      v4l2_buffer buffer = captured();
      buffer.index = i;
      ask(VIDIOC_QUERYBUF, &buffer, "find the memory of");
      void* memory = mmap(nullptr, buffer.length, PROT_READ, MAP_SHARED, file_, buffer.m.offset);
      if (memory == MAP_FAILED) fail_system("cannot map the memory of " + path_);
      buffers_.push_back({memory, buffer.length});
      ask(VIDIOC_QBUF, &buffer, "lend a frame to");
    }
  }

  std::string path_;
  int file_ = -1;
  size_t bytes_ = 0;
  std::vector<Mapping> buffers_;
  v4l2_buffer current_ = {};
  bool lent_ = false;
};

// ---- The loop

struct Arguments {
  const char* bundle;
  int width, height;
  std::string device = "";  // standard input
  Format format = Format::rgb24;
};

int side(const char* text) {
  char* end;
  long value = std::strtol(text, &end, 10);
  if (*end || end == text || value < 1 || value > 1 << 15)
    fail(std::string("'") + text + "' is no width or height");
  return static_cast<int>(value);
}

Arguments parse(int argc, char** argv) {
  if (argc != 4 && argc != 5)
    fail("usage: camera BUNDLE WIDTH HEIGHT [rgb24|bgr24|yuyv422|/dev/videoN]");
  Arguments given = {argv[1], side(argv[2]), side(argv[3])};
  const std::string source = argc == 5 ? argv[4] : "rgb24";
  if (source[0] == '/') given.device = source;
  else if (source == "bgr24") given.format = Format::bgr24;
  else if (source != "rgb24" && source != "yuyv422") fail("unknown pixels: " + source);
  if (source == "yuyv422" || !given.device.empty()) given.format = Format::yuyv422;
  if (given.format == Format::yuyv422 && given.width % 2) fail("frames of YUYV have an even width");
  return given;
}

std::unique_ptr<Source> open_source(const Arguments& given) {
  const auto width = static_cast<uint32_t>(given.width);
  const auto height = static_cast<uint32_t>(given.height);
  if (!given.device.empty()) return std::make_unique<Camera>(given.device, width, height);
  return std::make_unique<Pipe>(width * bytes_of_pixel(given.format), height);
}

// `rgb` is kept from frame to frame.
void run(Network& network, const Arguments& given, const uint8_t* frame, size_t stride,
         std::vector<uint8_t>& rgb) {
  const int width = given.width, height = given.height;
  if (given.format != Format::yuyv422) {
    network.run(frame, width, height, stride, given.format == Format::bgr24 ? TVMF_BGR : TVMF_RGB);
    return;
  }
  const size_t row = static_cast<size_t>(width);
  rgb.resize(3 * row * static_cast<size_t>(height));
  for (size_t y = 0; y < static_cast<size_t>(height); y++)
    yuyv_to_rgb(frame + y * stride, row, &rgb[3 * row * y]);
  network.run(rgb.data(), width, height, 0, TVMF_RGB);
}

int classify(const Arguments& given) {
  using clock = std::chrono::steady_clock;
  catch_signals();  // before the network's threads start, which inherit what is blocked
  Network network(given.bundle);
  const std::unique_ptr<Source> source = open_source(given);
  std::vector<uint8_t> rgb;
  long frames = 0;
  clock::duration busy{0};
  const auto begin = clock::now();
  while (const uint8_t* frame = source->next()) {
    const auto arrived = clock::now();
    run(network, given, frame, source->stride(), rgb);
    busy += clock::now() - arrived;
    std::printf("%ld: %s\n", ++frames, network.top(3).c_str());
    if (std::fflush(stdout)) fail_system("cannot print");
  }
  const std::chrono::duration<double> all = clock::now() - begin;
  const std::chrono::duration<double, std::milli> computed = busy;
  std::printf("%ld frames, %.1f frames per second, %.2f ms to compute one\n", frames,
              static_cast<double>(frames) / all.count(),
              frames ? computed.count() / static_cast<double>(frames) : 0.0);
  if (std::fflush(stdout)) fail_system("cannot print");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return classify(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
