/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors that quote UDP, options, extension headers and fragments. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/bpf/packets.h"

static void quoted_udp(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++)
		for (uint16_t port = 50000; port < 50008; port++) {
			error_about(is6, is6 ? 2 : 3);
			frame_udp(&f, 80, port);
			frame_bytes(&f, NULL, 20);
			frame_end(&f);
			assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR),
					 owner_of(is6, IPPROTO_UDP, port));
		}
}

/* Ports behind the quoted packet's options; the outer lengths as they were set. */
static void quoted_options(void **state)
{
	(void)state;
	for (uint32_t n = 4; n <= 40; n += 4) {
		uint8_t options[40], ports[8] = { 0, 80, 50001 >> 8, 50001 & 255 };

		memset(options, 1, sizeof(options));
		error_about(false, 3);
		f.data[14 + 28] = (uint8_t)(0x45 + n / 4);
		frame_bytes(&f, options, n);
		frame_bytes(&f, ports, sizeof(ports));
		frame_end(&f);
		f.data[14 + 28 + 9] = IPPROTO_UDP;
		assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner_of(false, IPPROTO_UDP, 50001));
	}
}

static void quoted_chain(const uint8_t *types, int n, uint8_t last)
{
	const uint8_t ports[8] = { 0, 80, 50002 >> 8, 50002 & 255 };

	error_about(true, 2);
	f.data[14 + 48 + 6] = n ? types[0] : last;
	for (int i = 0; i < n; i++) {
		const uint8_t header[8] = { i + 1 < n ? types[i + 1] : last };

		frame_bytes(&f, header, sizeof(header));
	}
	frame_bytes(&f, ports, sizeof(ports));
	frame_end(&f);
}

static void quoted_extensions(void **state)
{
	static const uint8_t chain[] = { HOP, DEST, ROUTING, FRAGMENT, AUTH, DEST, DEST };

	(void)state;
	for (int n = 0; n <= 6; n++) {
		quoted_chain(chain, n, IPPROTO_UDP);
		assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner_of(true, IPPROTO_UDP, 50002));
	}
	quoted_chain(chain, 7, IPPROTO_UDP);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void quoted_later_fragment_passes(void **state)
{
	static const uint8_t chain[] = { FRAGMENT };

	(void)state;
	quoted_chain(chain, 1, IPPROTO_UDP);
	f.data[14 + 48 + 40 + 3] = 64;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void quoted_truncated_options(void **state)
{
	(void)state;
	error_about(false, 3);
	frame_bytes(&f, NULL, 8);
	frame_end(&f);
	f.data[14 + 28] = 0x4f;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

#define CASE(name) cmocka_unit_test_setup(name, four_backends)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(quoted_udp),
		CASE(quoted_options),
		CASE(quoted_extensions),
		CASE(quoted_later_fragment_passes),
		CASE(quoted_truncated_options),
	};

	return cmocka_run_group_tests_name("quoted", tests, edge_load, edge_unload);
}
