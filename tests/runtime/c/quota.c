// Prints how many CPUs control groups allow below the folder it is given: see quota.c.
#include <stdio.h>

#include "internal.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  printf("%d\n", tvmf_quota(argv[1]));
  return 0;
}
