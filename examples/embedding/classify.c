// The class of one input: classify BUNDLE FILE, with a .ppm picture, a .npy or a raw .bin file.
#include <stdio.h>

#include "tvm_flow.h"

int main(int argc, char** argv) {
  tvmf_model* model = NULL;
  tvmf_instance* net = NULL;
  tvmf_tensor_info info;
  if (argc != 3) return fprintf(stderr, "usage: classify BUNDLE FILE\n"), TVMF_USAGE;
  int status = tvmf_load(argv[1], 0, &model);
  if (!status) status = tvmf_open(model, NULL, &net);
  if (!status) status = tvmf_read_input(net, 0, argv[2]);
  if (!status) status = tvmf_run(net);
  if (!status) status = tvmf_output_info(net, 0, &info);
  if (!status) {
    const float* scores = tvmf_output(net, 0);  // float32 in every network of today
    uint64_t best = 0;
    for (uint64_t i = 1; i < info.bytes / sizeof *scores; i++)
      if (scores[i] > scores[best]) best = i;
    const char* label = tvmf_label(model, (int32_t)best);  // NULL without compile --labels
    printf("%llu %s %g\n", (unsigned long long)best, label ? label : "-", scores[best]);
  } else {
    fprintf(stderr, "error: %s\n", tvmf_last_error());
  }
  tvmf_close(net);
  tvmf_unload(model);
  return !status && fflush(stdout) ? perror("error: cannot print"), 74 : status;
}
