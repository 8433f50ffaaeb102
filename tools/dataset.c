/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset.c -- `weir dataset`: making, seeing and changing datasets through a gateway.
 * dataset_check.c has `check`, which needs none.
 */
#include "tools/dataset.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/web.h"

#define NAMES_MAX 64
#define RULES_MAX (1u << 20) /* bytes */

struct dataset_flags {
	struct web_flags web;
	const char *title, *owner, *generation;
	const char *readers[NAMES_MAX], *writers[NAMES_MAX];
	size_t nreaders, nwriters;
	bool force, json;
};

/* One action: how many words it wants, and what it does with them. */
struct action {
	const char *name;
	int least, most;
	int (*run)(struct web *w, int n, char **words, const struct dataset_flags *flags);
};

/* ---- help for printing ----------------------------------------------------------------------- */

static const char *names_of(const json_t *list, char out[512])
{
	const json_t *name;
	size_t i, n = 0;

	snprintf(out, 512, "-");
	json_array_foreach (list, i, name)
		if (json_is_string(name) && n < 512)
			n += (size_t)snprintf(out + n, 512 - n, "%s%s", i ? ", " : "",
					      web_safe(json_string_value(name)));
	return out;
}

static const char *rights_of(const json_t *may)
{
	return json_is_true(json_object_get(may, "own"))     ? "owner"
	       : json_is_true(json_object_get(may, "write")) ? "write"
	       : json_is_true(json_object_get(may, "read"))  ? "read"
							     : "-";
}

static const char *time_of(const json_t *o, const char *key, char out[32])
{
	const json_t *v = json_object_get(o, key);
	time_t at = (time_t)js_num(o, key);
	struct tm tm;

	snprintf(out, 32, "%.31s", json_is_string(v) ? web_safe(json_string_value(v)) : "-");
	if (json_is_number(v) && at > 0 && localtime_r(&at, &tm))
		strftime(out, 32, "%Y-%m-%d %H:%M", &tm);
	return out;
}

static char *path_of(const char *name, const char *rest)
{
	char *path = NULL;

	return asprintf(&path, "/_/datasets/%s%s", web_part(name, false), rest) < 0 ? NULL : path;
}

/* ---- rules that go there --------------------------------------------------------------------- */

static char *read_rules(const char *path, size_t *len)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char *text = malloc(RULES_MAX + 1);

	*len = file && text ? fread(text, 1, RULES_MAX + 1, file) : 0;
	if (!file || ferror(file) || *len > RULES_MAX) {
		cmd_fail("%s: %s", path,
			 !file || ferror(file) ? strerror(errno) : "rules have at most 1 MiB");
		free(text);
		text = NULL;
	}
	if (file && file != stdin)
		fclose(file);
	return text;
}

/* The gateway's faults, each with the file before its line. */
static void print_faults(const json_t *said, const char *file)
{
	const json_t *fault;
	size_t i;

	json_array_foreach (json_object_get(said, "faults"), i, fault)
		fprintf(stderr, "%s:%s\n", file, web_safe(json_string_value(fault) ?: "?"));
}

static int send_rules(struct web *w, struct web_call *call, const char *file,
		      const struct dataset_flags *flags, const char *done)
{
	struct web_answer answer;
	int rc = web_ask(w, call, &answer);

	if (rc)
		return rc;
	if (answer.status / 100 != 2) {
		print_faults(answer.json, file);
		rc = web_fail(w, call->doing, 0, answer.status, answer.json, NULL);
	} else if (flags->json) {
		rc = cmd_print_json(json_incref(answer.json));
	} else {
		printf("%s: %s, generation %s\n", web_safe(js_text(answer.json, "name", "?")), done,
		       js_show(answer.json, "generation", 0));
	}
	web_answer_free(&answer);
	return rc;
}

static json_t *list_of(const char *const *names, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(names[i]));
	return list;
}

static int create_plain(struct web *w, const char *name, const struct dataset_flags *flags)
{
	struct web_call call = { .doing = "make the dataset",
				 .method = "POST",
				 .path = "/_/datasets" };

	call.json = json_pack("{s:s, s:s*, s:s*, s:o, s:o}", "dataset", name, "title", flags->title,
			      "owner", flags->owner, "readers",
			      list_of(flags->readers, flags->nreaders), "writers",
			      list_of(flags->writers, flags->nwriters));
	return send_rules(w, &call, name, flags, "made");
}

static int run_create(struct web *w, int n, char **words, const struct dataset_flags *flags)
{
	struct web_call call = { .doing = "make the dataset",
				 .method = "POST",
				 .type = "application/yaml" };
	char path[256], *text;
	int rc;

	if (n == 1)
		return create_plain(w, words[0], flags);
	if (flags->title || flags->owner || flags->nreaders || flags->nwriters)
		return cmd_fail(
			"title, owner, readers and writers stand in the rules when there are some");
	snprintf(path, sizeof(path), "/_/datasets?name=%.200s", web_part(words[0], false));
	text = read_rules(words[1], &call.len);
	if (!text)
		return CMD_FAILED;
	call.path = path;
	call.body = text;
	rc = send_rules(w, &call, words[1], flags, "made");
	free(text);
	return rc;
}

static int ask_dataset(struct web *w, const char *name, const char *doing, json_t **out)
{
	char *path = path_of(name, "");
	struct web_call call = { .doing = doing, .path = path };
	int rc = path ? web_json(w, &call, out) : cmd_fail("out of memory");

	free(path);
	return rc;
}

/* By the generation that the dataset has now, or had when the rules were taken: then a change by
 * another is not undone. */
static int run_set(struct web *w, int n, char **words, const struct dataset_flags *flags)
{
	char match[80] = "If-Match: *", *path = path_of(words[0], ""), *text;
	const char *headers[] = { match, NULL };
	struct web_call call = { .doing = "change the dataset",
				 .method = "PUT",
				 .path = path,
				 .type = "application/yaml",
				 .headers = headers };
	json_t *now = NULL;
	int rc = CMD_OK;

	(void)n;
	text = read_rules(words[1], &call.len);
	if (!text || !path)
		rc = CMD_FAILED;
	else if (flags->generation)
		snprintf(match, sizeof(match), "If-Match: \"%.20s\"", flags->generation);
	else if (!flags->force && !(rc = ask_dataset(w, words[0], call.doing, &now)))
		snprintf(match, sizeof(match), "If-Match: \"%s\"", js_show(now, "generation", 0));
	call.body = text;
	if (!rc)
		rc = send_rules(w, &call, words[1], flags, "changed");
	json_decref(now);
	free(text);
	free(path);
	return rc;
}

/* ---- what is there --------------------------------------------------------------------------- */

static int run_list(struct web *w, int n, char **words, const struct dataset_flags *flags)
{
	struct web_call call = { .doing = "list the datasets", .path = "/_/datasets" };
	json_t *said = NULL, *o;
	struct table *t;
	size_t i;
	int rc = web_json(w, &call, &said);

	(void)n, (void)words;
	if (!rc && flags->json)
		return cmd_print_json(said);
	if (!rc) {
		t = table_new("DATASET|TITLE|OWNER|YOU|FILES>|GENERATION>");
		json_array_foreach (json_object_get(said, "datasets"), i, o)
			table_row(t, web_safe(js_text(o, "name", "?")),
				  web_safe(js_text(o, "title", "")),
				  web_safe(js_text(o, "owner", "?")),
				  rights_of(json_object_get(o, "may") ? json_object_get(o, "may")
								      : o),
				  js_show(o, "files", 0), js_show(o, "generation", 0), NULL);
		table_print(t);
	}
	json_decref(said);
	return rc;
}

/* What a column must be, but for name, type and texts for people: "required, minimum 0". */
static const char *demands(const json_t *column, char out[256])
{
	const char *key;
	json_t *value;
	size_t n = 0;

	out[0] = '\0';
	json_object_foreach ((json_t *)column, key, value) {
		char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

		if (n < 256 && strcmp(key, "name") && strcmp(key, "type") && strcmp(key, "title") &&
		    strcmp(key, "description") && !json_is_false(value))
			n += (size_t)snprintf(out + n, 256 - n, "%s%s%s%s", n ? ", " : "", key,
					      json_is_true(value) ? "" : " ",
					      json_is_true(value) ? ""
								  : web_safe(text ? text : "?"));
		free(text);
	}
	return out;
}

static void print_dataset(const json_t *d)
{
	const json_t *rules = json_object_get(d, "rules"),
		     *columns = json_object_get(rules, "columns"), *c;
	char readers[512], writers[512], text[256];
	struct table *t;
	size_t i;

	printf("%s  %s\nowner       %s\nreaders     %s\nwriters     %s\ngeneration  %s\nyou may    "
	       " %s\n",
	       web_safe(js_text(d, "name", "?")), web_safe(js_text(d, "title", "")),
	       web_safe(js_text(d, "owner", "?")), names_of(json_object_get(d, "readers"), readers),
	       names_of(json_object_get(d, "writers"), writers), js_show(d, "generation", 0),
	       rights_of(json_object_get(d, "may")));
	if (!json_array_size(columns)) {
		puts("columns     no rules");
		return;
	}
	putchar('\n');
	t = table_new("COLUMN|TYPE|RULES");
	json_array_foreach (columns, i, c)
		table_row(t, web_safe(js_text(c, "name", "?")), js_text(c, "type", "any"),
			  demands(c, text), NULL);
	table_print(t);
}

static int run_show(struct web *w, int n, char **words, const struct dataset_flags *flags)
{
	json_t *said = NULL;
	int rc = ask_dataset(w, words[0], "show the dataset", &said);

	(void)n;
	if (!rc && flags->json)
		return cmd_print_json(said);
	if (!rc)
		print_dataset(said);
	json_decref(said);
	return rc;
}

static int run_rules(struct web *w, int n, char **words, const struct dataset_flags *flags)
{
	json_t *said = NULL;
	const char *yaml;
	int rc = ask_dataset(w, words[0], "read the rules", &said);

	(void)n;
	if (!rc && flags->json) {
		cmd_print_json(json_incref(json_object_get(said, "rules")));
	} else if (!rc) {
		yaml = js_text(said, "yaml", "");
		fputs(yaml, stdout);
		if (*yaml && yaml[strlen(yaml) - 1] != '\n')
			putchar('\n');
	}
	json_decref(said);
	return rc;
}

static int run_remove(struct web *w, int n, char **words, const struct dataset_flags *flags)
{
	char *path = path_of(words[0], flags->force ? "?force=1" : "");
	struct web_call call = { .doing = "remove the dataset",
				 .method = "DELETE",
				 .path = path,
				 .timeout_ms = 600000 };
	int rc = path ? web_json(w, &call, NULL) : CMD_FAILED;

	(void)n;
	free(path);
	if (rc)
		return rc;
	if (flags->json)
		return cmd_print_json(json_pack("{s:s, s:b}", "dataset", words[0], "removed", 1));
	printf("%s: removed\n", words[0]);
	return CMD_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static void print_files(const json_t *files)
{
	struct table *t = table_new("FILE|VERSION>|SIZE>|ROWS>|FINDINGS>|UPLOADED|BY");
	const json_t *f, *up;
	char size[16], at[32];
	size_t i;

	json_array_foreach (files, i, f) {
		up = json_object_get(f, "uploaded");
		table_row(t, web_safe(js_text(f, "file", "?")), js_show(f, "version", 0),
			  cmd_bytes((uint64_t)fmax(0, js_num(f, "size")), size),
			  js_show(f, "rows", 0), js_show(f, "findings", 0),
			  json_is_object(up) ? time_of(up, "at", at) : time_of(f, "uploaded", at),
			  web_safe(js_text(up, "by", js_text(f, "by", "-"))), NULL);
	}
	table_print(t);
}

static int all_files(struct web *w, const char *name, json_t *files)
{
	char after[4096] = "", query[4200];
	int rc;

	do {
		json_t *page = NULL;
		struct web_call call = { .doing = "list the files" };
		char *path;

		snprintf(query, sizeof(query), "/files?after=%s", after);
		path = path_of(name, *after ? query : "/files");
		call.path = path;
		rc = path ? web_json(w, &call, &page) : CMD_FAILED;
		free(path);
		json_array_extend(files, json_object_get(page, "files"));
		snprintf(after, sizeof(after), "%s", web_part(js_text(page, "next", ""), false));
		json_decref(page);
	} while (!rc && *after);
	return rc;
}

static int run_files(struct web *w, int n, char **words, const struct dataset_flags *flags)
{
	struct web_call call = { .doing = "read about the file" };
	json_t *files = n == 1 ? json_array() : NULL;
	char rest[4200], *path;
	int rc;

	if (n == 1) {
		rc = all_files(w, words[0], files);
	} else {
		snprintf(rest, sizeof(rest), "/files/%s", web_part(words[1], true));
		path = path_of(words[0], rest);
		call.path = path;
		rc = path ? web_json(w, &call, &files) : CMD_FAILED;
		free(path);
	}
	if (!rc && flags->json)
		return cmd_print_json(files);
	if (!rc && n == 2)
		dataset_print_file(files);
	else if (!rc)
		print_files(files);
	json_decref(files);
	return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct action actions[] = {
	{ "list", 0, 0, run_list },   { "create", 1, 2, run_create },
	{ "show", 1, 1, run_show },   { "rules", 1, 1, run_rules },
	{ "set", 2, 2, run_set },     { "remove", 1, 1, run_remove },
	{ "files", 1, 2, run_files },
};

static int run_action(const struct cmd *cmd, const struct cmd_options *opt, int n, char **words,
		      const struct dataset_flags *flags)
{
	struct web *w = NULL;
	int rc;

	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
		const struct action *a = &actions[i];

		if (strcmp(words[0], a->name))
			continue;
		if (n - 1 < a->least || n - 1 > a->most)
			return cmd_usage(cmd, "%s wants %s", a->name,
					 a->most == 0	? "no more words"
					 : a->most == 1 ? "the name of a dataset"
							: "a name and a file");
		rc = web_open(&w, opt, &flags->web, false);
		if (!rc)
			rc = a->run(w, n - 1, words + 1, flags);
		web_close(w);
		return rc;
	}
	return cmd_usage(cmd, "there is no `weir dataset %s`", words[0]);
}

int cmd_dataset(const struct cmd *cmd, int argc, char **argv)
{
	static char *list[] = { "list" };
	struct dataset_flags flags = { .json = false };
	const struct cmd_flag own[] = { WEB_FLAGS(flags.web),
					{ "--title", &flags.title, NULL },
					{ "--owner", &flags.owner, NULL },
					{ "--generation", &flags.generation, NULL },
					{ "--force", NULL, &flags.force },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n;

	flags.nreaders = cmd_take_all(&argc, argv, "--reader", flags.readers, NAMES_MAX);
	flags.nwriters = cmd_take_all(&argc, argv, "--writer", flags.writers, NAMES_MAX);
	n = cmd_parse(cmd, argc, argv, &opt, own);
	if (n < 0)
		return cmd_exit_of(n);
	if (flags.nreaders > NAMES_MAX || flags.nwriters > NAMES_MAX)
		return cmd_usage(cmd, "takes at most %d groups", NAMES_MAX);
	flags.json = opt.json;
	if (n > 0 && !strcmp(argv[0], "check"))
		return n == 3 ? dataset_check_file(argv[1], argv[2], opt.json)
			      : cmd_usage(cmd, "check wants rules and a file");
	return run_action(cmd, &opt, n ? n : 1, n ? argv : list, &flags);
}
