/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf_table.h -- how the table of weir.yaml is made; shared by conf*.c and their tests only.
 *
 * The table (conf_schema.c) says for each key its type, place, range, default and meaning. conf.c
 * walks a file along it, conf_value.c turns one scalar into one value, conf_check.c looks at what
 * keys mean together.
 */
#ifndef WEIR_CONF_TABLE_H
#define WEIR_CONF_TABLE_H

#include "lib/conf.h"

enum conf_type {
	CONF_TEXT,	/* char * */
	CONF_NAME,	/* char [CONF_NAME_MAX]: letters, digits, '.', '-', '_' */
	CONF_NAME_TEXT, /* char *, the same characters */
	CONF_INTERFACE, /* char * */
	CONF_DOMAIN,	/* char *: a DNS name, kept without the dot at the end */
	CONF_PATH,	/* char *, made absolute */
	CONF_FILE,	/* char *, made absolute; the file must exist */
	CONF_URL,	/* char *; a path behind "unix:" is made absolute */
	CONF_TIME,	/* uint64_t, microseconds */
	CONF_SIZE,	/* uint64_t, bytes */
	CONF_NUMBER,	/* uint32_t or unsigned int; with words (below min), the index of one */
	CONF_PORT,	/* uint16_t */
	CONF_REAL,	/* double > 0 */
	CONF_FRACTION,	/* double, 0 < x <= 1, written "5%" */
	CONF_RESERVE,	/* uint64_t bytes, followed by a double: a size or a fraction */
	CONF_WORD,	/* int: index into words */
	CONF_SWITCH,	/* bool: second of two words */
	CONF_ADDR,	/* struct addr */
	CONF_LISTEN,	/* struct addr_port without proto */
	CONF_SERVE,	/* struct addr_port with proto */
	CONF_PREFIX,	/* struct addr_prefix */
	CONF_NETWORKS,	/* char *: a network, or a file's path, made absolute; it must exist */
	CONF_RATE,	/* struct conf_rate */
	CONF_SECTION,	/* a struct of its own */
};

struct conf_section;

struct conf_key {
	const char *name;
	enum conf_type type;
	bool list, required;
	size_t offset;		  /* in the section's struct; list: of the pointer */
	size_t count_offset;	  /* list: of its size_t */
	uint64_t min, max;	  /* TIME, SIZE, NUMBER, PORT; max 0: the type's own */
	const char *fallback;	  /* as the file would say it; NULL: unset, or said in doc */
	const char *const *words; /* ends with NULL */
	const struct conf_section *section;
	const char *doc;
};

#define CONF_NO_FLAG ((size_t)-1)
#define CONF_KEYS_MAX 64 /* bits that mark what a section has */

struct conf_section {
	size_t size;	/* of its struct */
	size_t enabled; /* offset of a bool that says "it is there", or CONF_NO_FLAG */
	const struct conf_key *keys;
	size_t nkeys; /* at most CONF_KEYS_MAX */
};

extern const struct conf_section conf_root;

/* Memory of one configuration: freed together. */
struct conf_arena {
	struct conf_block *first;
};
void *conf_alloc(struct conf_arena *arena, size_t size); /* zeroed; NULL without memory */
void conf_arena_free(struct conf_arena *arena);

/* The bytes that a value of this type takes. */
size_t conf_type_size(const struct conf_key *key);
/* What the type looks like, for people: "a time such as 5s". */
const char *conf_type_words(const struct conf_key *key);

#define CONF_WHY_MAX 320

/* Turns text into the value at `at`. folder: where relative paths begin. 0, -ENOMEM, or -EINVAL
 * with "what is wrong; what would be right" in why. */
int conf_value_set(const struct conf_key *key, const char *text, const char *folder,
		   struct conf_arena *arena, void *at, char why[CONF_WHY_MAX]);

/* All faults of a file, and where its keys stand. Lines count from 1. */
struct conf_faults;
struct conf_faults *conf_faults_new(void);	   /* NULL without memory */
void conf_faults_free(struct conf_faults *faults); /* accepts NULL */
size_t conf_faults_count(const struct conf_faults *faults);
void conf_place_add(struct conf_faults *faults, const char *path, size_t line);
void conf_fault_at(struct conf_faults *faults, size_t line, const char *path, const char *sentence);
/* "FILE:LINE: KEY: SENTENCE" each, in the order of lines. out may be NULL. */
void conf_faults_print(struct conf_faults *faults, const char *path, FILE *out);

/* For checks: says a fault at a key's path ("agent.services[0].slots"); the line is found by the
 * path. */
void conf_fault(struct conf_faults *faults, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A key's path into buf, which is returned: "gateway.listen[2]", "agent.services[0].slots". */
#define CONF_PATH_LEN 96
const char *conf_item(char buf[CONF_PATH_LEN], const char *path, size_t i);
const char *conf_member(char buf[CONF_PATH_LEN], const char *path, const char *name);

/* All that one key alone cannot show. */
void conf_check(const struct conf *conf, struct conf_faults *faults);
/* Its part for the sections tunnels, edge, origin and authority (conf_check_tunnels.c). */
void conf_check_tunnels(const struct conf *conf, struct conf_faults *faults);
/* Its part for agent.nat (conf_check_nat.c). */
void conf_check_nat(const struct conf *conf, struct conf_faults *faults);
/* agent.announce (conf_check_options.c). */
void conf_check_announce(const struct conf_agent *a, struct conf_faults *faults);
/* Of a service's options (conf_check_options.c); path is its own. */
void conf_check_options(const struct conf_agent *a, size_t n, const char *path,
			struct conf_faults *faults);
/* Of a listener for daemons. */
void conf_check_inside(const struct conf *conf, const char *path, const struct addr_port *ap,
		       struct conf_faults *faults);
bool conf_is_set(const struct addr_port *ap);
bool conf_is_any(const struct addr *a); /* 0.0.0.0 or :: */

/* conf_load() for a text in memory: the fuzzer's and the tests' door. path names it in faults. */
int conf_load_text(struct conf **out, const char *text, size_t len, const char *path, FILE *faults);

#endif
