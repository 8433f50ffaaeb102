/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of an origin to a target of HTTP/2: who waits for one. */
#include "tests/unit/tunnel_io.h"

#include "user/tunnel/h2.h"
#include "user/tunnel/origin.h"

static struct target_use uses[2];
static unsigned int woken;

static void on_again(struct target_use *use)
{
	assert_ptr_equal(use, &uses[woken]);
	woken++;
}

static void on_any(struct target_use *use)
{
	(void)use;
	woken++;
}

static void on_failed(void *arg, int err, const char *why)
{
	(void)arg, (void)err, (void)why;
}

/* The target's name has another address now: those who waited for this one ask again, in order. */
static void address_goes_while_it_is_dialled(void **state)
{
	struct h2_target_options opt = { .failed = on_failed };
	int listener = io_listen(&opt.dial.to);
	struct target_use *list = NULL;
	struct h2_target *target;
	struct end *back = NULL;

	(void)state;
	assert_int_equal(h2_target_new(&target, io_reactor, &opt), 0);
	for (int i = 0; i < 2; i++) {
		uses[i].again = on_again;
		assert_int_equal(h2_target_open(target, &uses[i], &back), -EAGAIN);
	}
	h2_target_free(target, &list);
	assert_int_equal(woken, 0);
	target_uses_wake(&list, 0);
	assert_int_equal(woken, 2);
	assert_null(list);
	for (int i = 0; i < 2; i++)
		target_use_stop(&uses[i]);
	close(listener);
}

/* The first request on a new connection may be a WebSocket's: whether the target takes that is told
 * by its SETTINGS, which come a moment later. */
static void websocket_comes_first(void **state)
{
	struct h2_target_options opt = { .failed = on_failed };
	const struct h2_options serving = { .server = true };
	struct target_use use = { .again = on_any, .websocket = true }, *list = NULL;
	int listener = io_listen(&opt.dial.to), fd;
	struct h2_target *target;
	struct end *back = NULL;
	struct h2 *server;
	struct conn *c;

	(void)state;
	woken = 0;
	assert_int_equal(h2_target_new(&target, io_reactor, &opt), 0);
	assert_int_equal(h2_target_open(target, &use, &back), -EAGAIN);
	io_until(woken); /* connected */
	assert_int_equal(h2_target_open(target, &use, &back), -EAGAIN);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_int_equal(conn_accept(&c, io_reactor, fd, NULL, &io_events, NULL), 0);
	assert_int_equal(h2_new(&server, c, &serving), 0);
	io_until(use.at == NULL && h2_target_open(target, &use, &back) == 0);
	back->ops->abort(back, END_CANCEL);
	h2_abort(server, "the test ends");
	h2_target_free(target, &list);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(address_goes_while_it_is_dialled, io_setup,
						io_teardown),
		cmocka_unit_test_setup_teardown(websocket_comes_first, io_setup, io_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
