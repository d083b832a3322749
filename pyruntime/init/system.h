/*
 * System calls without a C library, for x86-64 and aarch64.
 * A call returns what the kernel returns: a value, or -errno.
 */
#ifndef PYRUNTIME_SYSTEM_H
#define PYRUNTIME_SYSTEM_H

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <stddef.h>
#include <stdint.h>

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
#else
#error "only x86-64 and aarch64 are supported"
#endif
}

#define SYS0(n) system_call(__NR_##n, 0, 0, 0, 0, 0, 0)
#define SYS1(n, a) system_call(__NR_##n, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(n, a, b) system_call(__NR_##n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(n, a, b, c) system_call(__NR_##n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(n, a, b, c, d) \
	system_call(__NR_##n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(n, a, b, c, d, e) \
	system_call(__NR_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS6(n, a, b, c, d, e, f) \
	system_call(__NR_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* What the kernel's headers for user space leave to the C library. */
#define AT_FDCWD_ (-100)
#define O_PATH_FLAGS (O_PATH | O_CLOEXEC)
#define PATH_LIMIT 4096
#define ALL_DESCRIPTORS 0xffffffffL

void *memset(void *to, int value, size_t size);
size_t length_of(const char *text);
int same_text(const char *a, const char *b);
long open_in_root(int root, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
long close_descriptor(int fd);
long describe(int fd, struct statx *about);
long make_path(int root, const char *path, unsigned int mode, int file);
long copy_tree(int source, int target, int depth);
void leave(int status) __attribute__((noreturn));

#endif
