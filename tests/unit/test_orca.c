/* SPDX-License-Identifier: Apache-2.0 */
/* orca.c: both forms are read, formatting is read back, and nothing malformed or unbounded passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/orca.h"

static void near(double got, double want)
{
	assert_true(fabs(got - want) < 1e-9);
}

static void reads_text(void **state)
{
	struct orca_report r;

	(void)state;
	assert_int_equal(orca_parse(&r, "TEXT cpu_utilization=0.3, mem_utilization = 0.8,"
					"rps_fractional=12.5, eps=1, named_metrics.inflight=4,"
					"unknown_thing=7"), 0);
	near(r.cpu_utilization, 0.3);
	near(r.mem_utilization, 0.8);
	near(r.rps_fractional, 12.5);
	near(r.eps, 1);
	assert_true(isnan(r.application_utilization));
	near(orca_named_get(&r, "inflight"), 4);
	assert_true(isnan(orca_named_get(&r, "unknown_thing")));
	assert_int_equal(r.nnamed, 1);
}

static void reads_json(void **state)
{
	struct orca_report r;

	(void)state;
	assert_int_equal(orca_parse(&r, "JSON {\"cpu_utilization\":0.3,\"eps\":0,\"x\":\"y\","
					"\"named_metrics\":{\"inflight\":4,\"latency_ms\":1.5}}"), 0);
	near(r.cpu_utilization, 0.3);
	near(orca_named_get(&r, "latency_ms"), 1.5);
	assert_int_equal(orca_parse(&r, "json {\"cpuUtilization\":1.1,\"utilization\":{\"q\":0.2}}"), 0);
	near(r.cpu_utilization, 1.1);
	near(orca_named_get(&r, "q"), 0.2);
}

static void formats_what_it_reads(void **state)
{
	struct orca_report r, again;
	char buf[ORCA_TEXT_MAX];

	(void)state;
	orca_clear(&r);
	r.cpu_utilization = 0.25;
	r.rps_fractional = 1234.5;
	orca_named_set(&r, "inflight", 3);
	orca_named_set(&r, "inflight", 4);
	orca_named_set(&r, "nothing", NAN);
	assert_string_equal(orca_format(&r, buf),
			    "TEXT cpu_utilization=0.25, rps_fractional=1234.5, named_metrics.inflight=4");
	assert_int_equal(orca_parse(&again, buf), 0);
	near(again.rps_fractional, 1234.5);
	near(orca_named_get(&again, "inflight"), 4);
}

static void refuses_malformed(void **state)
{
	static const char *const bad[] = {
		"", "TEXT", "XML a=1", "TEXT cpu_utilization", "TEXT =1", "TEXT cpu_utilization=",
		"TEXT cpu_utilization=x", "TEXT cpu_utilization=1x", "TEXT cpu_utilization=-0.1",
		"TEXT cpu_utilization=nan", "TEXT cpu_utilization=inf", "TEXT a b=1",
		"JSON", "JSON []", "JSON {\"cpu_utilization\":-1}", "JSON {", "JSON {\"eps\":1e300}",
		"JSON {\"named_metrics\":{\"a\":\"b\"}}", "JSON {\"named_metrics\":{\"a\":-2}}",
	};
	struct orca_report r;

	(void)state;
	orca_clear(&r);
	r.eps = 42;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (orca_parse(&r, bad[i]) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
		near(r.eps, 42);
	}
}

static void bounds_names_and_length(void **state)
{
	char text[9000] = "TEXT ", buf[ORCA_TEXT_MAX], name[64];
	struct orca_report r;

	(void)state;
	for (int i = 0; i < 100; i++)
		sprintf(text + strlen(text), "named_metrics.metric_with_a_rather_long_name_%02d=%d,", i, i);
	assert_int_equal(orca_parse(&r, text), 0);
	assert_int_equal(r.nnamed, ORCA_NAMED_MAX);
	orca_format(&r, buf);
	assert_true(strlen(buf) < ORCA_TEXT_MAX);
	assert_int_equal(orca_parse(&r, buf), 0);
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	orca_clear(&r);
	orca_named_set(&r, name, 1);
	orca_named_set(&r, "with space", 1);
	orca_named_set(&r, "line\r\nbreak", 1);
	assert_int_equal(r.nnamed, 0);
	memset(text, ' ', sizeof(text) - 1);
	memcpy(text + 100, "TEXT eps=1,", 11);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(orca_parse(&r, text), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_text),
		cmocka_unit_test(reads_json),
		cmocka_unit_test(formats_what_it_reads),
		cmocka_unit_test(refuses_malformed),
		cmocka_unit_test(bounds_names_and_length),
	};

	return cmocka_run_group_tests_name("orca", tests, NULL, NULL);
}
