/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of an origin to a target of HTTP/2: who waits for one. */
#include "tests/unit/tunnel_io.h"

#include "user/tunnel/origin.h"

static struct target_use uses[2];
static unsigned int woken;

static void on_again(struct target_use *use)
{
	assert_ptr_equal(use, &uses[woken]);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(address_goes_while_it_is_dialled, io_setup,
						io_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
