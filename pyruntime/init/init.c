/*
 * The plan machine: reads a plan, checks all of it, performs it operation by
 * operation, and becomes a container's first process. It has no policy, no
 * defaults, no allocation and no C library. What each operation means stands
 * in spec/plan.toml.
 *
 * Started as: pyruntime-init PLAN RESULTS SYNC, three descriptor numbers.
 */
#include "operations.h"
#include "system.h"

#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <linux/signal.h>
#include <linux/sockios.h>
#include <linux/time.h>
#include <asm/ioctls.h>

#define PLAN_MAGIC 0x4e4c5059u /* "YPLN" */
#define SLOT_LIMIT 65536
#define EMPTY (-1)
#define MESSAGE_CLONED 1
#define STATUS_FAILED 1
#define STATUS_BAD_PLAN 2
#define GET_PEER 0x5441   /* TIOCGPTPEER */
#define SET_LOCK 0x40045431 /* TIOCSPTLCK */

struct header {
	uint32_t magic, interface;
	uint32_t size;        /* of the whole plan, in bytes */
	uint32_t operations;  /* how many; they follow the header */
	uint32_t slots;
	int32_t fail_at;      /* tests: this operation fails ... */
	int32_t fail_errno;   /* ... with this errno */
	uint32_t reserved;
};

struct operation {
	uint16_t number;
	uint16_t errno_a, skip_a, errno_b, skip_b;
	uint16_t reserved[3];
	int64_t argument[6];
};

struct outcome {
	int64_t value;
	int32_t error, reserved;
	uint64_t end; /* ns, CLOCK_MONOTONIC */
};

struct results {
	uint64_t begin;
	int32_t failed, error; /* index and errno of what ended the plan; failed is -1 before */
	int64_t detail;        /* a hook's wait status */
	struct outcome outcome[];
};

struct message {
	uint32_t kind, index;
	int64_t value;
};

/* Layouts that the kernel's headers for user space do not all have. */
struct io_vector {
	void *base;
	uint64_t length;
};

struct message_header {
	void *name;
	int32_t name_length;
	struct io_vector *vectors;
	uint64_t vector_count;
	void *control;
	uint64_t control_length;
	uint32_t flags;
};

struct rights {
	uint64_t length;
	int32_t level, type;
	int32_t fd, reserved;
};

#define SOL_SOCKET_ 1
#define SCM_RIGHTS_ 1
#define MSG_NOSIGNAL_ 0x4000
#define AF_INET_ 2
#define SOCK_DGRAM_CLOEXEC (2 | 02000000)

static char *plan;
static struct header *header;
static struct results *results;
static int slot[SLOT_LIMIT];
static int sync_fd, report_fd = EMPTY;
static int hook_streams[2] = { EMPTY, EMPTY }; /* What hooks get as stdout and stderr. */
static uint32_t current;
static int filtered;
static char executable[PATH_LIMIT];

void *memcpy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

void leave(int status)
{
	for (;;)
		SYS1(exit_group, status);
}

static uint64_t now(void)
{
	struct __kernel_timespec at = { 0 };

	if (filtered) /* The user's filter might kill for asking the time. */
		return 0;
	SYS2(clock_gettime, CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void fail(uint32_t index, long error) __attribute__((noreturn));
static void fail(uint32_t index, long error)
{
	int64_t record[3] = { index, error, 0 };

	if (results != NULL) {
		record[2] = results->detail;
		results->error = (int32_t)error;
		results->failed = (int32_t)index;
	}
	if (report_fd != EMPTY)
		SYS3(write, report_fd, record, sizeof(record));
	leave(STATUS_FAILED);
}

/* --- arguments ---------------------------------------------------------- */

static int fd_of(int64_t index)
{
	return index < 0 ? AT_FDCWD_ : slot[index];
}

static char *text_of(int64_t offset)
{
	return offset < 0 ? NULL : plan + offset;
}

static char **vector_of(int64_t offset)
{
	return offset < 0 ? NULL : (char **)(void *)(plan + offset);
}

static long fill(int64_t index, long fd)
{
	if (fd >= 0) {
		close_descriptor(slot[index]);
		slot[index] = (int)fd;
	}
	return fd;
}

/* --- checking the plan ---------------------------------------------------- */

static int good_slot(int64_t index, int empty_allowed)
{
	return index < (int64_t)header->slots && index >= (empty_allowed ? -1 : 0);
}

/* The plan's last byte is NUL (checked once), so a text inside it ends inside it. */
static int good_offset(int64_t offset)
{
	return offset == -1 || (offset >= (int64_t)sizeof(*header) && offset < (int64_t)header->size);
}

static int good_bytes(int64_t offset, int64_t length)
{
	return offset >= (int64_t)sizeof(*header) && length >= 0 &&
	       length <= (int64_t)header->size && offset <= (int64_t)header->size - length;
}

/* A vector is a row of offsets ended by 0; turn them into pointers, once. */
static int take_vector(int64_t offset)
{
	if (offset == -1)
		return 1;
	if (!good_offset(offset) || offset % 8 != 0)
		return 0;
	for (;; offset += 8) {
		uint64_t *entry = (uint64_t *)(void *)(plan + offset);

		if (offset + 8 > (int64_t)header->size)
			return 0;
		if (*entry == 0)
			return 1;
		if (*entry < sizeof(*header) || *entry >= header->size)
			return 0;
		*entry = (uint64_t)(uintptr_t)(plan + *entry);
	}
}

static int good_operation(struct operation *op)
{
	const char *kinds = op->number < OP_LIMIT ? op_kinds[op->number] : NULL;

	if (kinds == NULL)
		return 0;
	if (op->number == OP_skip && (op->argument[0] < 0 || op->argument[0] > header->operations))
		return 0;
	for (int i = 0; kinds[i] != '\0'; i++) {
		int64_t value = op->argument[i];

		if ((kinds[i] == 'o' && !good_slot(value, 0)) ||
		    (kinds[i] == 's' && !good_slot(value, 1)) ||
		    (kinds[i] == 't' && (value == -1 || !good_offset(value))) ||
		    (kinds[i] == 'm' && !good_offset(value)) ||
		    (kinds[i] == 'b' && !good_bytes(value, op->argument[i + 1])) ||
		    (kinds[i] == 'v' && !take_vector(value)))
			return 0;
	}
	return 1;
}

static int good_plan(uint64_t size)
{
	struct operation *ops = (struct operation *)(void *)(plan + sizeof(*header));

	if (size < sizeof(*header) || header->magic != PLAN_MAGIC ||
	    header->interface != PLAN_INTERFACE || header->size != size ||
	    header->slots > SLOT_LIMIT || plan[size - 1] != '\0')
		return 0;
	if (header->operations > (size - sizeof(*header)) / sizeof(struct operation))
		return 0;
	for (uint32_t i = 0; i < header->operations; i++)
		if (!good_operation(&ops[i]))
			return 0;
	return 1;
}

/* --- talking to the runtime ----------------------------------------------- */

static void tell(uint32_t kind, int64_t value)
{
	struct message message = { .kind = kind, .index = current, .value = value };

	/* write, not send: a seccomp filter may already be in force and knows write. */
	if (SYS3(write, sync_fd, &message, sizeof(message)) != (long)sizeof(message))
		leave(STATUS_FAILED);
}

static long synchronise(uint32_t kind, int64_t value)
{
	char answer;
	long count;

	tell(kind, value);
	do
		count = SYS3(read, sync_fd, &answer, 1);
	while (count == -EINTR);
	if (count != 1) /* The runtime has gone: there must be no container. */
		leave(STATUS_FAILED);
	return 0;
}

static long send_fd(int socket, int fd, void *payload, uint64_t length)
{
	struct io_vector vector = { payload, length };
	struct rights rights = { .length = 20, .level = SOL_SOCKET_, .type = SCM_RIGHTS_, .fd = fd };
	struct message_header message = { .vectors = &vector, .vector_count = 1,
					  .control = &rights, .control_length = sizeof(rights) };

	return SYS3(sendmsg, socket, &message, MSG_NOSIGNAL_);
}

static long wait_start(int fifo, int report)
{
	char byte;
	long count;

	close_descriptor(sync_fd);
	do
		count = SYS3(read, fifo, &byte, 1);
	while (count == -EINTR);
	report_fd = report;
	return count == 1 ? 0 : count < 0 ? count : -EPIPE;
}

/* For a file on a directory the kernel says EINVAL, where mount(2) has said ENOTDIR. */
static long attach(int mount, int target, const char *path, uint32_t flags)
{
	struct statx above, below;
	long result = SYS5(move_mount, mount, "", target, path, flags | MOVE_MOUNT_F_EMPTY_PATH);

	if (result != -EINVAL || path[0] != '\0')
		return result;
	if (describe(mount, &above) < 0 || describe(target, &below) < 0)
		return result;
	if (((above.stx_mode & S_IFMT) == S_IFDIR) != ((below.stx_mode & S_IFMT) == S_IFDIR))
		return -ENOTDIR;
	return result;
}

/* --- processes -------------------------------------------------------------- */

static long new_process(uint64_t flags, uint64_t signal, int cgroup)
{
	struct clone_args args = { .flags = flags, .exit_signal = signal };

	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup;
	}
	return SYS2(clone3, &args, sizeof(args));
}

static long clone_child(uint64_t flags, int cgroup)
{
	long pid = new_process(flags, flags & CLONE_PARENT ? 0 : SIGCHLD, cgroup);

	if (pid <= 0)
		return pid;
	tell(MESSAGE_CLONED, pid);
	leave(0);
}

static void hook_child(const char *path, char **args, char **env, int input)
{
	SYS3(lseek, input, 0, 0);
	if (SYS3(dup3, input, 0, 0) < 0)
		leave(126);
	for (int i = 0; i < 2; i++)
		if (hook_streams[i] >= 0 && SYS3(dup3, hook_streams[i], i + 1, 0) < 0)
			leave(126);
	SYS3(execve, path, args, env);
	leave(127);
}

/* Wait for a child by its pidfd; on timeout kill it. Its wait status, or -ETIME. */
static long await_child(long pid, int pidfd, long timeout)
{
	struct pollfd poll = { .fd = pidfd, .events = POLLIN };
	struct __kernel_timespec limit = { timeout / 1000, (timeout % 1000) * 1000000 };
	int status = 0, late = 0;
	long result;

	do
		result = SYS5(ppoll, &poll, 1, timeout > 0 ? &limit : NULL, NULL, 0);
	while (result == -EINTR);
	if (result == 0) {
		late = 1;
		SYS4(pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	}
	do
		result = SYS4(wait4, pid, &status, 0, NULL);
	while (result == -EINTR);
	close_descriptor(pidfd);
	return result < 0 ? result : late ? -ETIME : status;
}

static long run_hook(const char *path, char **args, char **env, int input, long timeout)
{
	int pidfd = EMPTY;
	/* clone, not clone3: many seccomp profiles answer the latter with ENOSYS. */
	long pid = SYS5(clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0), status;

	if (pid < 0)
		return pid;
	if (pid == 0)
		hook_child(path, args, env, input);
	status = await_child(pid, pidfd, timeout);
	if (status < 0)
		return status;
	results->detail = status;
	return status == 0 ? 0 : -EREMOTEIO;
}

/* Did a seccomp filter, or the age of the kernel, answer in place of the call? */
static int is_unasked(long result)
{
	return result == -ENOSYS || result == -EPERM;
}

/*
 * Is this path something that execve would run? 0, or the reason as -errno.
 * The container's own filter may be in force, and older profiles know neither statx nor
 * faccessat2. The old faccessat asks for the real ids, which are the effective ones here.
 */
static long runnable(const char *path)
{
	struct statx about;
	long result = SYS5(statx, AT_FDCWD_, path, 0, STATX_BASIC_STATS, &about);

	if (result < 0 && !is_unasked(result))
		return result;
	if (result == 0 && (about.stx_mode & S_IFMT) == S_IFDIR)
		return -EISDIR;
	result = SYS4(faccessat2, AT_FDCWD_, path, 1, AT_EACCESS);
	return is_unasked(result) ? SYS3(faccessat, AT_FDCWD_, path, 1) : result;
}

/* Write DIRECTORY/FILE to `executable`; an empty directory is ".". */
static int candidate(const char *directory, size_t length, const char *file)
{
	size_t file_length = length_of(file), at = 0;

	if (length + file_length + 3 > sizeof(executable))
		return 0;
	if (length == 0)
		executable[at++] = '.';
	for (size_t i = 0; i < length; i++)
		executable[at++] = directory[i];
	executable[at++] = '/';
	for (size_t i = 0; i <= file_length; i++)
		executable[at + i] = file[i];
	return 1;
}

static long search_path(const char *file, const char *path)
{
	long reason = -ENOENT;

	for (;;) {
		size_t length = 0;
		long result;

		while (path[length] != '\0' && path[length] != ':')
			length++;
		result = candidate(path, length, file) ? runnable(executable) : -ENAMETOOLONG;
		if (result == 0)
			return 0;
		if (result == -EACCES || is_unasked(result))
			reason = result;
		if (path[length] == '\0')
			return reason;
		path += length + 1;
	}
}

static long find_executable(const char *file, const char *path)
{
	size_t length = length_of(file);

	for (size_t i = 0; i < length; i++) {
		if (file[i] != '/')
			continue;
		if (length >= sizeof(executable))
			return -ENAMETOOLONG;
		memcpy(executable, file, length + 1);
		return runnable(executable);
	}
	return path == NULL || length == 0 ? -ENOENT : search_path(file, path);
}

/* Close everything from first upward but the kept descriptors, which are few. */
enum { KEPT = 6 };

static long close_from(unsigned int first, const int64_t *kept)
{
	int keep[KEPT] = { fd_of(kept[0]), fd_of(kept[1]), fd_of(kept[2]), sync_fd,
			   hook_streams[0], hook_streams[1] };
	long result = 0;

	while (result == 0) {
		unsigned int next = ~0u;

		for (int i = 0; i < KEPT; i++)
			if (keep[i] >= 0 && (unsigned int)keep[i] >= first && (unsigned int)keep[i] < next)
				next = (unsigned int)keep[i];
		if (next == ~0u)
			return SYS3(close_range, first, ~0u, 0);
		if (next > first)
			result = SYS3(close_range, first, next - 1, 0);
		first = next + 1;
	}
	return result;
}

/* --- credentials -------------------------------------------------------------- */

static long drop_bounding(uint64_t keep, int last)
{
	for (int capability = 0; capability <= last; capability++) {
		long result = 0;

		if ((keep >> capability & 1) == 0)
			result = SYS5(prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
		if (result < 0)
			return result;
	}
	return 0;
}

static long capset(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int half = 0; half < 2; half++) {
		data[half].effective = (uint32_t)(effective >> (32 * half));
		data[half].permitted = (uint32_t)(permitted >> (32 * half));
		data[half].inheritable = (uint32_t)(inheritable >> (32 * half));
	}
	return SYS2(capset, &head, data);
}

static long raise_ambient(uint64_t wanted)
{
	long result = SYS5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

	for (int capability = 0; capability < 64 && result == 0; capability++)
		if ((wanted >> capability & 1) != 0)
			result = SYS5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
	return result;
}

static long join_session_keyring(const char *name)
{
	const long possessor_all = 0x3f000000, owner_search = 0x00080000;
	long ring = SYS2(keyctl, KEYCTL_JOIN_SESSION_KEYRING, name);

	if (ring < 0)
		return ring;
	return SYS3(keyctl, KEYCTL_SETPERM, ring, possessor_all | owner_search | 0x00010000);
}

/* --- descriptors ------------------------------------------------------------- */

static long write_file(int directory, const char *path, void *content, uint64_t length,
		       uint64_t resolve)
{
	long fd = open_in_root(directory, path, O_WRONLY, 0, resolve), result;

	if (fd < 0)
		return fd;
	result = SYS3(write, fd, content, length);
	close_descriptor((int)fd);
	return result < 0 ? result : result == (long)length ? 0 : -EIO;
}

/* make_path of what a mount needs: a directory on a directory, a file on anything else. */
static long make_point(int root, const char *path, unsigned int mode, int64_t like)
{
	struct statx about = { .stx_mode = S_IFDIR };
	long result = like < 0 ? 0 : describe(slot[like], &about);

	if (result < 0)
		return result;
	return make_path(root, path, mode, (about.stx_mode & S_IFMT) != S_IFDIR);
}

static int is_device(const struct statx *about, uint64_t type, uint64_t major, uint64_t minor)
{
	return (about->stx_mode & S_IFMT) == type && about->stx_rdev_major == major &&
	       about->stx_rdev_minor == minor;
}

static long expect_device(int fd, uint64_t type, uint64_t major, uint64_t minor)
{
	struct statx about;
	long result = describe(fd, &about);

	if (result < 0)
		return result;
	return is_device(&about, type, major, minor) ? 0 : -EEXIST;
}

static long expect_filesystem(int fd, int64_t magic)
{
	int64_t about[16] = { 0 }; /* struct statfs begins with f_type */
	long result = SYS2(fstatfs, fd, about);

	if (result < 0)
		return result;
	return about[0] == magic ? 0 : -EXDEV;
}

static long own_stdio(int fd, uint64_t uid)
{
	struct statx about;
	long result = describe(fd, &about);

	if (result < 0 || is_device(&about, S_IFCHR, 1, 3) || about.stx_uid == uid)
		return 0;
	result = SYS3(fchown, fd, uid, -1);
	/* A stream may lie on a read-only or foreign file system; that is the caller's wish. */
	if (result == -EPERM || result == -EROFS || result == -EINVAL || result == -EOPNOTSUPP)
		return 0;
	return result;
}

static long null_stream(int root, int fd)
{
	struct statx about;
	long mode, opened, result = describe(fd, &about);

	if (result < 0 || !is_device(&about, S_IFCHR, 1, 3))
		return 0;
	mode = SYS3(fcntl, fd, F_GETFL, 0);
	/* Without O_NONBLOCK a fifo in its place would hold us up for ever. */
	opened = open_in_root(root, "dev/null",
			      O_NONBLOCK | O_NOCTTY |
				      (uint64_t)(mode < 0 ? O_RDWR : mode & O_ACCMODE),
			      0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (opened < 0) /* No null device inside: the stream stays the host's. */
		return 0;
	result = expect_device((int)opened, S_IFCHR, 1, 3);
	if (result == 0)
		result = SYS3(fcntl, opened, F_SETFL, mode < 0 ? 0 : mode & ~O_NONBLOCK);
	if (result == 0)
		result = SYS3(dup3, opened, fd, 0);
	close_descriptor((int)opened);
	return result == -EEXIST ? 0 : result;
}

static long null_stdio(int root)
{
	for (int fd = 0; fd < 3; fd++) {
		long result = null_stream(root, fd);

		if (result < 0)
			return result;
	}
	return 0;
}

static long get_peer(int master, int flags)
{
	int unlocked = 0;
	long result = SYS3(ioctl, master, SET_LOCK, &unlocked);

	return result < 0 ? result : SYS3(ioctl, master, GET_PEER, flags);
}

static long interface_up(const char *name)
{
	struct {
		char ifr_name[16];
		int16_t ifr_flags;
		char rest[22];
	} request; /* struct ifreq */
	long fd = SYS3(socket, AF_INET_, SOCK_DGRAM_CLOEXEC, 0), result;

	if (fd < 0)
		return fd;
	memset(&request, 0, sizeof(request));
	for (size_t i = 0; i < sizeof(request.ifr_name) - 1 && name[i] != '\0'; i++)
		request.ifr_name[i] = name[i];
	result = SYS3(ioctl, fd, SIOCGIFFLAGS, &request);
	request.ifr_flags |= 1; /* IFF_UP */
	if (result == 0)
		result = SYS3(ioctl, fd, SIOCSIFFLAGS, &request);
	close_descriptor((int)fd);
	return result;
}

static long copy_mode(int context, int directory)
{
	struct statx about;
	char digits[6];
	long result = describe(directory, &about);

	if (result < 0)
		return result;
	for (int i = 0; i < 5; i++)
		digits[i] = (char)('0' + (about.stx_mode >> (3 * (4 - i)) & 7));
	digits[0] = '0';
	digits[5] = '\0';
	return SYS5(fsconfig, context, FSCONFIG_SET_STRING, "mode", digits, 0);
}

static long copy_directory_tree(int source, int target)
{
	long opened = SYS4(openat, target, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), from, result;

	if (opened < 0)
		return opened;
	from = SYS4(openat, source, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	result = from < 0 ? from : copy_tree((int)from, (int)opened, 0);
	close_descriptor((int)from);
	close_descriptor((int)opened);
	return result;
}

static long check_cwd(void)
{
	char path[PATH_LIMIT];
	long result = SYS2(getcwd, path, sizeof(path));

	if (result < 0)
		return result == -ENOENT ? -EXDEV : result;
	return path[0] == '/' ? 0 : -EXDEV;
}

static long set_attributes(struct operation *op)
{
	int64_t *a = op->argument;
	struct mount_attr attributes;

	if (a[4] != (int64_t)sizeof(attributes))
		return -EBADMSG;
	memcpy(&attributes, plan + a[3], sizeof(attributes));
	if (a[5] >= 0)
		attributes.userns_fd = (uint64_t)slot[a[5]];
	return SYS5(mount_setattr, fd_of(a[0]), text_of(a[1]), a[2], &attributes, sizeof(attributes));
}

static long load_filter(struct operation *op)
{
	int64_t *a = op->argument;
	struct sock_fprog program = { .len = (unsigned short)(a[2] / 8),
				      .filter = (struct sock_filter *)(void *)(plan + a[1]) };
	long result = SYS3(seccomp, SECCOMP_SET_MODE_FILTER, a[0], &program);

	filtered = result >= 0;
	return result > 0 ? fill(a[3], result) : result;
}

/* A device program (R170): one that refuses ends the matter, whatever others say. */
static long attach_device_program(int cgroup, void *program, uint64_t length)
{
	static const char licence[] = "Apache-2.0";
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE }, attach;
	long fd, result;

	load.insns = (uint64_t)(uintptr_t)program;
	load.insn_cnt = (uint32_t)(length / 8);
	load.license = (uint64_t)(uintptr_t)licence;
	fd = SYS3(bpf, BPF_PROG_LOAD, &load, sizeof(load));
	if (fd < 0)
		return fd;
	memset(&attach, 0, sizeof(attach));
	attach.target_fd = (uint32_t)cgroup;
	attach.attach_bpf_fd = (uint32_t)fd;
	attach.attach_type = BPF_CGROUP_DEVICE;
	attach.attach_flags = BPF_F_ALLOW_MULTI;
	result = SYS3(bpf, BPF_PROG_ATTACH, &attach, sizeof(attach));
	close_descriptor((int)fd);
	return result;
}

static long load_fd(struct operation *op)
{
	long result = SYS3(fcntl, op->argument[1], F_SETFD, FD_CLOEXEC);

	return result < 0 ? result : fill(op->argument[0], op->argument[1]);
}

static long close_slot(int64_t index)
{
	long result = index < 0 ? 0 : close_descriptor(slot[index]);

	if (index >= 0)
		slot[index] = EMPTY;
	return result;
}

/* --- the switch --------------------------------------------------------------- */

static long perform(struct operation *op)
{
	int64_t *a = op->argument;

	switch (op->number) {
	case OP_load_fd:
		return load_fd(op);
	case OP_close:
		return close_slot(a[0]);
	case OP_openat2:
		return fill(a[0], open_in_root(fd_of(a[1]), text_of(a[2]), (uint64_t)a[3],
					       (uint64_t)a[4], (uint64_t)a[5]));
	case OP_open_tree:
		return fill(a[0], SYS3(open_tree, fd_of(a[1]), text_of(a[2]),
				       (uint32_t)a[3] | OPEN_TREE_CLOEXEC));
	case OP_move_mount:
		return attach(fd_of(a[0]), fd_of(a[1]), text_of(a[2]), (uint32_t)a[3]);
	case OP_mount_setattr:
		return set_attributes(op);
	case OP_fsopen:
		return fill(a[0], SYS2(fsopen, text_of(a[1]), FSOPEN_CLOEXEC));
	case OP_fsconfig:
		return SYS5(fsconfig, fd_of(a[0]), a[1], text_of(a[2]), text_of(a[3]), a[4]);
	case OP_fsmount:
		return fill(a[0], SYS3(fsmount, fd_of(a[1]), FSMOUNT_CLOEXEC, a[2]));
	case OP_make_path:
		return fill(a[0], make_point(fd_of(a[1]), text_of(a[2]), (unsigned int)a[3], a[4]));
	case OP_mkdirat:
		return SYS3(mkdirat, fd_of(a[0]), text_of(a[1]), a[2]);
	case OP_mknodat:
		return SYS4(mknodat, fd_of(a[0]), text_of(a[1]), a[2], a[3]);
	case OP_symlinkat:
		return SYS3(symlinkat, text_of(a[0]), fd_of(a[1]), text_of(a[2]));
	case OP_unlinkat:
		return SYS3(unlinkat, fd_of(a[0]), text_of(a[1]), a[2]);
	case OP_fchdir:
		return SYS1(fchdir, fd_of(a[0]));
	case OP_chdir:
		return SYS1(chdir, text_of(a[0]));
	case OP_chroot:
		return SYS1(chroot, text_of(a[0]));
	case OP_pivot_root:
		return SYS2(pivot_root, text_of(a[0]), text_of(a[1]));
	case OP_umount2:
		return SYS2(umount2, text_of(a[0]), a[1]);
	case OP_clone:
		return clone_child((uint64_t)a[0], a[1] < 0 ? EMPTY : slot[a[1]]);
	case OP_unshare:
		return SYS1(unshare, a[0]);
	case OP_setns:
		return SYS2(setns, fd_of(a[0]), a[1]);
	case OP_sync:
		return synchronise((uint32_t)a[0], a[1]);
	case OP_write_file:
		return write_file(fd_of(a[0]), text_of(a[1]), plan + a[2], (uint64_t)a[3],
				  (uint64_t)a[4]);
	case OP_sethostname:
		return SYS2(sethostname, plan + a[0], a[1]);
	case OP_setdomainname:
		return SYS2(setdomainname, plan + a[0], a[1]);
	case OP_setsid:
		return SYS0(setsid);
	case OP_setresuid:
		return SYS3(setresuid, a[0], a[0], a[0]);
	case OP_setresgid:
		return SYS3(setresgid, a[0], a[0], a[0]);
	case OP_setgroups:
		return SYS2(setgroups, a[1] / 4, plan + a[0]);
	case OP_umask:
		return SYS1(umask, a[0]);
	case OP_prctl:
		return SYS5(prctl, a[0], a[1], a[2], a[3], a[4]);
	case OP_drop_bounding:
		return drop_bounding((uint64_t)a[0], (int)a[1]);
	case OP_capset:
		return capset((uint64_t)a[0], (uint64_t)a[1], (uint64_t)a[2]);
	case OP_raise_ambient:
		return raise_ambient((uint64_t)a[0]);
	case OP_prlimit: {
		uint64_t limits[2] = { (uint64_t)a[1], (uint64_t)a[2] };

		return SYS4(prlimit64, 0, a[0], limits, NULL);
	}
	case OP_sched_setattr:
		return SYS3(sched_setattr, 0, plan + a[0], 0);
	case OP_ioprio_set:
		return SYS3(ioprio_set, a[0], 0, a[1]);
	case OP_personality:
		return SYS1(personality, a[0]);
	case OP_set_mempolicy:
		return SYS3(set_mempolicy, a[0], a[2] == 0 ? NULL : plan + a[1], a[3]);
	case OP_sched_setaffinity:
		return SYS3(sched_setaffinity, 0, a[1], plan + a[0]);
	case OP_join_session_keyring:
		return join_session_keyring(text_of(a[0]));
	case OP_interface_up:
		return interface_up(text_of(a[0]));
	case OP_ioctl:
		return SYS3(ioctl, fd_of(a[0]), a[1], plan + a[2]);
	case OP_ioctl_value:
		return SYS3(ioctl, fd_of(a[0]), a[1], a[2]);
	case OP_tiocgptpeer:
		return fill(a[0], get_peer(fd_of(a[1]), (int)a[2]));
	case OP_send_fd:
		return send_fd(fd_of(a[0]), fd_of(a[1]), plan + a[2], (uint64_t)a[3]);
	case OP_dup3:
		return fd_of(a[0]) == a[1] ? SYS3(fcntl, a[1], F_SETFD, 0) :
					     SYS3(dup3, fd_of(a[0]), a[1], 0);
	case OP_run_hook:
		return run_hook(text_of(a[0]), vector_of(a[1]), vector_of(a[2]), fd_of(a[3]), a[4]);
	case OP_hook_output:
		hook_streams[0] = fd_of(a[0]);
		hook_streams[1] = fd_of(a[1]);
		return 0;
	case OP_find_executable:
		return find_executable(text_of(a[0]), text_of(a[1]));
	case OP_wait_start:
		return wait_start(fd_of(a[0]), fd_of(a[1]));
	case OP_close_from:
		return close_from((unsigned int)a[0], a + 1);
	case OP_execve:
		return SYS3(execve, a[0] < 0 ? executable : text_of(a[0]), vector_of(a[1]),
			    vector_of(a[2]));
	case OP_check_cwd:
		return check_cwd();
	case OP_expect_device:
		return expect_device(fd_of(a[0]), (uint64_t)a[1], (uint64_t)a[2], (uint64_t)a[3]);
	case OP_expect_filesystem:
		return expect_filesystem(fd_of(a[0]), a[1]);
	case OP_fchownat:
		return SYS5(fchownat, fd_of(a[0]), text_of(a[1]), a[2], a[3], a[4]);
	case OP_own_stdio:
		return own_stdio((int)a[0], (uint64_t)a[1]);
	case OP_copy_tree:
		return copy_directory_tree(fd_of(a[0]), fd_of(a[1]));
	case OP_skip:
		return 0;
	case OP_seccomp:
		return load_filter(op);
	case OP_null_stdio:
		return null_stdio(fd_of(a[0]));
	case OP_exit:
		leave((int)a[0]);
	case OP_copy_mode:
		return copy_mode(fd_of(a[0]), fd_of(a[1]));
	case OP_write_fd:
		return SYS3(write, fd_of(a[0]), plan + a[1], a[2]);
	case OP_bpf_attach_device:
		return attach_device_program(fd_of(a[0]), plan + a[1], (uint64_t)a[2]);
	case OP_pidfd_getfd:
		return fill(a[0], SYS3(pidfd_getfd, fd_of(a[1]), a[2], 0));
	case OP_sync_slot:
		return synchronise((uint32_t)a[0], fd_of(a[1]));
	case OP_pidfd_open:
		return fill(a[0], SYS2(pidfd_open, a[1], 0));
	case OP_fchmodat:
		return SYS3(fchmodat, fd_of(a[0]), text_of(a[1]), a[2]);
	default:
		return -EBADMSG;
	}
}

/* How many operations to pass over after this result; ends the plan if it is not pardoned. */
static uint32_t judge(struct operation *op, long result)
{
	if (result >= 0 && op->number == OP_skip)
		return (uint32_t)op->argument[0];
	if (result >= 0)
		return 0;
	if (op->errno_a == -result)
		return op->skip_a;
	if (op->errno_b == -result)
		return op->skip_b;
	fail(current, -result);
}

static void run(void)
{
	struct operation *ops = (struct operation *)(void *)(plan + sizeof(*header));

	for (current = 0; current < header->operations; current++) {
		long result = (int32_t)current == header->fail_at ? -(long)header->fail_errno :
								      perform(&ops[current]);
		struct outcome *outcome = &results->outcome[current];

		outcome->value = result < 0 ? -1 : result;
		outcome->error = result < 0 ? (int32_t)-result : 0;
		outcome->end = now();
		current += judge(&ops[current], result);
	}
}

static long size_of(int fd)
{
	struct statx about;
	long result = describe(fd, &about);

	return result < 0 ? result : (long)about.stx_size;
}

/* The whole of a file as memory. Anything wrong ends the init: there is nobody to tell yet. */
static char *map(int fd, long size, int sharing)
{
	long at = size <= 0 ? -EINVAL : SYS6(mmap, 0, size, PROT_READ | PROT_WRITE, sharing, fd, 0);

	if (at < 0 && at > -4096)
		leave(STATUS_BAD_PLAN);
	return (char *)at;
}

static int number_of(const char *text)
{
	int value = 0;

	while (*text >= '0' && *text <= '9' && value < 1000000)
		value = value * 10 + (*text++ - '0');
	return value;
}

/* Whoever started us may ignore or block signals; the program is to begin without either. */
static void reset_signals(void)
{
	struct {
		uint64_t handler, flags, restorer, mask;
	} action = { 0 };

	for (int number = 1; number <= 64; number++)
		SYS4(rt_sigaction, number, &action, NULL, sizeof(action.mask));
	SYS4(rt_sigprocmask, SIG_SETMASK, &action.mask, NULL, sizeof(action.mask));
}

__attribute__((used)) void begin(long *stack)
{
	char **argv = (char **)(stack + 1);
	int plan_fd, results_fd;
	long size, room;

	if (stack[0] != 4)
		leave(STATUS_BAD_PLAN);
	reset_signals();
	/* Started by descriptor we would be called "5"; the runtime knows us by this until exec. */
	SYS5(prctl, PR_SET_NAME, (long)"pyruntime-init", 0, 0, 0);
	plan_fd = number_of(argv[1]);
	results_fd = number_of(argv[2]);
	sync_fd = number_of(argv[3]);
	size = size_of(plan_fd);
	room = size_of(results_fd);
	plan = map(plan_fd, size, MAP_PRIVATE);
	header = (struct header *)(void *)plan;
	results = (struct results *)(void *)map(results_fd, room, MAP_SHARED);
	if (!good_plan((uint64_t)size) ||
	    (uint64_t)room < sizeof(*results) + header->operations * sizeof(struct outcome))
		fail(0, EBADMSG);
	for (uint32_t i = 0; i < header->slots; i++) /* no page more than needed */
		slot[i] = EMPTY;
	close_descriptor(plan_fd);
	close_descriptor(results_fd);
	SYS3(fcntl, sync_fd, F_SETFD, FD_CLOEXEC);
	results->begin = now();
	run();
	leave(0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl begin\n");
#endif
