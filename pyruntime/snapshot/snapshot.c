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
 * and to make one              PROGRAM --make OUTPUT SCRIPT PYTHON STDLIB [EXTENSION]
 */
#define Py_BUILD_CORE 1
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <internal/pycore_runtime.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x31746f6873707970ull /* "pypshot1" */
#define PAGE 4096ul
#define REGION ((char *)0x100000000000)
#define REGION_SIZE (256ul << 20)
#define STATUS_NO_PYTHON 127
#define PARTS 5
#define BLOCK 16ul /* what stands before an allocation: its size */

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
	size_t size;
	struct block *next; /* while it is free */
};

extern char python_data_begin[], python_data_end[], python_bss_begin[], python_bss_end[];
extern char python_runtime_begin[], python_runtime_end[];

static int making;
static char *next = REGION;
static struct block *free_blocks;

/* --- memory: from the region while the snapshot is made, afterwards from the C library ------ */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *old);

static int is_ours(const void *at)
{
	return (const char *)at >= REGION && (const char *)at < REGION + REGION_SIZE;
}

static void *take(size_t size, size_t alignment)
{
	char *at = (char *)(((uintptr_t)next + alignment - 1) & ~(alignment - 1));

	if (size > REGION_SIZE || at + size > REGION + REGION_SIZE)
		abort();
	next = at + size;
	return at;
}

static size_t size_of(const void *at)
{
	return ((const struct block *)(const void *)((const char *)at - BLOCK))->size;
}

/* A free block that is not much too large, or a new one. Always zeroed. */
static void *allocate(size_t size)
{
	size_t wanted = (size + BLOCK - 1) / BLOCK * BLOCK + (size == 0 ? BLOCK : 0);
	struct block *block;

	for (struct block **at = &free_blocks; *at != NULL; at = &(*at)->next)
		if ((*at)->size >= wanted && (*at)->size <= wanted + wanted / 4) {
			block = *at;
			*at = block->next;
			block->next = NULL;
			return (char *)block + BLOCK;
		}
	block = take(wanted + BLOCK, BLOCK);
	block->size = wanted;
	return (char *)block + BLOCK;
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
	struct block *block = (struct block *)(void *)((char *)old - BLOCK);

	if (old == NULL)
		return;
	if (!is_ours(old)) {
		__real_free(old);
	} else if (making) {
		memset(old, 0, block->size);
		block->next = free_blocks;
		free_blocks = block;
	}
}

void *__wrap_realloc(void *old, size_t size)
{
	void *grown;

	if (old == NULL)
		return __wrap_malloc(size);
	if (!is_ours(old))
		return __real_realloc(old, size);
	if (size <= size_of(old))
		return old;
	grown = __wrap_malloc(size);
	if (grown != NULL) {
		memcpy(grown, old, size_of(old));
		__wrap_free(old);
	}
	return grown;
}

static void *allocate_arena(void *context, size_t size)
{
	void *at;

	(void)context;
	if (making)
		return take(size, PAGE);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

static void free_arena(void *context, void *at, size_t size)
{
	(void)context;
	if (!is_ours(at))
		munmap(at, size);
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
	    read(fd, take((size_t)about.st_size, PAGE), (size_t)about.st_size) != about.st_size ||
	    about.st_size < (off_t)sizeof(*extension) || extension->magic != MAGIC)
		give_up(path);
	close(fd);
	take(0, PAGE);
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
static void start_python(const char *python, const char *stdlib)
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

static void make(char **words)
{
	const uint64_t data = PROT_READ | PROT_WRITE;
	struct trailer trailer = { .magic = MAGIC };
	PyObjectArenaAllocator arenas = { NULL, allocate_arena, free_arena };
	size_t text = 0;

	making = 1;
	if (mmap(REGION, REGION_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1,
		 0) != REGION)
		give_up("the region's addresses are taken");
	if (words[5] != NULL)
		text = take_extension(words[5]);
	PyObject_SetArenaAllocator(&arenas);
	start_python(words[3], words[4]);
	run_script(words[2]);
	trailer.thread = PyThreadState_Get();
	trailer.resume = PyObject_GetAttrString(PyImport_AddModule("__main__"), "resume");
	if (trailer.resume == NULL || describe(words[3], &trailer.python_size,
					       &trailer.python_modified) < 0)
		give_up("nothing to go on with");
	take(0, PAGE);
	trailer.parts[0] = (struct part){ REGION, text, PROT_READ | PROT_EXEC };
	trailer.parts[1] = (struct part){ REGION + text, (uint64_t)(next - REGION) - text, data };
	trailer.parts[2] = (struct part){ python_data_begin,
					  (uint64_t)(python_data_end - python_data_begin), data };
	trailer.parts[3] = (struct part){ python_bss_begin,
					  (uint64_t)(python_bss_end - python_bss_begin), data };
	trailer.parts[4] = (struct part){
		python_runtime_begin, (uint64_t)(python_runtime_end - python_runtime_begin), data
	};
	write_file(words[1], &trailer);
	_exit(0);
}

int main(int count, char **words)
{
	struct trailer trailer;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int found = read_trailer(fd, &trailer);

	if (!found && count >= 6 && strcmp(words[1], "--make") == 0) {
		close(fd);
		make(words + 1);
	}
	if (count < 3)
		return STATUS_NO_PYTHON;
	if (!found || !is_current(&trailer, words[1]))
		become_python(words);
	resume(fd, &trailer, count, words);
}
