/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset_check.c -- `weir dataset check` (dataset.h): the checker is the gateway's, in a process
 * of its own; what it tells comes as lines of JSON, {"finding":{…}}, {"type":{…}}, {"columns":[…]},
 * {"result":{…}}.
 */
#include "tools/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/web.h"

/* The program lies beside this one. */
static int find_checker(char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 16);

	if (n < 0)
		return -errno;
	path[n] = '\0';
	strcpy(strrchr(path, '/'), "/weir-gateway");
	return access(path, X_OK) ? -errno : 0;
}

/* Its standard output as a stream; NULL after saying why. */
static FILE *start(const char *program, const char *rules, const char *file, pid_t *pid)
{
	FILE *out = NULL;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC)) {
		cmd_fail("cannot start %s: %s", program, strerror(errno));
		return NULL;
	}
	*pid = fork();
	if (*pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		execl(program, "weir-gateway", "--check-file", rules, file, (char *)NULL);
		fprintf(stderr, "weir: cannot start %s: %s\n", program, strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	if (*pid > 0)
		out = fdopen(fds[0], "r");
	if (!out) {
		cmd_fail("cannot start %s: %s", program, strerror(errno));
		close(fds[0]);
	}
	return out;
}

static void take_line(json_t *all, const char *line, size_t len)
{
	json_t *o = json_loadb(line, len, 0, NULL), *value;
	const char *name;

	json_object_foreach (o, name, value) {
		if (!strcmp(name, "finding"))
			json_array_append(json_object_get(all, "findings"), value);
		else
			json_object_set(all, name, value);
	}
	json_decref(o);
}

static json_t *gather(FILE *from)
{
	json_t *all = json_pack("{s:[]}", "findings");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while ((n = getline(&line, &size, from)) > 0)
		take_line(all, line, (size_t)n);
	free(line);
	return all;
}

void dataset_print_findings(const json_t *findings)
{
	const json_t *f;
	struct table *t;
	size_t i;

	if (!json_array_size(findings))
		return;
	t = table_new("LEVEL|ROW>|COLUMN|RULE|VALUE|WHAT IS WRONG|HOW TO MEND");
	json_array_foreach (findings, i, f)
		table_row(t, web_safe(js_text(f, "level", "?")), js_show(f, "row", 0),
			  web_safe(js_text(f, "column", "")), web_safe(js_text(f, "rule", "?")),
			  web_safe(js_text(f, "value", "")), web_safe(js_text(f, "message", "")),
			  web_safe(js_text(f, "mend", "")), NULL);
	table_print(t);
}

static void print_result(const json_t *all)
{
	const json_t *findings = json_object_get(all, "findings"),
		     *result = json_object_get(all, "result");
	size_t n = json_array_size(findings);

	dataset_print_findings(findings);
	printf("%s: %s rows, %zu finding%s shown%s%s\n",
	       web_safe(js_text(result, "verdict", "not checked")), js_show(result, "rows", 0), n,
	       n == 1 ? "" : "s", *js_text(result, "why", "") ? "; " : "",
	       web_safe(js_text(result, "why", "")));
}

int dataset_check_file(const char *rules, const char *file, bool as_json)
{
	char program[PATH_MAX];
	int status = 0, rc = find_checker(program);
	json_t *all;
	FILE *out;
	pid_t pid;

	if (rc)
		return cmd_fail(
			"%s: %s; the checker is a part of weir-gateway, which lies beside weir",
			program, strerror(-rc));
	out = start(program, rules, file, &pid);
	if (!out)
		return CMD_FAILED;
	all = gather(out);
	fclose(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) {
		json_decref(all);
		return cmd_fail("%s could not be checked", file); /* the checker said why */
	}
	if (as_json)
		cmd_print_json(json_incref(all));
	else
		print_result(all);
	json_decref(all);
	return WEXITSTATUS(status) ? CMD_FAILED : CMD_OK;
}
