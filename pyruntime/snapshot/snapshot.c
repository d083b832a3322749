/*
 * An interpreter that has been started once, and goes on from there at every call.
 *
 * Starting Python and loading our modules takes longer than all that `create` has to do. So
 * tools/snapshot.py links this program with the static libpython and starts it once: it
 * initialises Python, imports the modules, and writes itself to a new file with the memory
 * that Python has by then. That file, when it is started, maps the memory where it was,
 * privately, and calls the function `resume` of pyruntime/resumed.py.
 *
 * Nothing of the C library is in that memory, nor of the kernel: it starts as in any program.
 * Python's own variables lie between two bounds in each section (bounds_begin.c), and all that
 * it allocates before the snapshot comes from a region at a fixed address.
 *
 * Started by the launcher as   SNAPSHOT "PYTHON FLAGS" SCRIPT WORDS...
 * and to make one              PROGRAM --survey|--make OUTPUT SCRIPT PYTHON STDLIB SEED HOT
 *                              [EXTENSION]
 */
#define Py_BUILD_CORE 1
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <internal/pycore_runtime.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x31746f6873707970ull /* "pypshot1" */
#define PAGE 4096ul
#define REGION ((char *)0x100000000000)
#define REGION_SIZE (1ul << 30)
#define HOT_SIZE (32ul << 20)
#define STATUS_NO_PYTHON 127
#define PARTS 6
#define BLOCK 16ul /* what stands before an allocation */
#define CLASSES 256
#define ALLOCATIONS (1ul << 21)

struct part {
	char *at;
	uint64_t size, protection;
};

/* The file's last page. The parts stand before it, in their order. */
struct trailer {
	uint64_t magic, start;
	int64_t python_size, python_modified; /* of the interpreter in whose place this runs; ns */
	struct part parts[PARTS];
	PyThreadState *thread;
	PyObject *resume;
};

/* What tools/snapshot.py writes over the header of a relocated extension module. */
struct extension {
	uint64_t magic, initialise, text_size;
	char name[32];
};

struct block {
	size_t size, capacity;
	struct block *next; /* while it is free; the allocation begins here */
};

extern char python_data_begin[], python_data_end[], python_bss_begin[], python_bss_end[];
extern char python_runtime_begin[], python_runtime_end[];

/* --- memory: from the region while the snapshot is made, afterwards from the C library ------ */

/*
 * Each page that is written to costs a page fault when the snapshot goes on, and every use of
 * an object writes to it (its count of references). So the objects which a create uses stand
 * together. Which they are is found out by making the snapshot twice. The first time (`survey`)
 * each has pages of its own, and during the last rehearsal the first write to each page is
 * noted. The second time the same allocations happen in the same order; if they did not, the
 * snapshot would only be slower.
 */
static int making, surveying;
static size_t allocations;
static unsigned char hot[ALLOCATIONS]; /* by number, in the order of the allocations */
static uint32_t owners[REGION_SIZE / PAGE];
static char *next[2] = { REGION + HOT_SIZE, REGION };
static struct block *free_blocks[2][CLASSES + 1];

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *old);

static int is_ours(const void *at)
{
	return (const char *)at >= REGION && (const char *)at < REGION + REGION_SIZE;
}

static int is_hot(const void *at)
{
	return (const char *)at < REGION + HOT_SIZE;
}

static char *take(size_t size, size_t alignment, int where)
{
	char *at = (char *)(((uintptr_t)next[where] + alignment - 1) & ~(alignment - 1));
	char *limit = where ? REGION + HOT_SIZE : REGION + REGION_SIZE;

	if (at > limit || size > (size_t)(limit - at))
		abort();
	next[where] = at + size;
	return at;
}

static struct block *block_of(void *at)
{
	return (struct block *)(void *)((char *)at - BLOCK);
}

static struct block **class_of(size_t size, int where)
{
	return &free_blocks[where][size / BLOCK < CLASSES ? size / BLOCK : CLASSES];
}

/* A free block that is not much too large, or a new one. Always zeroed. */
static void *allocate(size_t size)
{
	size_t wanted = (size + BLOCK - 1) / BLOCK * BLOCK + (size == 0 ? BLOCK : 0);
	size_t number = allocations++;
	int where = number < ALLOCATIONS && hot[number];
	struct block *block = NULL;

	for (struct block **at = class_of(wanted, where); *at != NULL; at = &(*at)->next)
		if ((*at)->capacity >= wanted && (*at)->capacity <= wanted + wanted / 4) {
			block = *at;
			*at = block->next;
			block->next = NULL;
			break;
		}
	if (block == NULL) {
		block = (void *)take(wanted + BLOCK, surveying ? PAGE : BLOCK, where);
		block->capacity = wanted;
	}
	block->size = wanted;
	for (char *page = (char *)block; surveying && page < (char *)&block->next + wanted;
	     page += PAGE)
		owners[(size_t)(page - REGION) / PAGE] = (uint32_t)number;
	return &block->next;
}

void *__wrap_malloc(size_t size)
{
	return making ? allocate(size) : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	if (!making)
		return __real_calloc(count, size);
	if (size != 0 && count > REGION_SIZE / size)
		abort();
	return allocate(count * size);
}

/* What the snapshot holds stays: no more than that can ever be lost by it. */
void __wrap_free(void *old)
{
	struct block *block = block_of(old), **list;

	if (old == NULL)
		return;
	if (!is_ours(old)) {
		__real_free(old);
	} else if (making && surveying < 2) {
		memset(old, 0, block->capacity);
		list = class_of(block->capacity, is_hot(old));
		block->next = *list;
		*list = block;
	}
}

void *__wrap_realloc(void *old, size_t size)
{
	void *grown;

	if (old == NULL)
		return __wrap_malloc(size);
	if (!is_ours(old))
		return __real_realloc(old, size);
	if (size <= block_of(old)->size)
		return old;
	grown = __wrap_malloc(size);
	if (grown != NULL) {
		memcpy(grown, old, block_of(old)->size);
		__wrap_free(old);
	}
	return grown;
}

static void *plain_malloc(void *context, size_t size)
{
	(void)context;
	return __wrap_malloc(size);
}

static void *plain_calloc(void *context, size_t count, size_t size)
{
	(void)context;
	return __wrap_calloc(count, size);
}

static void *plain_realloc(void *context, void *old, size_t size)
{
	(void)context;
	return __wrap_realloc(old, size);
}

static void plain_free(void *context, void *old)
{
	(void)context;
	__wrap_free(old);
}

/* The stack of Python's frames is such a one. */
static void *allocate_arena(void *context, size_t size)
{
	void *at;

	(void)context;
	if (making)
		return take(size, PAGE, 1);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

static void free_arena(void *context, void *at, size_t size)
{
	(void)context;
	if (!is_ours(at))
		munmap(at, size);
}

static PyMemAllocatorEx usual[2];
static const PyMemAllocatorDomain domains[2] = { PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ };

/* Objects one by one; Python's own allocator would mix them in its pools. */
static void allocate_plainly(void)
{
	PyMemAllocatorEx plain = { NULL, plain_malloc, plain_calloc, plain_realloc, plain_free };
	PyObjectArenaAllocator arenas = { NULL, allocate_arena, free_arena };

	PyObject_SetArenaAllocator(&arenas);
	for (int i = 0; i < 2; i++) {
		PyMem_GetAllocator(domains[i], &usual[i]);
		PyMem_SetAllocator(domains[i], &plain);
	}
}

static void allocate_as_usual(void)
{
	for (int i = 0; i < 2; i++)
		PyMem_SetAllocator(domains[i], &usual[i]);
}

/* --- going on from the snapshot -------------------------------------------------------------- */

/* As the launcher does it: "PYTHON FLAGS" is one word. */
static void become_python(char **words)
{
	char *flags = strchr(words[1], ' ');

	if (flags == NULL) {
		words++;
	} else {
		*flags = '\0';
		words[0] = words[1];
		words[1] = flags + 1;
	}
	execv(words[0], words);
	fprintf(stderr, "pyruntime: cannot execute %s\n", words[0]);
	_exit(STATUS_NO_PYTHON);
}

/* Size and time of change of the interpreter; -1 if it is not there. */
static int describe(const char *python, int64_t *size, int64_t *modified)
{
	struct stat about;

	if (stat(python, &about) < 0)
		return -1;
	*size = about.st_size;
	*modified = about.st_mtim.tv_sec * 1000000000ll + about.st_mtim.tv_nsec;
	return 0;
}

/* An upgrade of Python may mend a fault of it: from then on the new one does the work. */
static int is_current(const struct trailer *trailer, const char *words)
{
	char python[PATH_MAX];
	size_t length = strcspn(words, " ");
	int64_t size, modified;

	if (length >= sizeof(python))
		return 0;
	memcpy(python, words, length);
	python[length] = '\0';
	return describe(python, &size, &modified) == 0 && size == trailer->python_size &&
	       modified == trailer->python_modified;
}

static int read_trailer(int fd, struct trailer *trailer)
{
	struct stat about;

	return fd >= 0 && fstat(fd, &about) == 0 && about.st_size > (off_t)PAGE &&
	       pread(fd, trailer, sizeof(*trailer), about.st_size - (off_t)PAGE) ==
		       sizeof(*trailer) &&
	       trailer->magic == MAGIC;
}

/* Once the first part is mapped there is no way back. */
static void map_parts(int fd, const struct trailer *trailer)
{
	off_t at = (off_t)trailer->start;

	for (int i = 0; i < PARTS; i++) {
		const struct part *part = &trailer->parts[i];

		if (part->size != 0 &&
		    mmap(part->at, part->size, (int)part->protection, MAP_PRIVATE | MAP_FIXED, fd,
			 at) == MAP_FAILED) {
			perror("pyruntime: snapshot");
			_exit(STATUS_NO_PYTHON);
		}
		at += (off_t)part->size;
	}
}

/* Python was in another thread of another process: it is what fork makes of it, too. */
static void take_thread(PyThreadState *thread)
{
	Py_tss_t *key = &_PyRuntime.gilstate.autoTSSkey;

	key->_is_initialized = 0;
	if (PyThread_tss_create(key) != 0 || PyThread_tss_set(key, thread) != 0)
		abort();
	thread->thread_id = PyThread_get_thread_ident();
	PyOS_AfterFork_Child();
}

static PyObject *texts(char **from, int count)
{
	PyObject *list = PyList_New(count);

	for (int i = 0; list != NULL && i < count; i++) {
		PyObject *text = PyUnicode_DecodeFSDefault(from[i]);

		if (text == NULL)
			abort();
		PyList_SET_ITEM(list, i, text);
	}
	return list;
}

/* posix.environ was made when the module was imported. The first of two values counts. */
static void set_environment(PyObject *known)
{
	PyDict_Clear(known);
	for (char **entry = environ; *entry != NULL; entry++) {
		char *value = strchr(*entry, '=');
		PyObject *name, *text;

		if (value == NULL)
			continue;
		name = PyBytes_FromStringAndSize(*entry, value - *entry);
		text = PyBytes_FromString(value + 1);
		if (name == NULL || text == NULL || PyDict_SetDefault(known, name, text) == NULL)
			abort();
		Py_DECREF(name);
		Py_DECREF(text);
	}
}

static void resume(int fd, const struct trailer *trailer, int count, char **words)
{
	PyObject *environment, *result;
	int interrupts;

	map_parts(fd, trailer);
	close(fd);
	interrupts = PyOS_getsig(SIGINT) == SIG_DFL;
	take_thread(trailer->thread);
	environment = PyObject_GetAttrString(PyImport_AddModule("posix"), "environ");
	if (environment == NULL)
		abort();
	set_environment(environment);
	result = PyObject_CallFunction(trailer->resume, "Ni", texts(words, count), interrupts);
	if (result == NULL)
		PyErr_Print();
	_exit(1); /* it does not return */
}

/* --- making the snapshot ---------------------------------------------------------------------- */

static void give_up(const char *what)
{
	fprintf(stderr, "snapshot: %s\n", what);
	_exit(1);
}

static void put(int fd, const void *from, size_t size)
{
	const char *at = from;

	while (size > 0) {
		ssize_t written = write(fd, at, size);

		if (written <= 0)
			give_up("cannot write");
		at += written;
		size -= (size_t)written;
	}
}

/* An extension module that stands at the region's beginning; its code's size. */
static size_t take_extension(const char *path)
{
	const struct extension *extension = (const struct extension *)(void *)REGION;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;

	if (fd < 0 || fstat(fd, &about) < 0 ||
	    read(fd, take((size_t)about.st_size, PAGE, 1), (size_t)about.st_size) !=
		    about.st_size ||
	    about.st_size < (off_t)sizeof(*extension) || extension->magic != MAGIC)
		give_up(path);
	close(fd);
	take(0, PAGE, 1);
	if (PyImport_AppendInittab(extension->name,
				   (PyObject * (*)(void))(uintptr_t)extension->initialise) < 0 ||
	    mprotect(REGION, extension->text_size, PROT_READ | PROT_EXEC) < 0)
		give_up("extension");
	return extension->text_size;
}

static void check(PyStatus status)
{
	if (PyStatus_Exception(status))
		give_up(status.err_msg != NULL ? status.err_msg : "no Python");
}

/* As `python3 -IS` would be, in UTF-8. */
static void start_python(const char *python, const char *stdlib, const char *seed)
{
	PyPreConfig early;
	PyConfig config;
	wchar_t *library, *program;

	PyPreConfig_InitIsolatedConfig(&early);
	early.utf8_mode = 1;
	check(Py_PreInitialize(&early));
	library = Py_DecodeLocale(stdlib, NULL);
	program = Py_DecodeLocale(python, NULL);
	PyConfig_InitIsolatedConfig(&config);
	config.site_import = 0;
	config.write_bytecode = 0;
	config.module_search_paths_set = 1;
	config.use_hash_seed = 1;
	config.hash_seed = strtoul(seed, NULL, 10);
	check(PyWideStringList_Append(&config.module_search_paths, library));
	check(PyConfig_SetString(&config, &config.program_name, program));
	check(PyConfig_SetString(&config, &config.executable, program));
	check(PyConfig_SetString(&config, &config.stdlib_dir, library));
	check(Py_InitializeFromConfig(&config));
	PyConfig_Clear(&config);
}

static void run_script(const char *path)
{
	FILE *script = fopen(path, "r");

	if (script == NULL || PyRun_SimpleFileEx(script, path, 1) != 0)
		give_up("the script failed");
}

/* This very program, then the parts, then the trailer; each begins a page. */
static void write_file(const char *path, struct trailer *trailer)
{
	static char page[PAGE];
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t size;

	if (from < 0 || fd < 0)
		give_up(path);
	while ((size = read(from, page, PAGE)) > 0) {
		put(fd, page, PAGE); /* what is left of the page before is of no harm */
		trailer->start += PAGE;
	}
	for (int i = 0; i < PARTS; i++)
		put(fd, trailer->parts[i].at, trailer->parts[i].size);
	memset(page, 0, PAGE);
	memcpy(page, trailer, sizeof(*trailer));
	put(fd, page, PAGE);
}

/* The first write to a page of the region. */
static void note(int number, siginfo_t *information, void *context)
{
	size_t page = (size_t)((char *)information->si_addr - REGION) / PAGE;

	(void)context;
	if (!is_ours(information->si_addr) ||
	    mprotect(REGION + page * PAGE, PAGE, PROT_READ | PROT_WRITE) < 0)
		signal(number, SIG_DFL);
	else if (owners[page] < ALLOCATIONS)
		hot[owners[page]] = 1;
}

/* The script says by a signal that what comes now is to be noted. */
static void begin_survey(int number)
{
	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };

	(void)number;
	if (!surveying)
		return;
	surveying = 2;
	memset(free_blocks, 0, sizeof(free_blocks)); /* the kernel writes without a signal */
	sigaction(SIGSEGV, &action, NULL);
	mprotect(REGION + HOT_SIZE, (size_t)(next[0] - REGION) - HOT_SIZE, PROT_READ);
}

static void write_hot(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || allocations > ALLOCATIONS)
		give_up(path);
	put(fd, hot, allocations);
}

static void read_hot(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, hot, sizeof(hot)) < 0)
		give_up(path);
	close(fd);
}

static struct part part_of(char *begin, const char *end, int protection)
{
	return (struct part){ begin, (uint64_t)(end - begin), (uint64_t)protection };
}

static void describe_parts(struct part *parts, size_t text)
{
	const int data = PROT_READ | PROT_WRITE;

	parts[0] = part_of(REGION, REGION + text, PROT_READ | PROT_EXEC);
	parts[1] = part_of(REGION + text, take(0, PAGE, 1), data);
	parts[2] = part_of(REGION + HOT_SIZE, take(0, PAGE, 0), data);
	parts[3] = part_of(python_data_begin, python_data_end, data);
	parts[4] = part_of(python_bss_begin, python_bss_end, data);
	parts[5] = part_of(python_runtime_begin, python_runtime_end, data);
}

/* OUTPUT SCRIPT PYTHON STDLIB SEED HOT [EXTENSION]; a survey's output is HOT. */
static void make(char **words)
{
	struct trailer trailer = { .magic = MAGIC };
	size_t text = 0;

	making = 1;
	if (mmap(REGION, REGION_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1,
		 0) != REGION)
		give_up("the region's addresses are taken");
	signal(SIGUSR1, begin_survey);
	if (!surveying)
		read_hot(words[6]);
	if (words[7] != NULL)
		text = take_extension(words[7]);
	allocate_plainly();
	start_python(words[3], words[4], words[5]);
	run_script(words[2]);
	if (surveying) {
		write_hot(words[6]);
		_exit(0);
	}
	trailer.thread = PyThreadState_Get();
	trailer.resume = PyObject_GetAttrString(PyImport_AddModule("__main__"), "resume");
	if (trailer.resume == NULL || describe(words[3], &trailer.python_size,
					       &trailer.python_modified) < 0)
		give_up("nothing to go on with");
	allocate_as_usual(); /* and nothing any more until it goes on */
	describe_parts(trailer.parts, text);
	write_file(words[1], &trailer);
	_exit(0);
}

int main(int count, char **words)
{
	struct trailer trailer;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int found = read_trailer(fd, &trailer);

	if (!found && count >= 8 &&
	    (strcmp(words[1], "--make") == 0 || strcmp(words[1], "--survey") == 0)) {
		close(fd);
		surveying = words[1][2] == 's';
		make(words + 1);
	}
	if (count < 3)
		return STATUS_NO_PYTHON;
	if (!found || !is_current(&trailer, words[1]))
		become_python(words);
	resume(fd, &trailer, count, words);
}
