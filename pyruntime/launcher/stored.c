/*
 * Opening a container's directory and the file of stored plans in it, and making sure of
 * both: whose they are, and that the plans were made from the state that is there now.
 */
#include "launcher.h"
#include "operations.h"

#include <linux/openat2.h>

#define MAGIC 0x7362726576797001ull
#define SIZE_LIMIT 65536
#define OPERATION_LIMIT 256
#define IDENTITIES 2
#define LOCK_EXCLUSIVE 2
#define LOCK_WITHOUT_WAITING 4
#define TYPE_MASK 0170000
#define REGULAR 0100000

struct identity {
	uint64_t inode, size, modified; /* ns since 1970 */
};

struct header {
	uint64_t magic;
	uint32_t interface, size;
	struct identity files[IDENTITIES];
	struct {
		uint32_t offset, count;
	} verbs[STORED_VERBS];
};

static const char *const files[IDENTITIES] = { "state.json", "config.json" };
static char content[SIZE_LIMIT] __attribute__((aligned(16)));

static long look(int directory, const char *name, struct statx *about)
{
	return SYS5(statx, directory, name, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH),
		    STATX_BASIC_STATS, about);
}

static int is_ours(const struct statx *about, unsigned int forbidden)
{
	return about->stx_uid == (uint32_t)SYS0(geteuid) && (about->stx_mode & forbidden) == 0;
}

static int same_directory(const struct container *container)
{
	struct statx here, there;

	return look(container->directory, "", &here) == 0 &&
	       look(container->root, container->request->identifier, &there) == 0 &&
	       here.stx_ino == there.stx_ino && here.stx_dev_major == there.stx_dev_major &&
	       here.stx_dev_minor == there.stx_dev_minor;
}

/* Are the files still those that the plans were made from? */
static int is_current(const struct container *container)
{
	const struct header *header = (const struct header *)(const void *)content;
	struct statx about;

	for (int i = 0; i < IDENTITIES; i++) {
		const struct identity *known = &header->files[i];

		if (look(container->directory, files[i], &about) < 0 ||
		    (about.stx_mode & TYPE_MASK) != REGULAR || !is_ours(&about, 022) ||
		    about.stx_ino != known->inode || about.stx_size != known->size ||
		    (uint64_t)about.stx_mtime.tv_sec * 1000000000u + about.stx_mtime.tv_nsec !=
			    known->modified)
			return 0;
	}
	return 1;
}

/* Read the whole file; its size, 0 if it is not there or not to be trusted. */
static uint32_t read_stored(int directory)
{
	struct open_how how = {
		.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
	};
	struct statx about;
	long fd = SYS4(openat2, directory, "verbs", &how, sizeof(how)), size = 0;

	if (fd < 0)
		return 0;
	if (look((int)fd, "", &about) == 0 && (about.stx_mode & TYPE_MASK) == REGULAR &&
	    is_ours(&about, 077) && about.stx_nlink == 1)
		size = SYS3(read, fd, content, SIZE_LIMIT);
	SYS1(close, fd);
	if (size < (long)sizeof(struct header) || (uint64_t)size != about.stx_size)
		return 0;
	return (uint32_t)size;
}

static int good_operation(const struct operation *operation, uint32_t size)
{
	const char *kinds;

	if (operation->number < OP_FIRST || operation->number >= OP_LIMIT)
		return 0;
	kinds = op_kinds[operation->number - OP_FIRST];
	for (int i = 0; kinds != NULL && kinds[i] != '\0'; i++) {
		uint64_t value = operation->argument[i];

		if ((kinds[i] == 't' || kinds[i] == 'b') && value >= size)
			return 0;
		if (kinds[i] == 'n' && value > size - operation->argument[i - 1])
			return 0;
	}
	return kinds != NULL;
}

/* Every text ends in the file, for the file ends with a NUL. */
static int take_plan(struct container *container, uint32_t size)
{
	const struct header *header = (const struct header *)(const void *)content;
	uint32_t offset = header->verbs[container->request->verb].offset;

	if (header->magic != MAGIC || header->interface != STORED_INTERFACE ||
	    header->size != size || content[size - 1] != '\0')
		return 0;
	container->count = header->verbs[container->request->verb].count;
	if (container->count == 0 || container->count > OPERATION_LIMIT || offset % 8 != 0 ||
	    offset >= size || (size - offset) / sizeof(struct operation) < container->count)
		return 0;
	container->plan = content;
	container->operations = (const struct operation *)(const void *)(content + offset);
	for (uint32_t i = 0; i < container->count; i++)
		if (!good_operation(&container->operations[i], size))
			return 0;
	return 1;
}

static long open_directory(int at, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_DIRECTORY | O_CLOEXEC, .resolve = resolve };

	return SYS4(openat2, at, path, &how, sizeof(how));
}

/* The lock, in the way in which Python takes it for the verb. */
static int lock(const struct container *container)
{
	int how = LOCK_EXCLUSIVE;

	if (!container->request->locks)
		return 1;
	if (container->request->verb == VERB_DELETE_FORCE)
		how |= LOCK_WITHOUT_WAITING;
	return SYS2(flock, container->directory, how) == 0 && same_directory(container) &&
	       is_current(container);
}

/* Whether there is a plan for the request that can be performed now. */
int open_container(struct container *container)
{
	struct statx about;
	uint32_t size;

	container->process = -1;
	container->root = (int)open_directory(AT_FDCWD, container->request->root, O_PATH, 0);
	if (container->root < 0)
		return 0;
	container->directory =
		(int)open_directory(container->root, container->request->identifier, O_RDONLY,
				    RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_XDEV);
	if (container->directory < 0 || look(container->directory, "", &about) < 0 ||
	    !is_ours(&about, 022))
		return 0;
	size = read_stored(container->directory);
	return size > 0 && take_plan(container, size) && is_current(container) && lock(container);
}

/* Python makes the file of --log at each call, with nothing in it if there is nothing to say. */
int open_log(const char *path)
{
	struct statx about;
	long result;

	if (path == NULL)
		return 1;
	result = SYS5(statx, AT_FDCWD, path, 0, STATX_BASIC_STATS, &about);
	if (result < 0 ? result != -ENOENT : (about.stx_mode & TYPE_MASK) != REGULAR)
		return 0;
	return SYS4(openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) >= 0;
}
