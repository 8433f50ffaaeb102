/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_node.h -- a node for tests of names: in this process, or as a child process that is asked
 * over HTTP. Nothing here returns an error that is not said: what goes wrong fails the test.
 *
 * The data of a version is an empty file DIR/data/VERSION: forget() removes it, fetch() makes it
 * when a holder has it.
 */
#ifndef WEIR_TESTS_NAMES_NODE_H
#define WEIR_TESTS_NAMES_NODE_H

#include "http/store/names_int.h"
#include "tests/unit/unit.h"

#define LEASE_S 2 /* of a node */

int64_t clock_ms(void);
void rest_ms(int ms);

/* A version that nobody has yet. */
void new_version(char out[33]);

/* A member's text, NULL when there is none; the object's own. */
const char *text_of(const json_t *o, const char *member);

struct child {
	char name[16], dir[128], top[64];
	struct registry *registry;
	struct httpc *httpc;
	struct reg_lease *lease;
	struct names *names;
	struct httpd *inside, *control;
};

/* Opens a node in this process; says the ports of its listeners, before anybody is told of it, by
 * `ready`. port: where the others reach its inside listener, 0: itself. */
void child_open(struct child *c, const char *name, const char *site, const char *top,
		const char *url, int port, void (*ready)(int inside, int control));

/* Ends it in good order; its folder stays. */
void child_close(struct child *c);

/* argv: node NAME SITE TOP REGISTRY INSIDE. Serves until standard input ends; says its ports on
 * standard output. */
int child_main(char **argv);

/* Waits until the expression is true; fails after so many seconds. */
#define wait_until(seconds, expression)                                                            \
	do {                                                                                       \
		int64_t until_ = clock_ms() + (seconds)*1000;                                      \
		while (!(expression)) {                                                            \
			if (clock_ms() > until_)                                                   \
				fail_msg("not within %d s: %s", (seconds), #expression);           \
			rest_ms(20);                                                               \
		}                                                                                  \
	} while (0)

#endif
