// SPDX-License-Identifier: Apache-2.0
/*
 * conf.c -- loads weir.yaml: reads the file, walks it along the table, gathers every fault with its
 * line, and hands out a configuration only when there was none.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "lib/conf_table.h"
#include "lib/nearest.h"

#define FILE_BYTES_MAX (1u << 20)
#define DEPTH_MAX      12    /* the table's own is 6 */
#define LIST_MAX       65535 /* backends that a ring can hold */
#define KEY_PATH_MAX   192

struct conf_file {
	struct conf conf; /* first: conf_free() finds the rest by it */
	struct conf_arena arena;
};

struct loader {
	struct conf_file *file;
	const char *folder;
	yaml_document_t doc;
	struct conf_faults *faults;
	bool no_memory;
};

/* ---- walking along the table ---- */

static void load_section(struct loader *l, const struct conf_section *section, char *base,
			 yaml_node_t *node, const char *path);

static size_t node_line(const yaml_node_t *node)
{
	return node->start_mark.line + 1;
}

/* The text of a scalar without NUL; NULL for anything else. */
static const char *scalar_text(const yaml_node_t *node)
{
	if (node->type != YAML_SCALAR_NODE)
		return NULL;
	if (strlen((const char *)node->data.scalar.value) != node->data.scalar.length)
		return NULL;
	return (const char *)node->data.scalar.value;
}

static void set_value(struct loader *l, const struct conf_key *key, const char *text, void *at,
		      size_t line, const char *path)
{
	char why[CONF_WHY_MAX] = "";
	int err = conf_value_set(key, text, l->folder, &l->file->arena, at, why);

	if (err == -ENOMEM)
		l->no_memory = true;
	else if (err)
		conf_fault_at(l->faults, line, path, why);
}

/* Every key's default, sections inside the struct too; items of lists get theirs when they are
 * made. */
static void set_defaults(struct loader *l, const struct conf_section *section, char *base)
{
	for (size_t i = 0; i < section->nkeys; i++) {
		const struct conf_key *key = &section->keys[i];

		if (key->fallback)
			set_value(l, key, key->fallback, base + key->offset, 1, key->name);
		else if (key->type == CONF_SECTION && !key->list)
			set_defaults(l, key->section, base + key->offset);
	}
}

static void load_one(struct loader *l, const struct conf_key *key, void *at, yaml_node_t *node,
		     const char *path)
{
	char sentence[CONF_WHY_MAX];
	const char *text;

	if (key->type == CONF_SECTION) {
		load_section(l, key->section, at, node, path);
		return;
	}
	text = scalar_text(node);
	if (text) {
		set_value(l, key, text, at, node_line(node), path);
		return;
	}
	snprintf(sentence, sizeof(sentence), "holds %s; write %s",
		 node->type == YAML_SEQUENCE_NODE  ? "a list"
		 : node->type == YAML_MAPPING_NODE ? "a section"
						   : "a NUL character",
		 conf_type_words(key));
	conf_fault_at(l->faults, node_line(node), path, sentence);
}

static void load_list(struct loader *l, const struct conf_key *key, char *base, yaml_node_t *node,
		      const char *path)
{
	size_t n, size = conf_type_size(key);
	char sentence[CONF_WHY_MAX], item_path[KEY_PATH_MAX], *items;

	if (node->type != YAML_SEQUENCE_NODE) {
		snprintf(sentence, sizeof(sentence), "is not a list; write %s",
			 key->type == CONF_SECTION ? "each item on its own line behind \"- \""
						   : "it in brackets, as in [a, b]");
		conf_fault_at(l->faults, node_line(node), path, sentence);
		return;
	}
	n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (n > LIST_MAX) {
		conf_fault_at(l->faults, node_line(node), path,
			      "has more than 65535 items; write fewer");
		return;
	}
	if (!n && key->required) {
		conf_fault_at(l->faults, node_line(node), path,
			      "is empty; it needs at least one item");
		return;
	}
	items = conf_alloc(&l->file->arena, n * size);
	if (!items) {
		l->no_memory = true;
		return;
	}
	memcpy(base + key->offset, &items, sizeof(items));
	memcpy(base + key->count_offset, &n, sizeof(n));
	for (size_t i = 0; i < n; i++) {
		yaml_node_t *item =
			yaml_document_get_node(&l->doc, node->data.sequence.items.start[i]);

		snprintf(item_path, sizeof(item_path), "%.150s[%zu]", path, i);
		conf_place_add(l->faults, item_path, node_line(item));
		if (key->type == CONF_SECTION)
			set_defaults(l, key->section, items + i * size);
		load_one(l, key, items + i * size, item, item_path);
	}
}

static void unknown_key(struct loader *l, const struct conf_section *section, const char *name,
			size_t line, const char *path)
{
	const char *names[CONF_KEYS_MAX], *nearest;
	char sentence[CONF_WHY_MAX];

	for (size_t i = 0; i < section->nkeys; i++)
		names[i] = section->keys[i].name;
	nearest = nearest_word(name, names, section->nkeys);
	if (nearest) {
		snprintf(sentence, sizeof(sentence), "unknown key; did you mean \"%s\"?", nearest);
	} else {
		size_t used = (size_t)snprintf(sentence, sizeof(sentence),
					       "unknown key; possible here are");

		for (size_t i = 0; i < section->nkeys && used < sizeof(sentence); i++)
			used += (size_t)snprintf(sentence + used, sizeof(sentence) - used, "%s %s",
						 i ? "," : "", section->keys[i].name);
	}
	conf_fault_at(l->faults, line, path, sentence);
}

static void join(char *out, const char *path, const char *name)
{
	snprintf(out, KEY_PATH_MAX, "%s%s%.60s", path, *path ? "." : "", name);
}

/* One "name: value"; marks it in *seen. */
static void load_pair(struct loader *l, const struct conf_section *section, char *base,
		      const yaml_node_pair_t *pair, const char *path, uint64_t *seen)
{
	yaml_node_t *name_node = yaml_document_get_node(&l->doc, pair->key);
	yaml_node_t *node = yaml_document_get_node(&l->doc, pair->value);
	const char *name = scalar_text(name_node);
	char full[KEY_PATH_MAX];
	size_t i = 0;

	join(full, path, name ? name : "?");
	if (!name) {
		conf_fault_at(l->faults, node_line(name_node), full,
			      "is not a key; a key is one word");
		return;
	}
	while (i < section->nkeys && strcmp(section->keys[i].name, name))
		i++;
	if (i == section->nkeys) {
		unknown_key(l, section, name, node_line(name_node), full);
		return;
	}
	if (*seen & 1ull << i) {
		conf_fault_at(l->faults, node_line(name_node), full,
			      "is given twice; keep one of them");
		return;
	}
	*seen |= 1ull << i;
	conf_place_add(l->faults, full, node_line(name_node));
	if (section->keys[i].list)
		load_list(l, &section->keys[i], base, node, full);
	else
		load_one(l, &section->keys[i], base + section->keys[i].offset, node, full);
}

static void load_section(struct loader *l, const struct conf_section *section, char *base,
			 yaml_node_t *node, const char *path)
{
	char full[KEY_PATH_MAX], sentence[CONF_WHY_MAX];
	uint64_t seen = 0;

	if (node->type != YAML_MAPPING_NODE) {
		snprintf(sentence, sizeof(sentence),
			 "is not a section; write keys below it, such as \"%s: ...\"",
			 section->keys[0].name);
		conf_fault_at(l->faults, node_line(node), *path ? path : "file", sentence);
		return;
	}
	if (section->enabled != CONF_NO_FLAG)
		*(bool *)(base + section->enabled) = true;
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++)
		load_pair(l, section, base, pair, path, &seen);
	for (size_t i = 0; i < section->nkeys; i++) {
		const struct conf_key *key = &section->keys[i];

		if (!key->required || seen & 1ull << i)
			continue;
		join(full, path, key->name);
		snprintf(sentence, sizeof(sentence), "is missing; add it here (%s%s)",
			 key->list && key->type == CONF_SECTION ? "a list"
			 : key->list				? "a list, each "
								: "",
			 key->type == CONF_SECTION ? "" : conf_type_words(key));
		conf_fault_at(l->faults, node_line(node), full, sentence);
	}
}

/* ---- what follows from other keys ---- */

static char *arena_format(struct loader *l, const char *fmt, const char *arg)
{
	size_t len = strlen(fmt) + strlen(arg) + 1;
	char *text = conf_alloc(&l->file->arena, len);

	if (text)
		snprintf(text, len, fmt, arg);
	else
		l->no_memory = true;
	return text;
}

static void default_node(struct conf *conf)
{
	char host[HOST_NAME_MAX + 1] = "";
	size_t n = 0;

	gethostname(host, sizeof(host) - 1);
	for (char *c = host; *c && *c != '.' && n < sizeof(conf->node) - 1; c++)
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		    (*c >= '0' && *c <= '9') || *c == '-')
			conf->node[n++] = *c;
	if (!n)
		strcpy(conf->node, "localhost");
}

/* Defaults that are made of other values. */
static void derive(struct loader *l, const char *path)
{
	struct conf *conf = &l->file->conf;
	struct conf_registry_server *server = &conf->registry_server;

	conf->path = arena_format(l, "%s", path);
	if (!*conf->node)
		default_node(conf);
	if (!*conf->domain)
		memcpy(conf->domain, conf->node, sizeof(conf->domain));
	if (!conf->registry.url && conf->run)
		conf->registry.url = arena_format(l, "unix:%s/registry.socket", conf->run);
	if (server->enabled && !server->nlisten && conf->run) {
		server->listen = conf_alloc(&l->file->arena, sizeof(*server->listen));
		if (!server->listen) {
			l->no_memory = true;
			return;
		}
		server->nlisten = 1;
		snprintf(server->listen->path, sizeof(server->listen->path), "%s/registry.socket",
			 conf->run);
	}
}

/* ---- YAML ---- */

/* What one event says against the file, or NULL. *depth and *documents are counted along. */
static const char *event_fault(const yaml_event_t *event, size_t *depth, size_t *documents)
{
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return "aliases are not taken; write the value out";
	case YAML_SCALAR_EVENT:
		if (event->data.scalar.anchor || event->data.scalar.tag)
			return "anchors and tags are not taken; write the plain value";
		return NULL;
	case YAML_SEQUENCE_START_EVENT:
		if (event->data.sequence_start.anchor || event->data.sequence_start.tag)
			return "anchors and tags are not taken; write the plain list";
		return ++*depth > DEPTH_MAX
			       ? "lists are nested too deeply; nothing here is deeper than 6"
			       : NULL;
	case YAML_MAPPING_START_EVENT:
		if (event->data.mapping_start.anchor || event->data.mapping_start.tag)
			return "anchors and tags are not taken; write the plain section";
		return ++*depth > DEPTH_MAX
			       ? "sections are nested too deeply; nothing here is deeper than 6"
			       : NULL;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		--*depth;
		return NULL;
	case YAML_DOCUMENT_START_EVENT:
		return ++*documents > 1 ? "a second document begins; keep one in the file" : NULL;
	default:
		return NULL;
	}
}

static void syntax_fault(const yaml_parser_t *parser, size_t line, struct conf_faults *faults)
{
	char sentence[CONF_WHY_MAX], context[120] = "";

	if (parser->context)
		snprintf(context, sizeof(context), " %.80s from line %zu", parser->context,
			 parser->context_mark.line + 1);
	/* libyaml's own place is better than the last event's, where it has one. */
	if (parser->problem_mark.line + 1 > line)
		line = parser->problem_mark.line + 1;
	snprintf(sentence, sizeof(sentence),
		 "%s%s; indent with spaces, close brackets, and put texts with "
		 "\": \", \"#\" or brackets in quotes",
		 parser->problem ? parser->problem : "is not text", context);
	conf_fault_at(faults, line, "syntax", sentence);
}

/* The first pass over the file: syntax, and what we refuse of YAML because a reader of the file
 * would have to be an expert (anchors, tags, several documents) or a machine would drown (depth).
 */
static bool scan(const char *text, size_t len, struct conf_faults *faults)
{
	size_t line = 1, depth = 0, documents = 0;
	const char *wrong = NULL;
	yaml_parser_t parser;
	bool more = true;

	if (!yaml_parser_initialize(&parser))
		return false;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while (more && !wrong) {
		yaml_event_t event;

		if (!yaml_parser_parse(&parser, &event)) {
			syntax_fault(&parser, line, faults);
			break;
		}
		line = event.start_mark.line + 1;
		wrong = event_fault(&event, &depth, &documents);
		more = event.type != YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (wrong)
		conf_fault_at(faults, line, "syntax", wrong);
	return !wrong && !more;
}

static bool load_document(struct loader *l, const char *text, size_t len)
{
	yaml_parser_t parser;
	yaml_node_t *root;
	bool loaded;

	if (!yaml_parser_initialize(&parser)) {
		l->no_memory = true;
		return false;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	loaded = yaml_parser_load(&parser, &l->doc);
	yaml_parser_delete(&parser);
	if (!loaded) {
		l->no_memory = true; /* the syntax was read once already */
		return false;
	}
	root = yaml_document_get_root_node(&l->doc);
	if (root)
		load_section(l, &conf_root, (char *)&l->file->conf, root, "");
	else
		conf_fault_at(l->faults, 1, "file",
			      "is empty; it needs at least one role, such as \"gateway:\"");
	yaml_document_delete(&l->doc);
	return root != NULL;
}

/* The folder of path as an absolute path, without its end. 0 or -errno. */
static int folder_of(const char *path, char out[PATH_MAX])
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", path) >= PATH_MAX)
		return -ENAMETOOLONG;
	return realpath(dirname(copy), out) ? 0 : -errno;
}

int conf_load_text(struct conf **out, const char *text, size_t len, const char *path,
		   FILE *faults_out)
{
	struct loader l = { 0 };
	char folder[PATH_MAX];
	int err = folder_of(path, folder);

	if (err)
		return err;
	l.folder = strcmp(folder, "/") ? folder : "";
	l.file = calloc(1, sizeof(*l.file));
	l.faults = conf_faults_new();
	if (!l.file || !l.faults) {
		free(l.file);
		conf_faults_free(l.faults);
		return -ENOMEM;
	}
	set_defaults(&l, &conf_root, (char *)&l.file->conf);
	if (scan(text, len, l.faults) && load_document(&l, text, len)) {
		derive(&l, path);
		if (!l.no_memory)
			conf_check(&l.file->conf, l.faults);
	}
	conf_faults_print(l.faults, path, faults_out);
	err = l.no_memory ? -ENOMEM : conf_faults_count(l.faults) ? -EINVAL : 0;
	conf_faults_free(l.faults);
	if (err)
		conf_free(&l.file->conf);
	else
		*out = &l.file->conf;
	return err;
}

/* The whole file, at most FILE_BYTES_MAX. 0 or -errno. */
static int read_file(const char *path, char **out, size_t *out_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
	size_t len = 0;
	struct stat st;
	char *text;

	if (fd < 0)
		return -errno;
	text = malloc(FILE_BYTES_MAX + 1);
	if (!text)
		err = -ENOMEM;
	else if (fstat(fd, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	while (!err && len <= FILE_BYTES_MAX) {
		ssize_t n = read(fd, text + len, FILE_BYTES_MAX + 1 - len);

		if (n == 0)
			break;
		if (n < 0)
			err = -errno;
		else
			len += (size_t)n;
	}
	if (!err && len > FILE_BYTES_MAX)
		err = -EFBIG;
	close(fd);
	if (err) {
		free(text);
		return err;
	}
	*out = text;
	*out_len = len;
	return 0;
}

int conf_load(struct conf **out, const char *path, FILE *faults)
{
	char *text = NULL;
	size_t len = 0;
	int err = read_file(path, &text, &len);

	if (err) {
		if (faults)
			fprintf(faults, "%s:1: file: cannot be read: %s; %s\n", path,
				strerror(-err),
				err == -EFBIG ? "at most 1 MiB is possible"
					      : "correct the path (-c FILE) or the file's rights");
		return err;
	}
	err = conf_load_text(out, text, len, path, faults);
	if (faults && err && err != -EINVAL)
		fprintf(faults, "%s:1: file: cannot be loaded: %s; try again\n", path,
			strerror(-err));
	free(text);
	return err;
}

void conf_free(struct conf *conf)
{
	struct conf_file *file = (struct conf_file *)conf;

	if (!file)
		return;
	conf_arena_free(&file->arena);
	free(file);
}

char *conf_ctl_path(const struct conf *conf, const char *role, char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s.sock", conf->run, role);
	return buf;
}

char *conf_state_path(const struct conf *conf, const char *role, char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s", conf->state, role);
	return buf;
}
