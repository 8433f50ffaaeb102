/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_conformance.h -- what the two files of the conformance program share: the client, the
 * server that it runs, and checks that print TAP.
 */
#ifndef WEIR_TESTS_REGISTRY_CONFORMANCE_H
#define WEIR_TESTS_REGISTRY_CONFORMANCE_H

#include <sys/types.h>

#include "lib/registry_internal.h"

#define ROOT "/weir/v1/test/"

extern struct registry *reg;
extern pid_t server_pid;

/* Polls until the condition holds or the time is over. */
#define wait_for(ms, condition)                                                                    \
	({                                                                                         \
		int64_t until_ = reg_now_ms() + (ms);                                              \
		while (!(condition) && reg_now_ms() < until_)                                      \
			nap(10);                                                                   \
		(condition);                                                                       \
	})

bool check(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void nap(int ms);
void server_start(void);
void server_kill(void);
bool server_answers(void);
/* Encodes the "@text" members of a request in place, and returns it. */
json_t *encode(json_t *o);
/* A request that must succeed; its answer. */
json_t *ask(const char *path, json_t *request);
int64_t revision_now(void);
bool has_value(const char *key, const char *value);
bool absent(const char *key);
bool refused(const char *path, json_t *request, const char *words);

/* registry_live.c: leases, watches, a registry that dies or is silent. */
void check_live(void);

#endif
