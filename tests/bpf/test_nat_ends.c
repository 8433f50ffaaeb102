/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translation: which RST and which FIN end a connection's entry. All are passed on; a forged one must not
 * shorten the entry's life, a true one must, whatever was on its way, lost or repeated.
 */
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/bpf/nat.h"

#define MIB (1u << 20)
enum { OPEN = 3600, CLOSING = 5 }; /* lives */

static uint16_t port;

static int begin(void **state)
{
	start(state);
	port = connect_from(CLIENT, 40000);
	return 0;
}

/* A segment passes, as it is: who forges one is no worse off than with a plain router. */
static void client(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload)
{
	tcp(&f, CLIENT, 40000, VIP, 80, flags, seq, ack, payload, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	tcp(&want, NAT, port, B1, 80, flags, seq, ack, payload, 60);
	link_to(&want, 1, 4, 1);
	expect_frame();
}

static void server(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload)
{
	answer(port, flags, seq, ack, payload);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&want, VIP, 80, CLIENT, 40000, flags, seq, ack, payload, 60);
	link_to(&want, 0x0b, 2, 0x0a);
	expect_frame();
}

static uint32_t life(void)
{
	return weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head);
}

#define expect_life(seconds) assert_int_equal(life(), seconds)

/* Another connection, whose numbers the test chooses. */
static void connect_at(uint32_t isn, uint32_t peer_isn)
{
	client(TCP_RST, 1001, 0, 0);
	expect_life(CLOSING);
	client(TCP_SYN, isn, 0, 0);
	server(TCP_SYN | TCP_ACK, peer_isn, isn + 1, 0);
	client(TCP_ACK, isn + 1, peer_isn + 1, 0);
	expect_life(OPEN);
}

/* ---- RST ---- */

static void reset_of_the_client(void **state)
{
	(void)state;
	client(TCP_RST, 1001, 0, 0);
	expect_life(CLOSING);
	client(TCP_RST | TCP_ACK, 1001, 5001, 0); /* repeated */
	expect_life(CLOSING);
}

static void reset_of_the_backend(void **state)
{
	(void)state;
	server(TCP_RST, 5001, 0, 0);
	expect_life(CLOSING);
	client(TCP_ACK, 1001, 5001, 0);
	expect_life(CLOSING);
}

static void reset_after_much_was_sent(void **state)
{
	(void)state;
	for (uint32_t sent = 0; sent < 3 * MIB; sent += 1000) {
		client(TCP_ACK, 1001 + sent, 5001, 1000);
		server(TCP_ACK, 5001, 1001 + sent + 1000, 0);
		if (sent % (MIB / 4) < 1000)
			expect_life(OPEN);
	}
	client(TCP_RST, 1001, 0, 0); /* long acknowledged */
	expect_life(OPEN);
	client(TCP_ACK, entry(port)->next[0] + 3, 5001, 10);
	server(TCP_ACK, 5001, 1001 + 3000 * 1049 + 10, 10);
	client(TCP_RST, 1001 + 3000 * 1049 + 10, 0, 0);
	expect_life(CLOSING);
}

/* The edges of what is believed: behind the acknowledged, and 64 KiB in front of it. */
static void forged_resets(void **state)
{
	const uint32_t wrong[] = { 1000, 0, 1001 + 0x10000, 1001 + 4 * MIB, 1001u + 0x7fffffff,
				   1001 + 0x80000000, 1001 - 0x10000 };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		client(TCP_RST, wrong[i], 0, 0);
		expect_life(OPEN);
		client(TCP_RST | TCP_ACK, wrong[i], 5001, 0); /* and once more, which proves nothing */
		expect_life(OPEN);
		server(TCP_ACK, 5001, 1001, 10); /* the backend's next words heal it */
		expect_life(OPEN);
		client(TCP_ACK, 1001, 5011, 0);
		expect_life(OPEN);
	}
	client(TCP_RST, 1001 + 0xffff, 0, 0);
	expect_life(CLOSING);
}

static void forged_resets_in_the_backends_name(void **state)
{
	const uint32_t wrong[] = { 5000, 0, 5001 + 0x10000, 5001 + 4 * MIB, 5001 + 0x80000000 };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		server(TCP_RST, wrong[i], 0, 0);
		server(TCP_RST, wrong[i], 0, 0);
		expect_life(OPEN);
		client(TCP_ACK, 1001, 5001, 10);
		server(TCP_ACK, 5001, 1011, 0);
		expect_life(OPEN);
	}
	server(TCP_RST, 5001 + 0xffff, 0, 0);
	expect_life(CLOSING);
}

/* A forger's numbers are nothing that his next ones are judged by, in any order of segments. */
static void forged_resets_prepared_by_others(void **state)
{
	const uint32_t at = 0x40000000;

	(void)state;
	client(TCP_FIN | TCP_ACK, at, 5001, 0);
	client(TCP_RST, at + 1, 0, 0);
	expect_life(OPEN);
	client(TCP_ACK, at, 5001, 100);
	client(TCP_RST, at, 0, 0);
	expect_life(OPEN);
	client(TCP_RST, at, 0, 0);
	client(TCP_ACK, at, 5001, 100);
	client(TCP_RST, at + 100, 0, 0);
	expect_life(OPEN);
	client(TCP_ACK, at, 77, 100); /* what it acknowledges is no number of the client's own */
	client(TCP_RST, 77, 0, 0);
	client(TCP_RST, at, 0, 0);
	expect_life(OPEN);
	server(TCP_ACK, 5001, 1001, 10);
	expect_life(OPEN);
}

/* It was in the window, by guess or by sight: who lives goes on, and then it is none. */
static void reset_that_was_none(void **state)
{
	(void)state;
	client(TCP_RST, 1001, 0, 0);
	expect_life(CLOSING);
	server(TCP_ACK, 5001, 1001, 10); /* the backend's data may have been on their way: they prove nothing */
	expect_life(CLOSING);
	client(TCP_ACK, 1001, 5011, 0); /* the client goes on */
	expect_life(OPEN);
	server(TCP_RST, 5011, 0, 0);
	client(TCP_ACK, 1001, 5011, 0); /* before it came there */
	expect_life(CLOSING);
	server(TCP_ACK, 5011, 1001, 0);
	expect_life(OPEN);
}

/* A dead one answers what still comes with RSTs of the number that it reads there. */
static void reset_repeated_for_data_on_the_way(void **state)
{
	(void)state;
	client(TCP_RST, 1001, 0, 0);
	for (uint32_t i = 0; i < 4; i++) {
		server(TCP_ACK, 5001 + 1000 * i, 1001, 1000);
		expect_life(CLOSING);
		if (i < 2) /* or it says nothing more */
			client(TCP_RST, 1001, 0, 0);
		expect_life(CLOSING);
	}
}

/* An upload is broken off: 4 MiB are on the way, more than 64 KiB by far. The backend acknowledges
 * what it gets, then it gets the RST. */
static void reset_behind_a_large_window(void **state)
{
	const uint32_t sent = 4 * MIB;

	(void)state;
	client(TCP_ACK, 1001, 5001, 1000);
	client(TCP_ACK, 1001 + sent - 1000, 5001, 1000);
	client(TCP_RST, 1001 + sent, 0, 0);
	expect_life(OPEN);
	for (uint32_t acked = 100000; acked < sent - 0x10000; acked += 100000) {
		server(TCP_ACK, 5001, 1001 + acked, 0);
		expect_life(OPEN);
	}
	server(TCP_ACK, 5001, 1001 + sent - 0xffff, 0);
	expect_life(CLOSING);
	server(TCP_ACK, 5001, 1001 + sent, 0);
	expect_life(CLOSING);
}

/* The same number, forged far ahead in an upload that gets there one day: the client sends on. */
static void forged_reset_ahead_of_an_upload(void **state)
{
	(void)state;
	client(TCP_RST, 1001 + MIB, 0, 0);
	for (uint32_t sent = 0; sent < 2 * MIB; sent += 1000) {
		client(TCP_ACK, 1001 + sent, 5001, 1000);
		server(TCP_ACK, 5001, 1001 + sent + 1000, 0);
		expect_life(OPEN);
	}
	client(TCP_RST, 1001 + 1000 * 2098, 0, 0);
	expect_life(CLOSING);
}

/* Acknowledgements that arrive in another order, or twice. */
static void reset_after_late_acknowledgements(void **state)
{
	(void)state;
	server(TCP_ACK, 5001, 1001 + MIB, 0);
	server(TCP_ACK, 5001, 1001 + MIB - 5000, 0);
	client(TCP_RST, 1001 + MIB, 0, 0);
	expect_life(CLOSING);
}

static void wrapped_numbers(void **state)
{
	const uint32_t isn = 0xfffffff0, peer = 0xffffff00;

	(void)state;
	connect_at(isn, peer);
	client(TCP_RST, isn - 5, 0, 0);
	expect_life(OPEN);
	server(TCP_ACK, peer + 1, isn + 1, 10);
	client(TCP_ACK, isn + 1, peer + 11, 100); /* beyond zero */
	server(TCP_ACK, peer + 11, isn + 101, 0);
	client(TCP_RST, isn + 101, 0, 0);
	expect_life(CLOSING);
	server(TCP_ACK, peer + 11, isn + 101, 1000);
	client(TCP_ACK, isn + 101, peer + 1011, 0);
	expect_life(OPEN);
	server(TCP_ACK | TCP_FIN, peer + 1011, isn + 101, 0);
	client(TCP_ACK | TCP_FIN, isn + 101, peer + 1012, 0);
	expect_life(CLOSING);
}

/* ---- RST before the handshake is complete ---- */

static void reset_of_a_half_open_one(void **state)
{
	(void)state;
	client(TCP_RST, 1001, 0, 0);
	client(TCP_SYN, 7000, 0, 0);
	assert_int_equal(life(), 15);
	client(TCP_RST, 6999, 0, 0);
	client(TCP_RST, 7000 + 3000, 0, 0);
	assert_int_equal(life(), 15);
	client(TCP_RST, 7001, 0, 0);
	expect_life(CLOSING);
}

/* ---- FIN ---- */

static void both_fins(void **state)
{
	(void)state;
	client(TCP_ACK | TCP_FIN, 1001, 5001, 0);
	expect_life(OPEN);
	server(TCP_ACK | TCP_FIN, 5001, 1002, 0);
	expect_life(CLOSING);
	/* The last acknowledgement, repetitions, and then a new connection from the same port. */
	client(TCP_ACK, 1002, 5002, 0);
	server(TCP_ACK | TCP_FIN, 5001, 1002, 0);
	client(TCP_ACK, 1002, 5002, 0);
	expect_life(CLOSING);
	assert_int_equal(connect_from(CLIENT, 40000), port);
	expect_life(OPEN);
}

static void fins_with_data_and_repeated(void **state)
{
	(void)state;
	client(TCP_ACK | TCP_FIN, 1001, 5001, 500);
	client(TCP_ACK | TCP_FIN, 1001, 5001, 500);
	client(TCP_ACK, 1001, 5001, 200); /* a part of it once more */
	server(TCP_ACK, 5001, 1502, 1000);
	expect_life(OPEN);
	server(TCP_ACK | TCP_FIN, 6001, 1502, 1000);
	server(TCP_ACK, 5001, 1502, 1000); /* was lost */
	client(TCP_ACK, 1502, 7002, 0);
	expect_life(CLOSING);
}

/* The client is through and the backend sends on for long. */
static void half_closed(void **state)
{
	(void)state;
	client(TCP_ACK | TCP_FIN, 1001, 5001, 0);
	for (uint32_t i = 0; i < 100; i++) {
		server(TCP_ACK, 5001 + 1000 * i, 1002, 1000);
		client(TCP_ACK, 1002, 6001 + 1000 * i, 0);
		expect_life(OPEN);
	}
	server(TCP_ACK | TCP_FIN, 105001, 1002, 0);
	expect_life(CLOSING);
}

/* A download ends: its FIN is on the way with megabytes in front of it, which are acknowledged later. */
static void fin_behind_a_large_window(void **state)
{
	const uint32_t end = 5001 + 8 * MIB;

	(void)state;
	server(TCP_ACK, 5001, 1001, 1000);
	server(TCP_ACK | TCP_FIN, end - 1000, 1001, 1000);
	client(TCP_ACK, 1001, 5001 + MIB, 0);
	server(TCP_ACK, 5001 + 2 * MIB, 1001, 1000); /* lost, sent again */
	client(TCP_ACK, 1001, end, 0);
	client(TCP_ACK | TCP_FIN, 1001, end, 0); /* has the data, not the FIN */
	expect_life(OPEN);
	server(TCP_ACK, end + 1, 1002, 0);
	expect_life(OPEN);
	client(TCP_ACK, 1002, end + 1, 0);
	expect_life(CLOSING);
}

static void forged_fins(void **state)
{
	const uint32_t wrong[] = { 1000, 0, 1001 + 0x10000, 1001 + 4 * MIB, 1001 + 0x80000000 };

	(void)state;
	client(TCP_ACK, 1001, 5001, 0);
	server(TCP_ACK | TCP_FIN, 5001, 1001, 0); /* true, the client's half is still open */
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		client(TCP_ACK | TCP_FIN, wrong[i], 5002, 0);
		client(TCP_ACK | TCP_FIN, wrong[i], 5002, 0);
		expect_life(OPEN);
		server(TCP_ACK, 5002, 1001, 0); /* a challenge: what it has so far */
		client(TCP_ACK, 1001, 5002, 0);
		expect_life(OPEN);
	}
	client(TCP_ACK | TCP_FIN, 1001, 5002, 0);
	server(TCP_ACK, 5002, 1002, 0);
	expect_life(CLOSING);
}

/* Guessed in the 64 KiB that are believed: the client's own data show that there was none. */
static void fin_that_was_none(void **state)
{
	(void)state;
	server(TCP_ACK | TCP_FIN, 5001, 1001, 0);
	client(TCP_ACK | TCP_FIN, 1001 + 2000, 5002, 0);
	expect_life(CLOSING);
	client(TCP_ACK, 1001, 5002, 1000); /* may be from before it */
	expect_life(CLOSING);
	client(TCP_ACK, 2001, 5002, 1001);
	expect_life(OPEN);
	server(TCP_ACK, 5002, 3002, 0);
	expect_life(OPEN);
	client(TCP_ACK | TCP_FIN, 3002, 5002, 0);
	server(TCP_ACK, 5002, 3003, 0);
	expect_life(CLOSING);
}

/* Who is through for writing asks whether the other lives, by a byte that it sent long ago: a keepalive. */
static void keepalive_after_a_fin(void **state)
{
	(void)state;
	client(TCP_ACK | TCP_FIN, 1001, 5001, 0);
	server(TCP_ACK, 5001, 1002, 0);
	client(TCP_ACK, 1001, 5001, 1);
	server(TCP_ACK, 5001, 1002, 0);
	expect_life(OPEN);
	server(TCP_ACK | TCP_FIN, 5001, 1002, 0);
	expect_life(CLOSING);
}

/* 20 MiB are on their way to it. */
static void fin_behind_a_huge_window(void **state)
{
	const uint32_t sent = 20 * MIB;

	(void)state;
	client(TCP_ACK, 1001, 5001, 1000);
	client(TCP_ACK | TCP_FIN, 1001 + sent, 5001, 0);
	for (uint32_t acked = 0; acked < sent; acked += MIB)
		server(TCP_ACK, 5001, 1001 + acked, 0);
	server(TCP_ACK | TCP_FIN, 5001, 1001 + sent + 1, 0);
	client(TCP_ACK, 1001 + sent + 1, 5002, 0);
	expect_life(CLOSING);
}

/* FIN, and at once a RST, since the backend goes on sending to who is through. */
static void reset_after_a_fin(void **state)
{
	(void)state;
	client(TCP_ACK | TCP_FIN, 1001, 5001, 0);
	server(TCP_ACK, 5001, 1002, 1000);
	client(TCP_RST, 1002, 0, 0);
	expect_life(CLOSING);
	client(TCP_RST, 3, 0, 0); /* changes nothing */
	expect_life(CLOSING);
	server(TCP_RST, 1, 0, 0);
	expect_life(CLOSING);
}

/* The client is through; a RST far off in its name does not end what the backend still sends. */
static void forged_reset_after_a_fin(void **state)
{
	(void)state;
	client(TCP_ACK | TCP_FIN, 1001, 5001, 0);
	server(TCP_ACK, 5001, 1002, 1000);
	client(TCP_RST, 0x40000000, 0, 0);
	expect_life(OPEN);
	server(TCP_ACK | TCP_FIN, 6001, 1002, 0);
	expect_life(CLOSING);
}

#undef T
#define T(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reset_of_the_client), T(reset_of_the_backend), T(reset_after_much_was_sent),
		T(forged_resets), T(forged_resets_in_the_backends_name),
		T(forged_resets_prepared_by_others), T(reset_that_was_none),
		T(reset_repeated_for_data_on_the_way), T(reset_behind_a_large_window),
		T(forged_reset_ahead_of_an_upload), T(reset_after_late_acknowledgements),
		T(wrapped_numbers), T(reset_of_a_half_open_one),
		T(both_fins), T(fins_with_data_and_repeated), T(half_closed),
		T(fin_behind_a_large_window), T(forged_fins), T(fin_that_was_none),
		T(keepalive_after_a_fin), T(fin_behind_a_huge_window),
		T(reset_after_a_fin), T(forged_reset_after_a_fin),
	};

	return cmocka_run_group_tests_name("nat_ends", tests, open_net, edge_unload);
}
