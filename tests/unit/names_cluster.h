/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_cluster.h -- a small installation for tests: one real weir-registry and nodes as child
 * processes that can be killed, stopped and cut off. Everything of a node goes through a relay (its
 * inside listener as the others see it, and its way to the registry), so that a cut is a closed
 * connection. What goes wrong here fails the test; without a built weir-registry it is skipped.
 */
#ifndef WEIR_TESTS_NAMES_CLUSTER_H
#define WEIR_TESTS_NAMES_CLUSTER_H

#include <sys/types.h>

#include "tests/unit/names_node.h"
#include "tests/unit/relay.h"

#define NODES_MAX 4

struct cluster_node {
	char name[16], site[8];
	struct relay inside, registry;
	pid_t pid;	     /* 0: not running */
	int in;		     /* its standard input */
	_Atomic int control; /* its port */
};

struct cluster {
	char top[64], self[512], socket[104];
	pid_t registry;
	unsigned int n;
	struct cluster_node nodes[NODES_MAX];
	struct httpc *httpc;
};

/* The registry and n nodes, at sites a b a b. The test's main() must hand `node …` to child_main().
 */
void cluster_start(struct cluster *c, unsigned int n);

/* Ends all in good order, and removes the folder. */
void cluster_end(struct cluster *c);

/* The registry and a lone node, ep-0, in this process; cluster_end_lone() ends both. */
void cluster_start_lone(struct cluster *c, struct child *node);
void cluster_end_lone(struct cluster *c, struct child *node);

/* The registry anew, after it was killed. */
void registry_start(struct cluster *c);

void node_start(struct cluster *c, unsigned int i);
void node_kill(struct cluster *c, unsigned int i);

/* Asks a node (takes q). The result of the call there, -ENOTCONN when the node does not answer;
 * *answer may be NULL, else the caller frees it. */
int ask(struct cluster *c, unsigned int i, const char *what, json_t *q, json_t **answer);

/* The same for an object without data; `version` of a get() is untouched when there is none. */
int put(struct cluster *c, unsigned int i, const char *bucket, const char *key,
	const char *version);
int get(struct cluster *c, unsigned int i, const char *bucket, const char *key, char version[33]);
int del(struct cluster *c, unsigned int i, const char *bucket, const char *key);

/* The file that stands for the data. */
bool data_at(struct cluster *c, unsigned int i, const char *version);
void data_make(struct cluster *c, unsigned int i, const char *version);

/* Is everything of the bucket the same at both nodes? */
bool copies_same(struct cluster *c, unsigned int i, unsigned int k, const char *bucket);

/* The number of the node in a role as node i sees it, -1. */
int role_of(struct cluster *c, unsigned int i, const char *bucket, const char *role);

/* What node i has yet to tell others; UINT64_MAX when it does not answer. */
uint64_t outbox_of(struct cluster *c, unsigned int i);

#endif
