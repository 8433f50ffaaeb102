/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules_table.h -- how the table of a dataset's rules is made; shared by rules*.c and their tests only.
 *
 * rules_tree.c reads YAML or JSON into nodes that know their lines; rules_frictionless.c turns a Table Schema's nodes
 * into those of weir's own form; rules_load.c walks the nodes along the table of rules_schema.c; rules_check.c looks at
 * what keys mean together and makes what is compiled (expressions, patterns, bounds, outputs).
 */
#ifndef WEIR_UPLOAD_RULES_TABLE_H
#define WEIR_UPLOAD_RULES_TABLE_H

#include "http/upload/expr.h"
#include "http/upload/rules.h"

#define RULES_BYTES_MAX	  (1u << 20)
#define RULES_NODES_MAX	  100000u
#define RULES_DEPTH_MAX	  16u
#define RULES_COLUMNS_MAX 1024u
#define RULES_CHOICES_MAX 20000u
#define RULES_TEXT_MAX	  4096u
#define RULES_PATTERNS_MAX 200u /* of columns and matches(); each may take milliseconds to make */
#define RULES_GUESSES_MAX 50u /* so many faults say what was meant; it takes a look at every column */
#define RULES_REFS_MAX	  64u /* a worker is handed so many key sets, and so many spill files (pipeline.h) */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

/* One value of the text. Children are a list in the order of the text. */
struct node {
	enum node_kind kind;
	bool quoted; /* a scalar in quotes: never null, a number or a word */
	size_t line, n; /* n: children */
	size_t index;	/* in the parent's list */
	const char *name; /* in the parent's map, else NULL */
	char *text;	  /* of a scalar, terminated, without NUL */
	struct node *parent, *first, *last, *next;
	const struct node *as; /* rewritten: where it stands in the text (paths of faults), else NULL */
};

/* Memory of one rules file, freed together. */
struct rules_arena { struct rules_block *first; };
void *rules_alloc(struct rules_arena *arena, size_t size); /* zeroed; NULL without memory */
char *rules_copy(struct rules_arena *arena, const char *text);
void rules_arena_free(struct rules_arena *arena);

struct rules_faults {
	struct rules_arena *arena;
	struct rules_fault { size_t line, order; char *text; } list[200];
	size_t n, left_out;
	bool no_memory;
};
/* Says a fault of the node, or of its member `name` that is missing (may be NULL). */
void rules_fault(struct rules_faults *faults, const struct node *node, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void rules_fault_at(struct rules_faults *faults, size_t line, const char *path, const char *sentence);
void rules_faults_print(struct rules_faults *faults, FILE *out);

/* NULL with faults. */
struct node *rules_tree(struct rules_arena *arena, const char *text, size_t len, struct rules_faults *faults);
struct node *node_member(const struct node *map, const char *name); /* NULL: not there */
struct node *node_new(struct rules_arena *arena, enum node_kind kind, const struct node *as);
void node_add(struct node *parent, struct node *child, const char *name);
bool node_null(const struct node *node); /* null, ~ or nothing, without quotes */

bool rules_is_frictionless(const struct node *root);
struct node *rules_frictionless(struct rules_arena *arena, struct node *root, struct rules_faults *faults);

enum rules_type {
	RULES_TEXT,    /* char * */
	RULES_NAME,    /* char *: a column's name */
	RULES_DATASET, /* char *: a dataset's name */
	RULES_PRINCIPAL, /* char *: a user's or group's name */
	RULES_ACCEPT,  /* char *: a file type */
	RULES_WORD,    /* int: index into words */
	RULES_SWITCH,  /* bool */
	RULES_TRISTATE, /* int: 1 yes, 0 no, -1 auto */
	RULES_SIZE,    /* uint64_t bytes */
	RULES_COUNT,   /* uint64_t */
	RULES_SMALL,   /* unsigned int */
	RULES_SHARE,   /* double: "1%" */
	RULES_CHAR,    /* char: one ASCII character, "tab", "none" */
	RULES_BOUND,   /* char *: a value of the column's type, checked later */
	RULES_EXPR,    /* char *: an expression, compiled later */
	RULES_HEX,     /* char [65] */
	RULES_MAP,     /* struct rules_pair [] */
	RULES_SECTION, /* a struct of its own */
};

struct rules_pair { char *name, *value; const struct node *node; };

struct rules_key {
	const char *name;
	enum rules_type type;
	bool list, required, hidden /* not for people: not described */;
	size_t offset, count_offset;
	uint64_t min, max; /* COUNT, SIZE, SMALL; of lists: max is their most items; of TEXT: characters' bytes */
	const char *fallback;
	const char *const *words;
	const struct rules_section *section;
	const char *doc;
};

#define RULES_NO_NODE ((size_t)-1)
struct rules_section {
	size_t size, node; /* node: offset of a const struct node * that remembers where it stands */
	const struct rules_key *keys;
	size_t nkeys; /* at most 64 */
};
extern const struct rules_section rules_root;
extern const char *const rules_format_words[];
const char *rules_type_words(const struct rules_key *key);

/* What the table fills; rules_check.c makes struct rules of it. */
struct field_source {
	struct field f;
	const struct node *node;
	char *format, *minimum, *maximum;
	char *pattern;
	int level; /* 0: not said, else 1 + enum finding_level */
	struct { char *dataset, *column; const struct node *node; } reference;
};
struct row_source {
	struct row_rule r;
	const struct node *node;
	int level;
};
struct output_source {
	struct output o;
	const struct node *node;
	struct rules_pair *rename, *cast, *derive, *mask;
	size_t nrename, ncast, nderive, nmask;
	char **drop, **keep;
	size_t ndrop, nkeep;
};
struct rules_file {
	struct rules rules; /* first: rules_free() finds the rest by it */
	struct rules_arena arena;
	struct field_source *fields;
	struct row_source *rows;
	struct output_source *outputs;
	size_t nfields, nrows, noutputs;
	size_t npatterns;
	const struct node *root;
};

/* Fills `file` along the table and returns the normalised form (a new reference; NULL without memory). */
json_t *rules_load(struct rules_file *file, struct node *root, struct rules_faults *faults);
/* One scalar. *json gets its normal form. 0, -EINVAL with why, -ENOMEM. */
#define RULES_WHY_MAX 320
int rules_value_set(const struct rules_key *key, const struct node *node, struct rules_arena *arena, void *at,
		    json_t **json, char why[RULES_WHY_MAX]);
size_t rules_type_size(const struct rules_key *key);
int rules_check(struct rules_file *file, struct rules_faults *faults);
/* Counts n patterns more; false when there are too many, which is said once. */
bool rules_patterns(struct rules_file *file, size_t n, const struct node *node, struct rules_faults *faults);
/* Compiles an expression over the columns; truth: it must be true or false. NULL with a fault. */
struct expr *rules_expr(struct rules_file *file, const struct node *node, const char *text, bool truth,
			struct rules_faults *faults);
int rules_check_outputs(struct rules_file *file, struct rules_faults *faults);

#endif
