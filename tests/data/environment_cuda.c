/* What a cuBLAS, cuBLASLt or cuDNN tells of its version. MAJOR, MINOR, PATCH and CUDNN by -D. */
#include <stddef.h>

static int property(int which, int *value) {
  static const int parts[] = {MAJOR, MINOR, PATCH};
  *value = parts[which];
  return 0;
}
int cublasGetProperty(int which, int *value) { return property(which, value); }
int cublasLtGetProperty(int which, int *value) { return property(which, value); }
size_t cudnnGetVersion(void) { return CUDNN; }
