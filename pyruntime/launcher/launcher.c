/*
 * The first line of the installed command names this program, so the kernel starts it as
 *
 *     pyruntime-launcher "PYTHON FLAGS" SCRIPT WORDS...
 *
 * It performs a stored plan (see pyruntime/stored.py) if it understands the words and the
 * plan in full and if the plan is that of the container as it is now. Else it becomes
 * PYTHON FLAGS SCRIPT WORDS..., and has changed nothing that Python would not find anew.
 */
#include "launcher.h"

#define STATUS_NO_PYTHON 127
#define CANNOT_START "pyruntime: cannot execute "
#define SNAPSHOT "pyruntime-python"

static char **arguments, **environment;

void leave(int status)
{
	for (;;)
		SYS1(exit_group, status);
}

/*
 * Become an interpreter that has been started already (pyruntime/snapshot), if one lies beside
 * this program. It gets our words and starts Python itself if it must.
 */
static void become_snapshot(void)
{
	static const char name[] = SNAPSHOT;
	char path[PATH_LIMIT];
	long length = SYS4(readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof(path) - sizeof(name));

	while (length > 0 && path[length - 1] != '/')
		length--;
	if (length <= 0)
		return;
	for (size_t i = 0; i < sizeof(name); i++)
		path[(size_t)length + i] = name[i];
	arguments[0] = path;
	SYS3(execve, path, arguments, environment);
}

/* Become Python. "PYTHON FLAGS" is one word, for so the kernel passes a first line. */
__attribute__((noreturn)) static void become_python(void)
{
	char *python = arguments[1], *flags = python;

	become_snapshot();
	while (*flags != '\0' && *flags != ' ')
		flags++;
	arguments++;
	if (*flags == ' ') {
		*flags++ = '\0';
		arguments--;
		arguments[0] = python;
		arguments[1] = flags;
	}
	SYS3(execve, python, arguments, environment);
	SYS3(write, 2, CANNOT_START, sizeof(CANNOT_START) - 1);
	SYS3(write, 2, python, length_of(python));
	SYS3(write, 2, "\n", 1);
	leave(STATUS_NO_PYTHON);
}

/* The program did not start: Python tells why, from what the init said. It inherits the lock. */
__attribute__((noreturn)) static void tell_report(struct container *container, size_t count)
{
	char *longer[count + 2];

	for (size_t i = 0; i < count; i++)
		longer[i] = environment[i];
	longer[count] = report_text;
	longer[count + 1] = NULL;
	environment = longer;
	SYS3(fcntl, container->directory, F_SETFD, 0);
	become_python();
}

static size_t count_of(char **texts)
{
	size_t count = 0;

	while (texts[count] != NULL)
		count++;
	return count;
}

/* Python opens /dev/null in place of a closed standard descriptor. */
static int have_standard_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (SYS2(fcntl, fd, F_GETFD) < 0)
			return 0;
	return 1;
}

/* The plan, operation by operation. Returns if Python is to do it all. */
static void run(struct container *container)
{
	for (uint32_t i = 0; i < container->count; i++) {
		const struct operation *operation = &container->operations[i];
		long answer = perform(container, operation);

		if (answer == STARTED)
			tell_report(container, count_of(environment));
		if (answer < 0 || (answer == 0 && operation->otherwise == HAND_OVER))
			return;
		if (answer == 0)
			i += operation->otherwise;
	}
}

__attribute__((used)) void begin(long *stack)
{
	static struct request request;
	static struct container container;

	arguments = (char **)(stack + 1);
	environment = arguments + stack[0] + 1;
	if (stack[0] < 3)
		leave(STATUS_NO_PYTHON);
	if (have_standard_descriptors() && read_words(arguments + 3, environment, &request)) {
		container.request = &request;
		if (open_container(&container) && open_log(request.log))
			run(&container);
	}
	become_python();
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl begin\n");
#endif
