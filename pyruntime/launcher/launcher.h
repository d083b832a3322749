/*
 * The launcher: performs what `create` left for the small verbs in ROOT/ID/verbs,
 * and is Python's starter for all else.
 */
#ifndef PYRUNTIME_LAUNCHER_H
#define PYRUNTIME_LAUNCHER_H

#include "../init/system.h"

#define STORED_VERBS 7 /* the verbs of words.h, then delete --force */
#define VERB_DELETE_FORCE 6
#define NAME_LIMIT 255

/* What the command line asks for. */
struct request {
	const char *root, *log, *identifier;
	int verb;   /* VERB_..., or VERB_DELETE_FORCE */
	int locks;  /* as Python does it for this verb */
	int signal; /* of kill */
};

/* A container's directory, and the plan of one verb in it. */
struct container {
	const struct request *request;
	int root, directory;
	int process; /* a pidfd, once it is open */
	const char *plan;
	const struct operation *operations;
	uint32_t count;
};

struct operation {
	uint32_t number;
	uint32_t otherwise; /* how many operations to pass over after a no */
	uint64_t argument[3];
};

#define HAND_OVER 0xffffffffu /* as `otherwise`: leave it to Python */
#define STARTED 0x10000       /* what `perform` says when only the report is left to tell */

int read_words(char **words, char **environment, struct request *request);
int open_container(struct container *container);
int open_log(const char *path);
long perform(struct container *container, const struct operation *operation);

extern char report_text[]; /* hexadecimal, what the init said after it was released */

#endif
