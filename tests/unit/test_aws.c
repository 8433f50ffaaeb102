/* SPDX-License-Identifier: Apache-2.0 */
/* What ~/.aws and the variables of other S3 clients say, and whose key is left alone. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "tools/aws.h"

static char folder[128];

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *const variables[] = { "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
					 "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
					 "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE" };

static int setup(void **state)
{
	char path[256];

	(void)state;
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		unsetenv(variables[i]);
	unit_folder(folder, sizeof(folder));
	setenv("HOME", folder, 1);
	snprintf(path, sizeof(path), "%s/credentials", folder);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	snprintf(path, sizeof(path), "%s/config", folder);
	setenv("AWS_CONFIG_FILE", path, 1);
	write_file("credentials", "# mine\n[default]\naws_access_key_id = WEIRAAAA\naws_secret_access_key=s3/cret+=x\n"
				  "[work]\naws_access_key_id = WEIRBBBB\r\naws_secret_access_key = two\r\n"
				  "[cloud]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = theirs\n[half]\n"
				  "aws_access_key_id = WEIRCCCC\n");
	write_file("config", "[default]\nregion = us-east-1\nendpoint_url = https://one.example\n"
			     "[profile work]\ns3 =\n  endpoint_url = https://two.example\n  max_concurrent_requests = 5\n"
			     "[profile \"far away\"]\naws_access_key_id = WEIRDDDD\naws_secret_access_key = four\nservices = far\n"
			     "endpoint_url = https://wrong.example\n"
			     "[services far]\nec2 =\n  endpoint_url = https://wrong.example\ns3 =\n  endpoint_url = https://three.example\n");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unit_folder_remove(folder);
	return 0;
}

static void expect(const char *profile, const char *id, const char *secret, const char *url, bool chosen)
{
	struct aws_keys keys;

	assert_int_equal(aws_find(&keys, profile), 0);
	if (id) {
		assert_string_equal(keys.id, id);
		assert_string_equal(keys.secret, secret);
	} else {
		assert_null(keys.id);
		assert_null(keys.secret);
	}
	if (url)
		assert_string_equal(keys.url, url);
	else
		assert_null(keys.url);
	assert_int_equal(keys.chosen, chosen);
	aws_free(&keys);
}

static void test_profiles(void **state)
{
	(void)state;
	expect(NULL, "WEIRAAAA", "s3/cret+=x", "https://one.example", false);
	expect("work", "WEIRBBBB", "two", "https://two.example", true);
	expect("far away", "WEIRDDDD", "four", "https://three.example", true);
	expect("half", NULL, NULL, NULL, true);
	expect("none", NULL, NULL, NULL, true);
	setenv("AWS_PROFILE", "work", 1);
	expect(NULL, "WEIRBBBB", "two", "https://two.example", true);
	expect("default", "WEIRAAAA", "s3/cret+=x", "https://one.example", true);
	setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
	expect(NULL, "WEIRBBBB", "two", NULL, true);
	unsetenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
	unsetenv("AWS_PROFILE");
}

static void test_variables(void **state)
{
	(void)state;
	setenv("AWS_ACCESS_KEY_ID", "WEIREEEE", 1);
	expect(NULL, "WEIRAAAA", "s3/cret+=x", "https://one.example", false); /* half of it is none */
	setenv("AWS_SECRET_ACCESS_KEY", "five", 1);
	expect(NULL, "WEIREEEE", "five", "https://one.example", true);
	expect("work", "WEIRBBBB", "two", "https://two.example", true); /* what was asked for goes first */
	setenv("AWS_ENDPOINT_URL", "https://six.example", 1);
	expect(NULL, "WEIREEEE", "five", "https://six.example", true);
	setenv("AWS_ENDPOINT_URL_S3", "https://seven.example", 1);
	expect(NULL, "WEIREEEE", "five", "https://seven.example", true);
}

/* Another's secret is not ours to send anywhere. */
static void test_foreign(void **state)
{
	struct aws_keys keys;

	(void)state;
	assert_int_equal(aws_find(&keys, "cloud"), 0);
	assert_null(keys.id);
	assert_null(keys.secret);
	assert_string_equal(keys.foreign, "AKIAIOSFODNN7EXAMPLE");
	aws_free(&keys);
	setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "theirs", 1);
	assert_int_equal(aws_find(&keys, NULL), 0);
	assert_null(keys.secret);
	assert_non_null(keys.foreign);
	aws_free(&keys);
}

static void test_text(void **state)
{
	static const char text[] = "x = outside\n[a]\n; x = comment\nx=\n  x = inner\ny = 1 \n[b]\nx = 2\n[a b]\nx = 3";
	char *value;

	(void)state;
	assert_null(aws_value(text, "a", "x", NULL));
	value = aws_value(text, "a", "x", "x");
	assert_string_equal(value, "inner");
	free(value);
	value = aws_value(text, "a b", "x", NULL);
	assert_string_equal(value, "3");
	free(value);
	assert_null(aws_value(text, "b", "y", NULL));
	assert_null(aws_value("", "b", "y", NULL));
	assert_null(aws_value("[", "b", "y", NULL));
	assert_null(aws_value("[]\n=\n[b]\n=", "b", "y", NULL));
}

static void test_where_a_secret_goes(void **state)
{
	static const char *const good[] = { "https://gw.example",    "http://127.0.0.1",       "http://127.9.9.9:8001/x", "http://localhost",
					    "http://localhost:8001", "http://LocalHost/b?c",   "http://[::1]",		  "http://[::1]:80/" };
	static const char *const bad[] = { "http://gw.example",		    "http://127.evil.example",	  "http://127.0.0.1.evil.example",
					   "http://localhost.evil.example", "http://localhost@evil.example", "http://localhost:x@evil.example",
					   "http://127.0.0.1:80@evil",	    "http://[::1]evil.example",	  "http://[::1].evil.example",
					   "http://[::1",		    "http://128.0.0.1",		  "http://127.1",
					   "http://",			    "",				  "http",
					   "localhost",			    "http://localhost\\@evil.example" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (!aws_secret_may_go(good[i]))
			fail_msg("%s is this machine, or https", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (aws_secret_may_go(bad[i]))
			fail_msg("%s would get the secret", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_profiles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_variables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_where_a_secret_goes),
	};

	return cmocka_run_group_tests_name("aws", tests, NULL, NULL);
}
