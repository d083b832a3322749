/*
 * Linked before libpython, as bounds_end.c is linked after it: what lies between the two in
 * each section is Python's and nobody else's, in whole pages.
 */
#define BOUND __attribute__((aligned(4096)))

BOUND char python_data_begin[4096] = { 1 };
BOUND char python_bss_begin[4096];
BOUND __attribute__((section(".PyRuntime"))) char python_runtime_begin[4096] = { 1 };
