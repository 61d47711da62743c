/* A driver library as NVML looks from outside. GPU_NAMES, GPU_COUNT, INIT_CODE, MIG_MODE and VIRTUALIZATION by -D. */
#include <stdio.h>
#include <string.h>

static const char *names[] = {GPU_NAMES};
#define INDEX(device) ((int)((const char **)(device) - names))

int nvmlInit_v2(void) { return INIT_CODE; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Unknown Error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { return snprintf(text, length, "580.95.05") < 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = GPU_COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (index >= GPU_COUNT) return 2;
  *device = (void *)&names[index];
  return 0;
}
int nvmlDeviceGetName(void *device, char *text, unsigned length) {
  return snprintf(text, length, "%s", names[INDEX(device)]) < 0;
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
  return snprintf(text, length, "GPU-%08d-0000-0000-0000-000000000000", INDEX(device) + 1) < 0;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  *major = strstr(names[INDEX(device)], "B200") ? 10 : 9;
  *minor = 0;
  return 0;
}
int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *pending) {
  if (MIG_MODE < 0) return 3; /* NVML_ERROR_NOT_SUPPORTED */
  *now = *pending = MIG_MODE;
  return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *total_free_used) {
  total_free_used[0] = 81559ULL << 20;
  return 0;
}
int nvmlDeviceGetVirtualizationMode(void *device, int *mode) { *mode = VIRTUALIZATION; return 0; }
