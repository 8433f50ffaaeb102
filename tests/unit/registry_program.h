/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_program.h -- the real weir-registry beside the test, in a private folder, and a client of
 * it; for tests of archives that do not have the registry inside.
 */
#ifndef WEIR_TESTS_REGISTRY_PROGRAM_H
#define WEIR_TESTS_REGISTRY_PROGRAM_H

#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/registry.h"

struct registry_program {
	char folder[128], url[192], conf[192];
	pid_t pid;
	struct registry *reg;
};

/* Polls until the condition holds; a test fails after ten seconds. */
#define eventually(condition)                                                                      \
	do {                                                                                       \
		int left_ = 1000;                                                                  \
		while (!(condition) && left_--)                                                    \
			nanosleep(&(struct timespec){ 0, 10000000 }, NULL);                        \
		assert_true(condition);                                                            \
	} while (0)

static inline bool registry_program_answers(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	rc = connect(fd, (struct sockaddr *)&un, sizeof(un));
	close(fd);
	return rc == 0;
}

/* Starts it; also again, on the same folder. */
static inline void registry_program_run(struct registry_program *r)
{
	char bin[600];
	ssize_t n = readlink("/proc/self/exe", bin, sizeof(bin) - 40);

	assert_true(n > 0);
	bin[n] = '\0';
	strcpy(strrchr(bin, '/'), "/../bin/weir-registry");
	if (access(bin, X_OK)) {
		printf("1..0 # SKIP weir-registry is not built (%s)\n", bin);
		exit(77);
	}
	r->pid = fork();
	if (!r->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(bin, bin, "-c", r->conf, (char *)NULL);
		_exit(127);
	}
	eventually(registry_program_answers(r->url + strlen("unix:")));
}

static inline void registry_program_kill(struct registry_program *r)
{
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
}

static inline void registry_program_start(struct registry_program *r)
{
	struct conf_registry conf = { .url = r->url, .timeout_us = 2000000 };
	FILE *f;

	memset(r, 0, sizeof(*r));
	unit_folder(r->folder, sizeof(r->folder));
	snprintf(r->url, sizeof(r->url), "unix:%s/registry", r->folder);
	snprintf(r->conf, sizeof(r->conf), "%s/registry.yaml", r->folder);
	f = fopen(r->conf, "w");
	assert_non_null(f);
	fprintf(f,
		"node: reg\nuser: \"%d\"\nstate: state\nrun: run\nlog: error\n"
		"registry_server: {listen: [\"%s\"]}\n",
		(int)geteuid(), r->url);
	fclose(f);
	registry_program_run(r);
	assert_int_equal(registry_open(&r->reg, &conf), 0);
}

static inline void registry_program_stop(struct registry_program *r)
{
	registry_close(r->reg);
	registry_program_kill(r);
	unit_folder_remove(r->folder);
}

#endif
