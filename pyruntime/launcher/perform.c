/*
 * The operations of a stored plan; what each means stands in spec/launcher.toml.
 * They answer 1 for yes, 0 for no, or -errno.
 */
#include "launcher.h"
#include "operations.h"

#include <linux/poll.h>
#include <linux/signal.h>
#include <linux/time.h>

#define REPORT_SIZE 24 /* starting.REPORT */
#define REPORT_NAME "PYRUNTIME_REPORT="
#define BUSY_TURNS 20
#define BUSY_PAUSE 1000000 /* ns */
#define FIRST_PAUSE 50000  /* ns, of await_text; doubled each time */
#define LAST_PAUSE 5000000 /* up to about this */
#define REMOVE_DIRECTORY_FLAG 0x200 /* AT_REMOVEDIR */
#define KEEP_EXISTING 1             /* RENAME_NOREPLACE */
#define HIDDEN_LENGTH 200
#define HIDDEN "~" /* state.HIDDEN */

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	unsigned char type;
	char name[];
};

char report_text[sizeof(REPORT_NAME) + 2 * REPORT_SIZE] = REPORT_NAME;

/* A path's or a name's text is put together here. */
struct text {
	char content[512];
	size_t length;
};

static void add(struct text *text, const char *more, size_t limit)
{
	while (*more != '\0' && limit-- > 0 && text->length < sizeof(text->content) - 1)
		text->content[text->length++] = *more++;
	text->content[text->length] = '\0';
}

static void add_number(struct text *text, uint64_t value)
{
	char digits[21];
	int at = 20;

	digits[at] = '\0';
	do
		digits[--at] = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	add(text, digits + at, 20);
}

static void process_path(struct text *path, uint64_t pid, const char *file)
{
	path->length = 0;
	add(path, "/proc/", 6);
	add_number(path, pid);
	add(path, file, 16);
}

/* Read a small file whole, with a NUL behind it; its size or -errno. */
static long read_small(const char *path, char *content, size_t room)
{
	long fd = SYS4(openat, AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0), size;

	if (fd < 0)
		return fd;
	size = SYS3(read, fd, content, room - 1);
	SYS1(close, fd);
	if (size >= 0)
		content[size] = '\0';
	return size == (long)room - 1 ? -EFBIG : size;
}

/* The words after the process's name, which is in parentheses and may hold any character. */
static const char *after_name(const char *stat)
{
	const char *found = stat;

	for (; *stat != '\0'; stat++)
		if (*stat == ')')
			found = stat;
	return found[0] == ')' && found[1] == ' ' ? found + 2 : "";
}

static long alive(uint64_t pid, uint64_t started)
{
	char content[2048];
	struct text path;
	const char *field;
	uint64_t value = 0;
	long size;

	process_path(&path, pid, "/stat");
	size = read_small(path.content, content, sizeof(content));
	if (size == -ENOENT || size == -ESRCH)
		return 0;
	if (size < 0)
		return size;
	field = after_name(content);
	if (*field == 'Z' || *field == 'X' || *field == 'x')
		return 0;
	for (int i = 0; i < 19; i++) {
		while (*field != '\0' && *field != ' ')
			field++;
		if (*field == '\0')
			return -EBADMSG;
		field++;
	}
	while (*field >= '0' && *field <= '9')
		value = value * 10 + (uint64_t)(*field++ - '0');
	return value == started && value != 0;
}

static long exists(int directory, const char *name)
{
	struct statx about;
	long result = SYS5(statx, directory, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &about);

	return result == -ENOENT ? 0 : result < 0 ? result : 1;
}

static long executes(uint64_t pid, const char *prefix)
{
	char target[PATH_LIMIT];
	size_t length = length_of(prefix);
	struct text path;
	long size;

	process_path(&path, pid, "/exe");
	size = SYS4(readlinkat, AT_FDCWD, path.content, target, sizeof(target));
	if (size == -ENOENT || size == -ESRCH)
		return 0;
	if (size < 0)
		return size;
	for (size_t i = 0; i < length; i++)
		if ((long)i >= size || target[i] != prefix[i])
			return 0;
	return 1;
}

static long file_says(const char *path, const char *content)
{
	char found[256];
	long size = read_small(path, found, sizeof(found));

	return size < 0 ? size : same_text(found, content);
}

static void rest(long nanoseconds)
{
	struct __kernel_timespec time = { .tv_nsec = nanoseconds };

	SYS4(clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
}

static long write_file(const char *path, const char *content)
{
	long fd = SYS4(openat, AT_FDCWD, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0), done;

	if (fd < 0)
		return fd;
	done = SYS3(write, fd, content, length_of(content));
	SYS1(close, fd);
	return done < 0 ? done : done == (long)length_of(content) ? 1 : -EIO;
}

static int begins(const char *text, const char *with)
{
	while (*with != '\0')
		if (*text++ != *with++)
			return 0;
	return 1;
}

/* A file that cannot be read is a no as well, for a plan goes on after that. */
static long await_text(const char *path, const char *text, uint64_t milliseconds)
{
	uint64_t pause = FIRST_PAUSE, waited = 0;
	char found[256];

	for (;;) {
		long size = read_small(path, found, sizeof(found));

		for (long at = 0; at < size; at++)
			if (begins(found + at, text))
				return 1;
		if (waited / 1000000 >= milliseconds)
			return 0;
		rest((long)pause);
		waited += pause;
		pause = pause < LAST_PAUSE ? 2 * pause : pause;
	}
}

/* Without this a write to where nobody reads would end us, where Python sees EPIPE. */
static void ignore_broken_pipes(void)
{
	struct {
		uint64_t handler, flags, restorer, mask;
	} action = { .handler = 1 };

	SYS4(rt_sigaction, SIGPIPE, &action, NULL, sizeof(action.mask));
}

/* After a part nobody can begin again, so that ends here. */
static long print(const char *text, uint64_t size)
{
	uint64_t done = 0;

	ignore_broken_pipes();
	while (done < size) {
		long written = SYS3(write, 1, text + done, size - done);

		if (written < 0 && done > 0)
			leave(1);
		if (written < 0)
			return written;
		done += (uint64_t)written;
	}
	return 1;
}

static long open_process(struct container *container, uint64_t pid, uint64_t started)
{
	long fd = SYS2(pidfd_open, pid, 0);

	if (fd < 0)
		return fd;
	container->process = (int)fd;
	return alive(pid, started);
}

static long wait_for(int fd, int milliseconds)
{
	struct pollfd waited = { .fd = fd, .events = POLLIN };
	struct __kernel_timespec time = {
		.tv_sec = milliseconds / 1000,
		.tv_nsec = milliseconds % 1000 * 1000000L,
	};

	return SYS5(ppoll, &waited, 1, milliseconds < 0 ? NULL : &time, NULL, 8);
}

static void note_report(const unsigned char *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	char *to = report_text + sizeof(REPORT_NAME) - 1;

	for (size_t i = 0; i < size; i++) {
		*to++ = digits[data[i] >> 4];
		*to++ = digits[data[i] & 15];
	}
}

/* Everything until the other end is closed, the beginning of it kept; how much was kept. */
static size_t read_report(int fd, unsigned char *data)
{
	unsigned char rest[REPORT_SIZE];
	size_t size = 0;

	for (;;) {
		long more;

		wait_for(fd, -1);
		more = size < REPORT_SIZE ? SYS3(read, fd, data + size, REPORT_SIZE - size) :
					    SYS3(read, fd, rest, sizeof(rest));
		if (more == -EAGAIN || more == -EINTR)
			continue;
		if (more <= 0)
			return size;
		if (size < REPORT_SIZE)
			size += (size_t)more;
	}
}

static long release(int directory, const char *start, const char *report)
{
	unsigned char data[REPORT_SIZE];
	long reader, writer, result;
	size_t size;

	reader = SYS4(openat, directory, report, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	if (reader < 0)
		return reader;
	writer = SYS4(openat, directory, start, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	if (writer < 0)
		return writer;
	ignore_broken_pipes();
	result = SYS3(write, writer, ".", 1);
	if (result < 0)
		return result;
	SYS1(close, writer);
	size = read_report((int)reader, data);
	SYS3(unlinkat, directory, start, 0);
	note_report(data, size);
	return size > 0 ? STARTED : 1;
}

static long remove_cgroup(const char *path)
{
	long result = 0;

	for (int turn = 0; turn < BUSY_TURNS; turn++) {
		result = SYS3(unlinkat, AT_FDCWD, path, REMOVE_DIRECTORY_FLAG);
		if (result != -EBUSY)
			break;
		rest(BUSY_PAUSE);
	}
	return result == -ENOENT || result == -ENODEV || result == 0 ? 1 : result;
}

/* What getdents64 gave last. */
static char entries[32768] __attribute__((aligned(8)));

/* The directory's entries, all at once; their size, or -errno if there is more than files. */
static long list(int directory)
{
	long size = SYS3(getdents64, directory, entries, sizeof(entries)), at = 0;
	char more[512];

	if (size < 0 || SYS3(getdents64, directory, more, sizeof(more)) != 0)
		return -E2BIG;
	while (at < size) {
		struct entry *entry = (struct entry *)(void *)(entries + at);
		int dots = same_text(entry->name, ".") || same_text(entry->name, "..");

		if (!dots && (entry->type == 4 || entry->type == 0)) /* DT_DIR, DT_UNKNOWN */
			return -EISDIR;
		at += entry->length;
	}
	return size;
}

/* Does the name of no entry of the root begin with ".ID."? */
static long nothing_hidden(const struct container *container)
{
	struct text hidden = { .length = 0 };
	long fd = SYS4(openat, container->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), size;
	long found = 0;

	if (fd < 0)
		return fd;
	add(&hidden, HIDDEN, 1);
	add(&hidden, container->request->identifier, HIDDEN_LENGTH);
	add(&hidden, ".", 1);
	while ((size = SYS3(getdents64, fd, entries, sizeof(entries))) > 0)
		for (long at = 0; at < size;) {
			struct entry *entry = (struct entry *)(void *)(entries + at);

			found |= begins(entry->name, hidden.content);
			at += entry->length;
		}
	SYS1(close, fd);
	return size < 0 ? size : !found;
}

static long unlink_files(int directory, long size)
{
	for (long at = 0; at < size;) {
		struct entry *entry = (struct entry *)(void *)(entries + at);
		int dots = same_text(entry->name, ".") || same_text(entry->name, "..");
		long result = dots ? 0 : SYS3(unlinkat, directory, entry->name, 0);

		if (result < 0)
			return result;
		at += entry->length;
	}
	return 0;
}

/* The name goes first, in one step, and comes back if something stays. */
static long remove_directory(struct container *container)
{
	const char *name = container->request->identifier;
	struct text hidden = { .length = 0 };
	long size = list(container->directory), result;

	if (size < 0)
		return size;
	add(&hidden, HIDDEN, 1);
	add(&hidden, name, HIDDEN_LENGTH);
	add(&hidden, ".", 1);
	add_number(&hidden, (uint64_t)SYS0(getpid));
	add(&hidden, ".gone", 5);
	result = SYS5(renameat2, container->root, name, container->root, hidden.content,
		      KEEP_EXISTING);
	if (result < 0)
		return result;
	result = unlink_files(container->directory, size);
	if (result == 0)
		result = SYS3(unlinkat, container->root, hidden.content, REMOVE_DIRECTORY_FLAG);
	if (result < 0)
		SYS5(renameat2, container->root, hidden.content, container->root, name,
		     KEEP_EXISTING);
	return result < 0 ? result : 1;
}

static long send(struct container *container, int signal)
{
	if (signal < 0)
		signal = container->request->signal;
	return SYS4(pidfd_send_signal, container->process, signal, NULL, 0) == 0 ? 1 : -ESRCH;
}

long perform(struct container *container, const struct operation *operation)
{
	const uint64_t *a = operation->argument;
	const char *plan = container->plan;

	switch (operation->number) {
	case OP_end:
		leave(0);
	case OP_alive:
		return alive(a[0], a[1]);
	case OP_exists:
		return exists(container->directory, plan + a[0]);
	case OP_executes:
		return executes(a[0], plan + a[1]);
	case OP_file_says:
		return file_says(plan + a[0], plan + a[1]);
	case OP_print:
		return print(plan + a[0], a[1]);
	case OP_signal_is:
		return container->request->signal == (int)a[0];
	case OP_open_process:
		return open_process(container, a[0], a[1]);
	case OP_send:
		return send(container, (int)a[0]);
	case OP_await_exit:
		return wait_for(container->process, (int)a[0]);
	case OP_release:
		return release(container->directory, plan + a[0], plan + a[1]);
	case OP_rmdir:
		return remove_cgroup(plan + a[0]);
	case OP_remove_directory:
		return remove_directory(container);
	case OP_nothing_hidden:
		return nothing_hidden(container);
	case OP_write_file:
		return write_file(plan + a[0], plan + a[1]);
	case OP_await_text:
		return await_text(plan + a[0], plan + a[1], a[2]);
	default:
		return -EBADMSG;
	}
}
