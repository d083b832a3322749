/*
 * The command line, read as pyruntime/parsing.py and pyruntime/request.py do. What is not
 * understood in full is nobody's error here: it is left to Python.
 */
#include "launcher.h"
#include "words.h"

#define SYSTEM_ROOT "/run/pyruntime"
#define RUNTIME_DIRECTORY "XDG_RUNTIME_DIR="

static int begins(const char *text, const char *with)
{
	while (*with != '\0')
		if (*text++ != *with++)
			return 0;
	return 1;
}

/* The option that a word names, and its text if it comes after '='. NULL if unknown. */
static const struct known_option *find(const struct known_option *known, const char *word,
				       const char **text)
{
	const char *name = word + (word[1] == '-' ? 2 : 1);

	for (; known->name != NULL; known++) {
		if (!begins(name, known->name))
			continue;
		*text = name + length_of(known->name);
		if (**text == '\0' || **text == '=')
			return known;
	}
	return NULL;
}

/* Store one option; the number of words that it took, 0 if it is not understood. */
static int take(const struct known_option *known, char **words, const char *values[])
{
	const char *text = NULL;
	const struct known_option *option = find(known, words[0], &text);

	if (option == NULL)
		return 0;
	if (option->takes_text) {
		values[option->option] = *text == '=' ? text + 1 : words[1];
		return values[option->option] == NULL ? 0 : *text == '=' ? 1 : 2;
	}
	values[option->option] = option->name;
	return *text != '=';
}

/* An absolute path as request.py would make it: nothing to be taken out of it. */
static int is_plain_path(const char *path)
{
	if (path[0] != '/' || path[1] == '\0')
		return 0;
	for (; *path != '\0'; path++) {
		if (*path != '/')
			continue;
		if (path[1] == '/' || path[1] == '\0')
			return 0;
		if (path[1] == '.' && (path[2] == '/' || path[2] == '\0'))
			return 0;
		if (path[1] == '.' && path[2] == '.' && (path[3] == '/' || path[3] == '\0'))
			return 0;
	}
	return 1;
}

/* Is a variable, given with its '=', there and not empty? */
static int is_set(char **environment, const char *variable)
{
	for (; *environment != NULL; environment++)
		if (begins(*environment, variable) && (*environment)[length_of(variable)] != '\0')
			return 1;
	return 0;
}

static int is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '+' || c == '.' || c == '-';
}

static int is_identifier(const char *text)
{
	size_t length = length_of(text);

	for (size_t i = 0; i < length; i++)
		if (!is_letter(text[i]))
			return 0;
	return length > 0 && length <= NAME_LIMIT && text[0] != '.';
}

static char upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static int same_name(const char *text, const char *name)
{
	while (*name != '\0' && upper(*text) == *name) {
		text++;
		name++;
	}
	return *text == '\0' && *name == '\0';
}

/* The number of a signal, -1 if it is none or is written in an unusual way. */
static int signal_of(const char *text)
{
	int value = 0, digits = 0;

	while (text[digits] >= '0' && text[digits] <= '9' && digits < 3)
		value = value * 10 + (text[digits++] - '0');
	if (digits > 0)
		return text[digits] == '\0' && value <= GREATEST_SIGNAL ? value : -1;
	if (upper(text[0]) == 'S' && upper(text[1]) == 'I' && upper(text[2]) == 'G')
		text += 3;
	for (const struct known_signal *known = known_signals; known->name != NULL; known++)
		if (same_name(text, known->name))
			return known->number;
	return -1;
}

/* The words of one verb: options and arguments in any order. 0 if not understood. */
static int read_verb(const struct known_verb *verb, char **words, const char *values[],
		     const char *found[], int *count)
{
	while (*words != NULL) {
		int taken = 1;

		if ((*words)[0] == '-' && !(verb->stop_at_first && *count > 0))
			taken = take(verb->options, words, values);
		else if (*count == verb->most)
			return 0;
		else
			found[(*count)++] = *words;
		if (taken == 0)
			return 0;
		words += taken;
	}
	return *count >= verb->fewest;
}

/* The options before the verb. Where another root may be the default, Python decides. */
static int read_global(char ***words, char **environment, struct request *request)
{
	const char *values[8] = { 0 };
	const char *format;

	while (**words != NULL && (**words)[0] == '-') {
		int taken = take(global_options, *words, values);

		if (taken == 0)
			return 0;
		*words += taken;
	}
	request->root = values[OPTION_ROOT];
	if (request->root == NULL)
		request->root = is_set(environment, RUNTIME_DIRECTORY) ? NULL : SYSTEM_ROOT;
	request->log = values[OPTION_LOG];
	format = values[OPTION_LOG_FORMAT];
	return request->root != NULL && is_plain_path(request->root) &&
	       (request->log == NULL || request->log[0] != '\0') &&
	       (format == NULL || same_text(format, "text") || same_text(format, "json"));
}

/* Whether the words are understood in full; what they ask for is in *request then. */
int read_words(char **words, char **environment, struct request *request)
{
	const char *values[8] = { 0 }, *found[2] = { 0 };
	const struct known_verb *verb = known_verbs;
	int count = 0;

	if (!read_global(&words, environment, request) || *words == NULL)
		return 0;
	while (verb->name != NULL && !same_text(verb->name, *words))
		verb++;
	if (verb->name == NULL || !read_verb(verb, words + 1, values, found, &count))
		return 0;
	for (const char *const *variable = verb->variables; *variable != NULL; variable++)
		if (is_set(environment, *variable))
			return 0;
	request->identifier = found[0];
	request->verb = (int)(verb - known_verbs);
	request->locks = request->verb != VERB_STATE && request->verb != VERB_KILL;
	if (values[OPTION_FORCE] != NULL)
		request->verb = VERB_DELETE_FORCE;
	request->signal = found[1] == NULL ? DEFAULT_SIGNAL : signal_of(found[1]);
	return is_identifier(request->identifier) && request->signal >= 0;
}
