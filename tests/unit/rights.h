/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights.h -- a small company for tests of who may do what: groups team (member), crew (reads a/ of
 * plain), watch (auditor), keepers (steward) and chiefs (admin); users rita (crew), wanda (team),
 * aude (watch), stew (keepers), adam (chiefs, crew), olga, otto and mia; the datasets sales, which
 * is olga's, crew's to read and team's to write, and other, which is otto's. What goes wrong here
 * fails the test.
 */
#ifndef WEIR_TESTS_RIGHTS_H
#define WEIR_TESTS_RIGHTS_H

#include "tests/unit/registry_here.h"

#include "lib/token.h"

extern struct registry_here here;
extern struct users *users;

/* A group's setup and teardown. */
int rights_setup(void **state);
int rights_teardown(void **state);

/* A key of the registry. */
void put(const char *key, const char *value);

/* A session of somebody: everything that a token may say; issued at 500, until 1000. */
struct token_scope session(const char *name);

/* The same of somebody whom a provider knows, in these groups. */
struct token_scope person(const char *name, const char *groups);

/* Which of r w d l does somebody have on a key? The text lives until the next call. */
const char *rights_at(const struct token_scope *who, const char *bucket, const char *key);

/* The same of a session. */
const char *of(const char *name, const char *bucket, const char *key);

/* May a session of somebody ("": a stranger) do it, from 198.51.100.7? */
bool asks(const char *name, const char *action, const char *bucket, const char *key);

/* Gives the bucket a policy of these statements; "": takes it away. */
void policy(const char *bucket, const char *statements);

#define ALLOW(who, what, on)                                                                       \
	"{\"Effect\":\"Allow\",\"Principal\":" who ",\"Action\":\"" what                           \
	"\",\"Resource\":\"arn:aws:s3:::" on "\"}"
#define DENY(who, what, on)                                                                        \
	"{\"Effect\":\"Deny\",\"Principal\":" who ",\"Action\":\"" what                            \
	"\",\"Resource\":\"arn:aws:s3:::" on "\"}"
#define USER(name)  "{\"AWS\":\"arn:aws:iam::weir:user/" name "\"}"
#define GROUP(name) "{\"AWS\":\"arn:aws:iam::weir:group/" name "\"}"

#endif
