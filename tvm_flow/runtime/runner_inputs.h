// Reads the input of the runner: .npy, raw float32 .bin, or a binary PPM picture that is resized,
// cropped and normalised exactly as run.py does it (ImageNet evaluation).
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using Floats = std::vector<float>;

struct Failure {
  int code;
  std::string message;
};
[[noreturn]] inline void usage(const std::string& message) { throw Failure{2, message}; }

inline std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) usage("cannot read " + path.string());
  std::error_code unknown;
  auto size = fs::file_size(path, unknown);
  std::string text;  // of the right size at once: one that grows is in memory twice meanwhile
  if (!unknown) text.reserve(size);  // 0 for those of /proc
  for (char part[4096]; file.read(part, sizeof part) || file.gcount() > 0;)
    text.append(part, file.gcount());
  return text;
}

struct Spec {
  std::vector<int64_t> shape;
  bool nhwc;
  int64_t size() const {
    return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  }
};

inline Floats as_floats(const char* data, size_t bytes, const Spec& spec, const fs::path& path) {
  if (bytes != sizeof(float) * spec.size())
    usage(path.string() + " does not have the " + std::to_string(spec.size()) + " float32 values");
  Floats values(spec.size());
  std::copy_n(data, bytes, reinterpret_cast<char*>(values.data()));
  return values;
}

inline Floats read_npy(const fs::path& path, const Spec& spec) {
  std::string text = slurp(path);
  if (text.size() < 12 || text.compare(0, 6, "\x93NUMPY") != 0)
    usage(path.string() + " is not .npy");
  auto byte = [&](int i) { return static_cast<size_t>(static_cast<unsigned char>(text[i])); };
  size_t start = text[6] == 1 ? 10 + byte(8) + 256 * byte(9)
                              : 12 + byte(8) + (byte(9) << 8) + (byte(10) << 16) + (byte(11) << 24);
  std::string header = text.substr(0, std::min(start, text.size()));
  if (header.find("'<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos)
    usage(path.string() + " is not a C-ordered float32 array");
  return as_floats(text.data() + header.size(), text.size() - header.size(), spec, path);
}

// One axis of a resize as Pillow's BILINEAR does it: a triangle as wide as the reduction. `step` is
// the distance of neighbours along the axis; `lines` are the starts of the lines.
inline Floats resize_axis(const Floats& in, int64_t lines, int64_t from, int64_t to, int64_t step) {
  Floats out(in.size() / from * to);
  double scale = static_cast<double>(from) / to, support = std::max(scale, 1.0);
  for (int64_t i = 0; i < to; i++) {
    double center = (i + 0.5) * scale;
    int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    int64_t last = std::min<int64_t>(from, static_cast<int64_t>(center + support + 0.5));
    std::vector<double> weights;
    double total = 0;
    for (int64_t j = first; j < last; j++) {
      weights.push_back(std::max(0.0, 1 - std::abs(j + 0.5 - center) / support));
      total += weights.back();
    }
    for (int64_t line = 0; line < lines; line++) {
      int64_t outer = line / step, inner = line % step;
      double sum = 0;
      for (int64_t j = first; j < last; j++)
        sum += weights[j - first] * in[(outer * from + j) * step + inner];
      out[(outer * to + i) * step + inner] = std::round(sum / total);  // Pillow keeps 8 bits
    }
  }
  return out;
}

inline Floats read_ppm(const fs::path& path, const Spec& spec) {
  std::istringstream text(slurp(path));
  std::string magic;
  int64_t width = 0, height = 0, most = 0;
  text >> magic >> width >> height >> most;
  text.get();
  if (magic != "P6" || most != 255 || width < 1 || height < 1) usage(path.string() + " is not P6");
  std::string bytes(std::istreambuf_iterator<char>(text), {});
  if (static_cast<int64_t>(bytes.size()) < width * height * 3) usage(path.string() + " is cut off");
  const auto& s = spec.shape;
  if (s.size() != 4 || s[0] != 1 || s[spec.nhwc ? 3 : 1] != 3) usage("the input is no picture");
  int64_t h = s[spec.nhwc ? 1 : 2], w = s[spec.nhwc ? 2 : 3];
  double scale = 256.0 / 224 * std::max(double(h) / height, double(w) / width);
  int64_t rw = std::max<int64_t>(w, std::nearbyint(width * scale));
  int64_t rh = std::max<int64_t>(h, std::nearbyint(height * scale));
  Floats pixels(width * height * 3);
  for (size_t i = 0; i < pixels.size(); i++) pixels[i] = static_cast<unsigned char>(bytes[i]);
  pixels = resize_axis(pixels, height * 3, width, rw, 3);
  pixels = resize_axis(pixels, rw * 3, height, rh, rw * 3);
  int64_t left = std::nearbyint((rw - w) / 2.0), top = std::nearbyint((rh - h) / 2.0);
  const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
  Floats values(spec.size());
  for (int64_t y = 0; y < h; y++)
    for (int64_t x = 0; x < w; x++)
      for (int64_t c = 0; c < 3; c++)
        values[spec.nhwc ? (y * w + x) * 3 + c : (c * h + y) * w + x] =
            (pixels[((y + top) * rw + x + left) * 3 + c] / 255 - mean[c]) / deviation[c];
  return values;
}

inline Floats read_input(const fs::path& path, const Spec& spec) {
  if (path.extension() == ".npy") return read_npy(path, spec);
  if (path.extension() == ".ppm") return read_ppm(path, spec);
  if (path.extension() != ".bin") usage("unknown type of " + path.string() + ": .npy, .ppm, .bin");
  std::string raw = slurp(path);
  return as_floats(raw.data(), raw.size(), spec, path);
}
