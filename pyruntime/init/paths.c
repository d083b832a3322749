/*
 * The compound operations on paths: making a mount point inside a root, and
 * copying a directory's content. Neither ever leaves the root that it is given.
 */
#include "system.h"

#include <linux/openat2.h>

#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define LINK_LIMIT 40
#define TREE_LIMIT 64
#define OPEN_FILE_MODE 0644

long close_descriptor(int fd)
{
	return fd >= 0 ? SYS1(close, fd) : 0;
}

long open_in_root(int root, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve };
	long fd;
	int tries = 0;

	do /* A rename somewhere below the root makes RESOLVE_IN_ROOT say EAGAIN. */
		fd = SYS4(openat2, root, path, &how, sizeof(how));
	while (fd == -EAGAIN && ++tries < 1000);
	return fd;
}

long describe(int fd, struct statx *about)
{
	return SYS5(statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, about);
}

/* Append to a path buffer with a '/' between; 0 or -ENAMETOOLONG. */
static long append(char *path, const char *more, size_t more_length)
{
	size_t length = length_of(path);

	if (length + more_length + 2 > PATH_LIMIT)
		return -ENAMETOOLONG;
	if (length != 0)
		path[length++] = '/';
	for (size_t i = 0; i < more_length; i++)
		path[length + i] = more[i];
	path[length + more_length] = '\0';
	return 0;
}

/* The next component of a path: its start in *at, its length returned (0 at the end). */
static size_t component(const char **at)
{
	size_t length = 0;

	while (**at == '/')
		(*at)++;
	while ((*at)[length] != '\0' && (*at)[length] != '/')
		length++;
	return length;
}

static int is_last(const char *at, size_t length)
{
	const char *rest = at + length;

	return component(&rest) == 0;
}

/* Make one missing component of parent and open it. A link put there meanwhile is refused. */
static long make_component(int parent, const char *name, unsigned int mode, int file)
{
	long result;

	if (file) {
		result = SYS4(openat, parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY,
			      OPEN_FILE_MODE);
		if (result >= 0)
			close_descriptor((int)result);
		else if (result != -EEXIST)
			return result;
		return SYS4(openat, parent, name, O_PATH_FLAGS | O_NOFOLLOW, 0);
	}
	result = SYS3(mkdirat, parent, name, mode);
	if (result < 0 && result != -EEXIST)
		return result;
	return SYS4(openat, parent, name, O_PATH_FLAGS | O_NOFOLLOW | O_DIRECTORY, 0);
}

/* Is a component "."? And is it ".."? Then what is made would no longer be below its parent. */
static int is_dots(const char *at, size_t length, size_t dots)
{
	return length == dots && at[0] == '.' && at[length - 1] == '.';
}

/*
 * From parent on everything is new: make the components of rest. Closes parent.
 * ".." behind a missing directory is refused as the kernel refuses it: it could
 * climb out of the root by way of an image's links.
 */
static long make_rest(int parent, const char *rest, unsigned int mode, int file)
{
	char name[256];
	size_t length;

	while ((length = component(&rest)) != 0) {
		long next;

		if (length >= sizeof(name) || is_dots(rest, length, 2)) {
			close_descriptor(parent);
			return length >= sizeof(name) ? -ENAMETOOLONG : -ENOENT;
		}
		if (is_dots(rest, length, 1)) {
			rest += length;
			continue;
		}
		for (size_t i = 0; i < length; i++)
			name[i] = rest[i];
		name[length] = '\0';
		next = make_component(parent, name, mode, file && is_last(rest, length));
		close_descriptor(parent);
		if (next < 0)
			return next;
		parent = (int)next;
		rest += length;
	}
	return parent;
}

/*
 * The component `name` below `prefix` does not resolve. If it is a link whose
 * target is missing, write the path with the target put in its place to
 * `path` and return 1; if it does not exist at all, 0.
 */
static long follow_dangling(int parent, const char *prefix, const char *name, const char *rest,
			    char *path)
{
	char target[PATH_LIMIT];
	long length = SYS4(readlinkat, parent, name, target, sizeof(target) - 1);
	long result = 0;

	if (length == -ENOENT || length == -EINVAL)
		return 0;
	if (length < 0)
		return length;
	target[length] = '\0';
	path[0] = '\0';
	if (target[0] != '/')
		result = append(path, prefix, length_of(prefix));
	if (result == 0)
		result = append(path, target, (size_t)length);
	if (result == 0)
		result = append(path, rest, length_of(rest));
	return result < 0 ? result : 1;
}

/*
 * Walk path to its first missing component and make everything from there.
 * Returns the descriptor, or -ELOOP with a new path in `path` after a link.
 */
static long walk_and_make(int root, char *path, unsigned int mode, int file)
{
	char prefix[PATH_LIMIT] = "", name[256];
	const char *at = path;
	long parent = open_in_root(root, "/", O_PATH | O_DIRECTORY, 0, IN_ROOT), next;
	size_t length;

	while (parent >= 0 && (length = component(&at)) != 0) {
		char longer[PATH_LIMIT];

		if (length >= sizeof(name))
			next = -ENAMETOOLONG;
		else {
			for (size_t i = 0; i < length; i++)
				name[i] = at[i];
			name[length] = longer[0] = '\0';
			next = append(longer, prefix, length_of(prefix));
		}
		if (next == 0)
			next = append(longer, at, length);
		if (next == 0)
			next = open_in_root(root, longer, O_PATH, 0, IN_ROOT);
		if (next == -ENOENT) {
			next = follow_dangling((int)parent, prefix, name, at + length, longer);
			if (next == 0)
				return make_rest((int)parent, at, mode, file);
			if (next == 1) {
				for (size_t i = 0; i <= length_of(longer); i++)
					path[i] = longer[i];
				next = -ELOOP;
			}
		}
		close_descriptor((int)parent);
		if (next < 0)
			return next;
		parent = next;
		for (size_t i = 0; i <= length_of(longer); i++)
			prefix[i] = longer[i];
		at += length;
	}
	return parent;
}

long make_path(int root, const char *wanted, unsigned int mode, int file)
{
	char path[PATH_LIMIT] = "";
	long fd = append(path, wanted, length_of(wanted));

	for (int links = 0; fd >= 0 && links < LINK_LIMIT; links++) {
		fd = open_in_root(root, path, O_PATH, 0, IN_ROOT);
		if (fd != -ENOENT)
			return fd;
		fd = walk_and_make(root, path, mode, file);
		if (fd != -ELOOP)
			return fd;
		fd = 0;
	}
	return fd < 0 ? fd : -ELOOP;
}

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static long copy_content(int from, int to)
{
	long count;

	do
		count = SYS4(sendfile, to, from, NULL, 1L << 30);
	while (count > 0);
	return count;
}

static long copy_file(int source, int target, const char *name, const struct statx *about)
{
	struct statx opened;
	long from = SYS4(openat, source, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0), to,
	     result;

	if (from < 0)
		return from;
	/* Another process may have put a device or a fifo in its place since it was looked at. */
	result = describe((int)from, &opened);
	if (result == 0 && (opened.stx_mode & S_IFMT) != S_IFREG)
		result = -ESTALE;
	if (result < 0) {
		close_descriptor((int)from);
		return result;
	}
	to = SYS4(openat, target, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	result = to < 0 ? to : copy_content((int)from, (int)to);
	if (result == 0)
		result = SYS3(fchown, to, about->stx_uid, about->stx_gid);
	if (result == 0)
		result = SYS2(fchmod, to, about->stx_mode & 07777);
	close_descriptor((int)to);
	close_descriptor((int)from);
	return result;
}

static long copy_link(int source, int target, const char *name, const struct statx *about)
{
	char text[PATH_LIMIT];
	long length = SYS4(readlinkat, source, name, text, sizeof(text) - 1);

	if (length < 0)
		return length;
	text[length] = '\0';
	length = SYS3(symlinkat, text, target, name);
	if (length < 0)
		return length;
	return SYS5(fchownat, target, name, about->stx_uid, about->stx_gid, AT_SYMLINK_NOFOLLOW);
}

static long copy_directory(int source, int target, const char *name, const struct statx *about,
			   int depth)
{
	long from = SYS4(openat, source, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0), to,
	     result;

	if (from < 0)
		return from;
	result = SYS3(mkdirat, target, name, 0700);
	to = SYS4(openat, target, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (result == 0)
		result = to < 0 ? to : copy_tree((int)from, (int)to, depth + 1);
	if (result == 0)
		result = SYS3(fchown, to, about->stx_uid, about->stx_gid);
	if (result == 0)
		result = SYS2(fchmod, to, about->stx_mode & 07777);
	close_descriptor((int)to);
	close_descriptor((int)from);
	return result;
}

static long copy_special(int target, const char *name, const struct statx *about)
{
	uint64_t major = about->stx_rdev_major, minor = about->stx_rdev_minor;
	uint64_t device = (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xffULL) << 12);
	long result = SYS4(mknodat, target, name, about->stx_mode, device);

	if (result < 0)
		return result;
	return SYS5(fchownat, target, name, about->stx_uid, about->stx_gid, AT_SYMLINK_NOFOLLOW);
}

static long copy_entry(int source, int target, const char *name, int depth)
{
	struct statx about;
	long result = SYS5(statx, source, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &about);

	if (result < 0)
		return result;
	switch (about.stx_mode & S_IFMT) {
	case S_IFDIR:
		return copy_directory(source, target, name, &about, depth);
	case S_IFREG:
		return copy_file(source, target, name, &about);
	case S_IFLNK:
		return copy_link(source, target, name, &about);
	default:
		return copy_special(target, name, &about);
	}
}

long copy_tree(int source, int target, int depth)
{
	char buffer[2048] __attribute__((aligned(8)));
	long count, result = 0;

	if (depth > TREE_LIMIT)
		return -ELOOP;
	while (result == 0 && (count = SYS3(getdents64, source, buffer, sizeof(buffer))) != 0) {
		if (count < 0)
			return count;
		for (long at = 0; at < count && result == 0;) {
			struct entry *entry = (struct entry *)(buffer + at);

			at += entry->length;
			if (!same_text(entry->name, ".") && !same_text(entry->name, ".."))
				result = copy_entry(source, target, entry->name, depth);
		}
	}
	return result;
}
