/* See bounds_begin.c. */
#define BOUND __attribute__((aligned(4096)))

BOUND char python_data_end[4096] = { 1 };
BOUND char python_bss_end[4096];
BOUND __attribute__((section(".PyRuntime"))) char python_runtime_end[4096] = { 1 };
