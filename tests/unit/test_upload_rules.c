// SPDX-License-Identifier: Apache-2.0
/*
 * rules: the documented form and Table Schemas mean what weir-dataset(5) says; every broken text of tests/rules is refused
 * at the line and key that its first line names; the normalised form is the same rules again; table, page and examples
 * agree.
 */
#include <dirent.h>
#include <errno.h>

#include "http/upload/pattern.h"
#include "http/upload/rules_table.h"
#include "tests/unit/unit.h"

static const char *top(void)
{
	const char *path = getenv("WEIR_TOP");

	return path ? path : ".";
}

/* A file below the top, terminated; in a static buffer that the next call uses again. */
static char *file_text(const char *name, size_t *len)
{
	static char text[200000];
	char path[600];
	FILE *f;

	snprintf(path, sizeof(path), "%.200s/%.300s", top(), name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s: cannot be opened", path);
	*len = fread(text, 1, sizeof(text) - 1, f);
	text[*len] = '\0';
	fclose(f);
	return text;
}

/* Parses; what was said is in a static buffer. */
static int parse(struct rules **rules, const char *text, size_t len, const char **said)
{
	static char *faults;
	size_t faults_len;
	FILE *out;
	int err;

	free(faults);
	out = open_memstream(&faults, &faults_len);
	err = rules_parse(rules, text, len, NULL, out);
	fclose(out);
	*said = faults;
	return err;
}

static struct rules *good(const char *text)
{
	struct rules *r = NULL;
	const char *said;

	if (parse(&r, text, strlen(text), &said))
		fail_msg("%s\n%s", said, text);
	assert_string_equal(said, "");
	return r;
}

/* The normalised form, parsed again, is itself. */
static void assert_round_trip(const struct rules *r)
{
	char *text = json_dumps(r->json, JSON_INDENT(2));
	struct rules *again = good(text);

	assert_true(json_equal(r->json, again->json));
	assert_int_equal(r->nfields, again->nfields);
	assert_int_equal(r->nrows, again->nrows);
	assert_int_equal(r->noutputs, again->noutputs);
	for (size_t i = 0; i < r->nfields; i++) {
		const struct field *a = &r->fields[i], *b = &again->fields[i];

		assert_string_equal(a->name, b->name);
		assert_true(a->type == b->type && a->format == b->format && a->required == b->required && a->unique == b->unique);
		assert_true(a->minimum_int == b->minimum_int && a->maximum_int == b->maximum_int && a->level == b->level);
		assert_true(a->nchoices == b->nchoices && a->min_length == b->min_length && a->max_length == b->max_length);
		assert_true(a->decimal == b->decimal && a->group == b->group && a->bare == b->bare && a->personal == b->personal);
	}
	rules_free(again);
	free(text);
}

static const struct field *field(const struct rules *r, const char *name)
{
	const struct field *f = rules_field(r, name, strlen(name));

	if (!f)
		fail_msg("no column %s", name);
	return f;
}

/* The example of the page, from the page itself: n-th literal display. */
static char *page_example(int n)
{
	size_t len;
	char *page = file_text("http/upload/weir-dataset.5", &len), *out, *end;

	for (; n >= 0; n--) {
		page = strstr(page, ".Bd -literal -offset indent\n");
		assert_non_null(page);
		page += strlen(".Bd -literal -offset indent\n");
	}
	end = strstr(page, ".Ed\n");
	assert_non_null(end);
	*end = '\0';
	out = strdup(page);
	return out;
}

static void the_documented_example(void **state)
{
	char *text = page_example(0);
	struct rules *r = good(text);
	const struct output *o;

	(void)state;
	assert_string_equal(r->name, "orders");
	assert_string_equal(r->owner, "ana");
	assert_int_equal(r->nreaders, 2);
	assert_int_equal(r->naccept, 2);
	assert_true(r->max_size == 2ull << 30 && r->max_rows == 50000000);
	assert_int_equal(r->dialect.delimiter, ';');
	assert_int_equal(r->dialect.header, 1);
	assert_int_equal(r->nfields, 9);
	assert_true(field(r, "order")->has_minimum && field(r, "order")->minimum_int == 1 && field(r, "order")->minimum == 1);
	assert_string_equal(field(r, "customer")->reference_dataset, "customers");
	assert_string_equal(field(r, "customer")->reference_column, "number");
	assert_true(field(r, "email")->format == FORMAT_EMAIL && field(r, "email")->personal);
	assert_true(field(r, "ordered")->format == FORMAT_PATTERN);
	assert_string_equal(field(r, "ordered")->time_pattern, "%d.%m.%Y");
	assert_int_equal(field(r, "status")->nchoices, 4);
	assert_string_equal(field(r, "status")->choices[0], "cancelled");
	assert_int_equal(field(r, "voucher")->level, FINDING_WARN);
	assert_int_equal(field(r, "order")->level, FINDING_QUARANTINE);
	assert_true(pattern_match(field(r, "voucher")->matcher, "ABC-0001", 8));
	assert_false(pattern_match(field(r, "voucher")->matcher, "ABC-0001x", 9));
	assert_true(field(r, "price")->decimal == ',' && field(r, "price")->group == '.');
	assert_int_equal(field(r, "gift")->ntrue, 2);
	assert_int_equal(r->nmissing, 3);
	assert_string_equal(r->missing_values[0], "");
	assert_int_equal(r->nprimary_key, 2);
	assert_int_equal(r->nrows, 2);
	assert_true(r->rows[0].level == FINDING_QUARANTINE && r->rows[1].level == FINDING_WARN);
	assert_true(r->tolerance.on_fault == FINDING_QUARANTINE && r->tolerance.max_faults == 10000);
	assert_true(r->tolerance.max_share > 0.0099 && r->tolerance.max_share < 0.0101);
	assert_int_equal(r->noutputs, 1);
	o = &r->outputs[0];
	assert_true(o->packing == PACK_ZSTD && o->format == OUTPUT_CSV && o->all_columns && o->filter);
	assert_string_equal(o->split, "status");
	assert_int_equal(o->ncolumns, 6); /* gift, price, customer, email, voucher, gross_price */
	assert_true(o->columns[0].masked && o->columns[0].mask == MASK_REMOVE);
	assert_string_equal(o->columns[1].name, "net_price");
	assert_string_equal(o->columns[1].from, "price");
	assert_true(o->columns[2].has_cast && o->columns[2].cast == FIELD_STRING);
	assert_true(o->columns[4].mask == MASK_TRUNCATE && o->columns[4].mask_keep == 3);
	assert_true(!o->columns[5].from && o->columns[5].expr);
	assert_round_trip(r);
	rules_free(r);
	free(text);
}

static void defaults(void **state)
{
	struct rules *r = good("columns: [{name: a}, {name: b, type: integer}]\ntransform: [{output: x.csv, keep: [b]}]\n");
	const struct field *f = field(r, "a");

	(void)state;
	assert_null(r->name);
	assert_true(r->max_size == 0 && r->max_rows == 0 && r->keep_versions == 3 && !r->exact_columns);
	assert_true(r->dialect.header == -1 && !r->dialect.delimiter && !r->dialect.quote && !r->dialect.comment && !r->dialect.encoding);
	assert_true(f->type == FIELD_ANY && !f->required && !f->unique && !f->has_minimum && f->min_length == 0 && f->max_length == UINT64_MAX);
	assert_true(f->decimal == '.' && !f->group && f->bare && f->level == FINDING_REJECT);
	assert_true(r->tolerance.on_fault == FINDING_REJECT && r->tolerance.max_faults == UINT64_MAX);
	assert_true(r->tolerance.max_share == 1.0 && r->tolerance.show == 1000 && !r->tolerance.stop);
	assert_true(r->nmissing == 1 && !*r->missing_values[0]);
	assert_true(!r->outputs[0].all_columns && r->outputs[0].ncolumns == 1);
	assert_int_equal(*r->mask_salt, 0);
	assert_round_trip(r);
	rules_free(r);
}

static void a_name_for_the_nameless(void **state)
{
	struct rules *r = NULL;

	(void)state;
	assert_int_equal(rules_parse(&r, "title: x\n", 9, "orders", NULL), 0);
	assert_string_equal(r->name, "orders");
	assert_string_equal(json_string_value(json_object_get(r->json, "dataset")), "orders");
	rules_free(r);
	assert_int_equal(rules_parse(&r, "dataset: other\n", 15, "orders", NULL), 0);
	assert_string_equal(r->name, "other");
	rules_free(r);
}

/* From the specification's pages, with what else they say of it. */
static const char schema[] =
	"{\"$schema\": \"https://example.org/x.json\", \"fields\": [\n"
	"  {\"name\": \"id\", \"type\": \"integer\", \"bareNumber\": false, \"groupChar\": \" \", \"constraints\": {\"required\": true, \"unique\": true, \"minimum\": 1}},\n"
	"  {\"name\": \"na\\u00efve \\ud83d\\ude00\", \"rdfType\": \"http://schema.org/Thing\", \"constraints\": {\"minLength\": 2, \"maxLength\": 5, \"pattern\": \"\\\\w+\"}},\n"
	"  {\"name\": \"born\", \"type\": \"date\", \"format\": \"any\", \"constraints\": {\"maximum\": \"2026-01-01\"}},\n"
	"  {\"name\": \"seen\", \"type\": \"datetime\", \"format\": \"%d/%m/%y %H:%M\"},\n"
	"  {\"name\": \"ok\", \"type\": \"boolean\", \"trueValues\": [\"ja\"], \"falseValues\": [\"nein\"]},\n"
	"  {\"name\": \"price\", \"type\": \"number\", \"decimalChar\": \",\", \"constraints\": {\"enum\": [\"1,5\", \"2\"]}},\n"
	"  {\"name\": \"where\", \"type\": \"geopoint\", \"format\": \"array\"},\n"
	"  {\"name\": \"shape\", \"type\": \"geojson\"}],\n"
	" \"missingValues\": [\"\", \"-99\"], \"primaryKey\": \"id\",\n"
	" \"foreignKeys\": [{\"fields\": [\"born\"], \"reference\": {\"resource\": \"days\", \"fields\": \"day\"}}],\n"
	" \"readers\": [\"everybody\"], \"unknown\": {\"x\": 1}}";

static void assert_schema(const struct rules *r)
{
	const struct field *f = field(r, "id");

	assert_int_equal(r->nfields, 8);
	assert_true(f->type == FIELD_INTEGER && f->required && f->unique && f->has_minimum && !f->bare && f->group == ' ');
	f = field(r, "naïve 😀");
	assert_true(f->type == FIELD_STRING && f->min_length == 2 && f->max_length == 5 && pattern_match(f->matcher, "abc", 3));
	f = field(r, "born");
	assert_true(f->type == FIELD_DATE && f->format == FORMAT_NONE && f->has_maximum && f->maximum_int == 20454);
	assert_string_equal(f->reference_dataset, "days");
	assert_string_equal(f->reference_column, "day");
	assert_int_equal(field(r, "seen")->format, FORMAT_PATTERN);
	assert_string_equal(field(r, "ok")->true_values[0], "ja");
	assert_true(field(r, "price")->decimal == ',' && field(r, "price")->nchoices == 2);
	assert_int_equal(field(r, "shape")->type, FIELD_OBJECT);
	assert_true(r->nmissing == 2 && r->nprimary_key == 1);
	assert_string_equal(r->readers[0], "everybody");
	assert_round_trip(r);
}

static void table_schemas_as_they_are(void **state)
{
	char *text = page_example(1), *wrapped;
	struct rules *r = good(text);

	(void)state;
	assert_true(field(r, "id")->unique && r->tolerance.on_fault == FINDING_WARN);
	rules_free(r);
	free(text);
	r = good(schema);
	assert_schema(r);
	rules_free(r);
	assert_true(asprintf(&wrapped, "{\"name\": \"x\", \"path\": \"x.csv\", \"dialect\": {\"delimiter\": \"|\", \"csvddfVersion\": 1.2}, \"schema\": %s}", schema) > 0);
	r = good(wrapped);
	assert_int_equal(r->dialect.delimiter, '|');
	assert_schema(r);
	rules_free(r);
	free(wrapped);
	assert_true(asprintf(&wrapped, "{\"title\": \"all\", \"resources\": [{\"schema\": %s}]}", schema) > 0);
	r = good(wrapped);
	assert_string_equal(r->title, "all");
	assert_schema(r);
	rules_free(r);
	free(wrapped);
	r = good("{\"fields\": [{\"name\": \"a\", \"title\": null, \"constraints\": {\"enum\": null, \"minLength\": null}}]}");
	assert_true(!r->fields[0].nchoices && r->fields[0].max_length == UINT64_MAX && !r->fields[0].title); /* null: not there */
	rules_free(r);
	r = good("fields:\n  - {name: a, type: year}\n"); /* YAML too */
	assert_int_equal(r->fields[0].type, FIELD_YEAR);
	rules_free(r);
}

/* ---- tests/rules: "# expect: LINE: KEY" on the first line ---- */

static int is_yaml(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > 5 && !strcmp(d->d_name + len - 5, ".yaml");
}

/* Returns 1 when the text is not refused as it says, with the reason on standard error. */
static int broken_file(const char *name)
{
	char want[200];
	const char *said;
	struct rules *r = NULL;
	size_t len;
	char *text = file_text(name, &len), *nl = strchr(text, '\n');
	int err;

	assert_non_null(nl);
	if (strncmp(text, "# expect: ", 10))
		fail_msg("%s: the first line is not \"# expect: LINE: KEY\"", name);
	snprintf(want, sizeof(want), "%.*s: ", (int)(nl - text - 10), text + 10);
	err = parse(&r, text, len, &said);
	/* One fault a text, so that each test means one thing; and it says what would be right. */
	if (err == -EINVAL && !strncmp(said, want, strlen(want)) && !strchr(said, '\n')[1] && (strchr(said, ';') || strchr(said, '?')))
		return 0;
	fprintf(stderr, "%s: %d: wanted %s\n%s", name, err, want, said);
	rules_free(r);
	return 1;
}

static int each_yaml(const char *folder, int (*fn)(const char *name), int *wrong)
{
	struct dirent **names;
	char path[600];
	int n;

	snprintf(path, sizeof(path), "%.200s/%.100s", top(), folder);
	n = scandir(path, &names, is_yaml, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%.100s/%.250s", folder, names[i]->d_name);
		*wrong += fn(path);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return n;
}

static void broken_files(void **state)
{
	int wrong = 0;

	(void)state;
	assert_true(each_yaml("tests/rules", broken_file, &wrong) >= 30);
	assert_int_equal(wrong, 0);
}

static int example_file(const char *name)
{
	const char *said;
	struct rules *r = NULL;
	size_t len;
	char *text = file_text(name, &len);

	if (parse(&r, text, len, &said)) {
		fprintf(stderr, "%s:\n%s", name, said);
		return 1;
	}
	assert_round_trip(r);
	rules_free(r);
	return 0;
}

static void examples(void **state)
{
	int wrong = 0;

	(void)state;
	assert_true(each_yaml("examples/datasets", example_file, &wrong) >= 1);
	assert_int_equal(wrong, 0);
}

static void all_faults_at_once_in_order(void **state)
{
	static const char text[] = "tittle: x\ncolumns:\n  - {name: a, type: integr}\n  - {title: b}\nrows:\n  - {rule: 'c > 1'}\nmax_size: many\n";
	static const char *const want[] = { "1: tittle: unknown key; did you mean \"title\"?", "3: columns[0].type: ", "4: columns[1].name: is missing",
					    "6: rows[0].rule: there is no column \"c\"", "7: max_size: " };
	const char *said;
	struct rules *r = NULL;

	(void)state;
	assert_int_equal(parse(&r, text, strlen(text), &said), -EINVAL);
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		if (strncmp(said, want[i], strlen(want[i])))
			fail_msg("%s, not %s", said, want[i]);
		said = strchr(said, '\n') + 1;
	}
	assert_string_equal(said, "");
}

static char *many(const char *begin, const char *part, size_t n, const char *end)
{
	size_t len = strlen(part);
	char *text = malloc(strlen(begin) + len * n + strlen(end) + 1), *p = stpcpy(text, begin);

	for (size_t i = 0; i < n; i++)
		p = mempcpy(p, part, len);
	strcpy(p, end);
	return text;
}

static void hostile_texts(void **state)
{
	static const struct { const char *begin, *part; size_t n; const char *end; } cases[] = {
		{ "title: ", "a", 1 << 20, "\n" },	       /* too large */
		{ "", "[", 100000, "" },		       /* too deep */
		{ "missing_values: [", "a,", 200000, "a]\n" }, /* too many values */
		{ "missing_values: [", "a,", 200, "a]\n" },    /* too many of these */
		{ "columns: [", "{name: a},", 1500, "]\n" },   /* too many columns */
		{ "x: ", "y: ", 30, "z\n" },
		{ "title: \"a\\0b\"", "\n", 1, "" },	       /* NUL */
		{ "title: \x1b[2J", "x", 1, "\n" },	       /* a terminal's commands */
		{ "title: \xff\xfe", "x", 1, "\n" },	       /* not UTF-8 */
		{ "\"\x1b[2J\\u001b\\u0007\": 1", "\n", 1, "" },
		{ "rows: [{rule: '", "(", 3000, "'}]\n" },
		{ "columns: [{name: a, pattern: '", "(a{1,90}", 5, ")))))'}]\n" },
		{ "columns: [", "{nam: a},", 1000, "]\n" }, /* more faults than are kept */
		{ "rows: [", "{rule: 'matches(a, \"x\") or matches(a, ''x'') or matches(a, ''y'')'},", 1, "]\n" },
		{ "columns: [{name: a}]\nrows: [", "{rule: \"matches(a, 'x') or matches(a, 'y')\"},", 101, "]\n" }, /* too many patterns */
		{ "{\"title\": \"\\ud83d\\", "u", 1, "\"}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = many(cases[i].begin, cases[i].part, cases[i].n, cases[i].end);
		struct rules *r = NULL;
		const char *said;

		if (parse(&r, text, strlen(text), &said) != -EINVAL)
			fail_msg("case %zu is taken", i);
		assert_true(*said && strlen(said) < 100000);
		for (const char *c = said; *c; c++)
			assert_true((unsigned char)*c >= ' ' || *c == '\n');
		free(text);
	}
}

static void seeds(void **state)
{
	static const char salt[] = "mask_salt: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
	struct rules *salted = good(salt), *plain = good("title: x\n");
	uint8_t a[16], b[16];

	(void)state;
	rules_seed(salted, a);
	rules_seed(salted, b);
	assert_memory_equal(a, b, 16);
	rules_seed(plain, a);
	rules_seed(plain, b);
	assert_memory_not_equal(a, b, 16);
	assert_round_trip(salted);
	assert_string_equal(json_string_value(json_object_get(salted->json, "mask_salt")), salted->mask_salt);
	rules_free(salted);
	rules_free(plain);
}

/* ---- the table and its documents ---- */

static void check_section(const struct rules_section *section, const char *page)
{
	char item[100];

	assert_true(section->nkeys <= 64);
	for (size_t i = 0; i < section->nkeys; i++) {
		const struct rules_key *key = &section->keys[i];
		char *line = NULL;

		assert_non_null(key->doc);
		assert_true(key->offset < section->size);
		if (key->hidden)
			continue;
		snprintf(item, sizeof(item), ".It Cm %s\n", key->name);
		if (!strstr(page, item))
			fail_msg("weir-dataset.5 does not have \"%s\"", item);
		if (key->fallback && (asprintf(&line, "default %s.", key->fallback) < 0 || !strstr(page, line)))
			fail_msg("weir-dataset.5 does not have the default \"%s\" of %s", key->fallback, key->name);
		free(line);
		if (key->type == RULES_SECTION)
			check_section(key->section, page);
	}
}

static void the_page_has_every_key(void **state)
{
	size_t len;

	(void)state;
	check_section(&rules_root, file_text("http/upload/weir-dataset.5", &len));
}

static void the_table_describes_itself(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	rules_describe(out);
	fclose(out);
	assert_non_null(strstr(text, "columns[].references.dataset\n"));
	assert_non_null(strstr(text, "one of warn | quarantine | reject; default reject"));
	assert_null(strstr(text, "mask_salt"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_documented_example), cmocka_unit_test(defaults), cmocka_unit_test(a_name_for_the_nameless),
		cmocka_unit_test(table_schemas_as_they_are), cmocka_unit_test(broken_files), cmocka_unit_test(examples),
		cmocka_unit_test(all_faults_at_once_in_order), cmocka_unit_test(hostile_texts), cmocka_unit_test(seeds),
		cmocka_unit_test(the_page_has_every_key), cmocka_unit_test(the_table_describes_itself),
	};

	return cmocka_run_group_tests_name("upload_rules", tests, NULL, NULL);
}
