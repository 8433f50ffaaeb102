/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of tus, and forms: what is one, what is none, what it says. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "http/upload/tus.h"
#include "lib/form.h"

static void numbers(void **state)
{
	uint64_t n = 7;

	(void)state;
	assert_int_equal(tus_number(&n, "0"), 0);
	assert_int_equal(n, 0);
	assert_int_equal(tus_number(&n, "9223372036854775807"), 0);
	assert_true(n == INT64_MAX);
	assert_int_equal(tus_number(&n, "9223372036854775808"), -EINVAL);
	assert_int_equal(tus_number(&n, ""), -EINVAL);
	assert_int_equal(tus_number(&n, NULL), -EINVAL);
	assert_int_equal(tus_number(&n, "-1"), -EINVAL);
	assert_int_equal(tus_number(&n, " 1"), -EINVAL);
	assert_int_equal(tus_number(&n, "1x"), -EINVAL);
}

static void metadata(void **state)
{
	char out[16];

	(void)state;
	assert_int_equal(tus_metadata_check("filename YS5jc3Y=,dataset c2FsZXM=,flag"), 0);
	assert_int_equal(tus_metadata_check(""), 0);
	assert_int_equal(tus_metadata_check("a YQ==,a Yg=="), -EINVAL);
	assert_int_equal(tus_metadata_check("a YQ==,"), -EINVAL);
	assert_int_equal(tus_metadata_check("a\xff YQ=="), -EINVAL);
	assert_int_equal(tus_metadata_check("a \xc3\xa4"), -EINVAL);
	assert_int_equal(tus_metadata_check(",a YQ=="), -EINVAL);
	assert_int_equal(tus_metadata_check("a YQ== x"), -EINVAL);
	assert_int_equal(tus_metadata("filename YS5jc3Y=,dataset c2FsZXM=", "dataset", out, sizeof(out)), 5);
	assert_string_equal(out, "sales");
	assert_int_equal(tus_metadata("filename YS5jc3Y=, dataset c2FsZXM=", "filename", out, sizeof(out)), 5);
	assert_int_equal(tus_metadata("flag", "flag", out, sizeof(out)), 0);
	assert_int_equal(tus_metadata("flag", "data", out, sizeof(out)), -ENOENT);
	assert_int_equal(tus_metadata("dataset !!!!", "dataset", out, sizeof(out)), -EINVAL);
	assert_int_equal(tus_metadata("dataset YQBi", "dataset", out, sizeof(out)), -EINVAL); /* a NUL b */
	assert_int_equal(tus_metadata("dataset MDEyMzQ1Njc4OWFiY2RlZg==", "dataset", out, sizeof(out)), -EINVAL); /* 16 */
}

static void checksums(void **state)
{
	struct tus_checksum sum;
	struct tus_digest *d;
	char header[120];
	/* "abc" of each: FIPS 180, RFC 1321, and zlib */
	static const char *const good[] = { "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",
					    "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
					    "md5 kAFQmDzST7DWlj99KOF/cg==", "crc32 NSRBwg==" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(tus_checksum_parse(&sum, good[i]), 0);
		for (int same = 0; same < 2; same++) {
			d = tus_digest_new(sum.algorithm);
			tus_digest_add(d, "a", 1);
			tus_digest_add(d, same ? "bc" : "bd", 2);
			assert_int_equal(tus_digest_is(d, &sum), same);
			tus_digest_free(d);
		}
	}
	assert_int_equal(tus_checksum_parse(&sum, "sha9 AAAA"), -ENOTSUP);
	assert_int_equal(tus_checksum_parse(&sum, "md5"), -EINVAL);
	assert_int_equal(tus_checksum_parse(&sum, ""), -EINVAL);
	snprintf(header, sizeof(header), "md5 %s", "NSRBwg==");
	assert_int_equal(tus_checksum_parse(&sum, header), -EINVAL); /* another length */
}

static void concatenation(void **state)
{
	static struct tus_parts parts;
	enum tus_concat kind;

	(void)state;
	assert_int_equal(tus_concat_parse(&kind, &parts, "partial"), 0);
	assert_int_equal(kind, TUS_PARTIAL);
	assert_int_equal(tus_concat_parse(&kind, &parts, "final;/_/tus/a1 https://h/_/tus/b2"), 0);
	assert_int_equal(kind, TUS_FINAL);
	assert_int_equal(parts.n, 2);
	assert_string_equal(parts.id[0], "a1");
	assert_string_equal(parts.id[1], "b2");
	assert_int_equal(tus_concat_parse(&kind, &parts, "final;"), -EINVAL);
	assert_int_equal(tus_concat_parse(&kind, &parts, "final;/_/tus/"), -EINVAL);
	assert_int_equal(tus_concat_parse(&kind, &parts, "whole"), -EINVAL);
	assert_int_equal(tus_concat_parse(&kind, &parts,
					  "final;/0123456789012345678901234567890123456789012345678"),
			 -EINVAL);
}

static void dates(void **state)
{
	char buf[32];

	(void)state;
	assert_string_equal(tus_date(784111777, buf), "Sun, 06 Nov 1994 08:49:37 GMT");
}

/* ---- forms ---- */

struct told {
	char text[600];
	size_t len;
	int stop;
};

static void say(struct told *t, const char *text, size_t len)
{
	if (t->len + len < sizeof(t->text)) {
		memcpy(t->text + t->len, text, len);
		t->len += len;
		t->text[t->len] = '\0';
	}
}

static int on_part(void *arg, const char *name, const char *filename)
{
	say(arg, "<", 1);
	say(arg, name, strlen(name));
	if (filename) {
		say(arg, "|", 1);
		say(arg, filename, strlen(filename));
	}
	say(arg, ">", 1);
	return ((struct told *)arg)->stop;
}

static int on_data(void *arg, const void *data, size_t len)
{
	say(arg, data, len);
	return 0;
}

static int on_end(void *arg)
{
	say(arg, ";", 1);
	return 0;
}

/* The form in pieces of so many bytes: what was told, or the error. */
static const char *read_form(const char *body, size_t piece)
{
	static struct told t;
	struct form_sink sink = { on_part, on_data, on_end, &t };
	struct form *form;
	int rc = 0;

	memset(&t, 0, sizeof(t));
	assert_int_equal(form_new(&form, "multipart/form-data; boundary=\"b 1\"", &sink), 0);
	for (size_t at = 0; !rc && at < strlen(body); at += piece) {
		size_t rest = strlen(body) - at;

		rc = form_feed(form, body + at, rest < piece ? rest : piece);
	}
	if (!rc)
		rc = form_end(form);
	form_free(form);
	return rc ? "fault" : t.text;
}

#define HEAD(more) "Content-Disposition: form-data; name=\"" more "\r\n\r\n"

static void forms(void **state)
{
	static const struct {
		const char *body, *told;
	} all[] = {
		{ "--b 1\r\n" HEAD("csrf\"") "abc\r\n--b 1\r\n" HEAD("file\"; filename=\"a.csv\"") "x\r\ny\r\n\r\n--b 1--\r\n",
		  "<csrf>abc;<file|a.csv>x\r\ny\r\n;" },
		{ "preamble\r\n--b 1\r\n" HEAD("a\"") "\r\n--b 1--epilogue", "<a>;" },
		{ "--b 1  \r\n" HEAD("a\"") "\r\r\n\r\n-\r\n--b\r\n--b 2\r\n--b 1--", "<a>\r\r\n\r\n-\r\n--b\r\n--b 2;" },
		{ "--b 1\r\ncontent-type: x/y\r\ncontent-disposition: form-data; filename=x; name=y\r\n\r\n--b 1--", "<y|x>;" },
		{ "--b 1\r\n" HEAD("a\\\"b\"") "1\r\n--b 1--", "<a\"b>1;" },
		{ "--b 1\r\n" HEAD("a\"") "no end", "fault" },
		{ "--b 1\r\nNo-Disposition: 1\r\n\r\nx\r\n--b 1--", "fault" },
		{ "--b 1x\r\n" HEAD("a\"") "x\r\n--b 1--", "fault" },
		{ "", "fault" },
		{ "--b 1--", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (size_t piece = 1; piece < 90; piece++)
			assert_string_equal(read_form(all[i].body, piece), all[i].told);
}

static void form_limits(void **state)
{
	static struct told t;
	struct form_sink sink = { on_part, on_data, on_end, &t };
	static const char *const types[] = { "multipart/form-data", "multipart/form-data; boundary=", "text/plain; boundary=x",
					     "multipart/form-data-x; boundary=x",
					     ("multipart/form-data; "
					      "boundary=01234567890123456789012345678901234567890123456789012345678901234567890") };
	struct form *form;
	char line[100];

	(void)state;
	assert_int_equal(form_new(&form, NULL, &sink), -EINVAL);
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		assert_int_equal(form_new(&form, types[i], &sink), -EINVAL);
	/* a part's head that has no end */
	assert_int_equal(form_new(&form, "multipart/form-data; boundary=x", &sink), 0);
	assert_int_equal(form_feed(form, "--x\r\n", 5), 0);
	memset(line, 'h', sizeof(line));
	for (int i = 0; i < 80; i++)
		assert_int_equal(form_feed(form, line, sizeof(line)), 0);
	for (int i = 0; i < 4; i++)
		form_feed(form, line, sizeof(line));
	assert_int_equal(form_feed(form, line, 1), -EBADMSG);
	form_free(form);
	/* what the sink returns ends it */
	t.stop = -EACCES;
	assert_int_equal(form_new(&form, "multipart/form-data; boundary=x", &sink), 0);
	assert_int_equal(form_feed(form, "--x\r\n" HEAD("a\"") "1", strlen("--x\r\n" HEAD("a\"") "1")), -EACCES);
	form_free(form);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),	 cmocka_unit_test(metadata), cmocka_unit_test(checksums),
		cmocka_unit_test(concatenation), cmocka_unit_test(dates),    cmocka_unit_test(forms),
		cmocka_unit_test(form_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
