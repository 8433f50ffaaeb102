/* SPDX-License-Identifier: Apache-2.0 */
/* The capture's writer block by block, and a traced packet's message, line, comment and JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/pcapng.h"
#include "tools/trace.h"

static char *text;
static size_t text_len;

static uint32_t word(size_t at)
{
	uint32_t v;

	assert_true(at + 4 <= text_len);
	memcpy(&v, text + at, 4);
	return v;
}

static uint16_t half(size_t at)
{
	uint16_t v;

	assert_true(at + 2 <= text_len);
	memcpy(&v, text + at, 2);
	return v;
}

/* The block at `at` is of that type, its lengths agree; returns where the next begins. */
static size_t block(size_t at, uint32_t type)
{
	uint32_t len = word(at + 4);

	assert_int_equal(word(at), type);
	assert_int_equal(len % 4, 0);
	assert_true(len >= 12 && at + len <= text_len);
	assert_int_equal(word(at + len - 4), len);
	return at + len;
}

/* The value of an option of the list at `at`, or NULL. */
static const char *option(size_t at, uint16_t code, uint16_t *len)
{
	while (half(at) != 0) {
		*len = half(at + 2);
		if (half(at) == code)
			return text + at + 4;
		at += 4 + ((*len + 3u) & ~3u);
	}
	assert_int_equal(half(at + 2), 0);
	return NULL;
}

static void blocks(void **state)
{
	const uint8_t bytes[61] = { 1, 2, 3 };
	const struct pcapng_packet one = { "eth1", 0x123456789abcdefull, bytes, 61, 1500, "a comment" };
	const struct pcapng_packet two = { "eth0", 5, bytes, 4, 4, NULL };
	FILE *out = open_memstream(&text, &text_len);
	struct pcapng p;
	size_t at, next;
	uint16_t len;

	(void)state;
	assert_int_equal(pcapng_begin(&p, out, "weir", 256), 0);
	assert_int_equal(pcapng_add(&p, &one), 0);
	assert_int_equal(pcapng_add(&p, &one), 0);
	assert_int_equal(pcapng_add(&p, &two), 0);
	assert_int_equal(pcapng_lost(&p, 7, 9), 0);
	fclose(out);

	at = block(0, 0x0a0d0d0a);
	assert_int_equal(word(8), 0x1a2b3c4d);
	assert_int_equal(half(12), 1);
	assert_memory_equal(option(24, 4, &len), "weir", 4);

	next = block(at, 1);
	assert_int_equal(half(at + 8), 1);      /* Ethernet */
	assert_int_equal(word(at + 12), 256);
	assert_memory_equal(option(at + 16, 2, &len), "eth1", 4);
	assert_int_equal(len, 4);
	assert_int_equal(*option(at + 16, 9, &len), 9);

	for (int i = 0; i < 2; i++) {
		at = next;
		next = block(at, 6);
		assert_int_equal(word(at + 8), 0);
		assert_int_equal(word(at + 12), 0x1234567);
		assert_int_equal(word(at + 16), 0x89abcdef);
		assert_int_equal(word(at + 20), 61);
		assert_int_equal(word(at + 24), 1500);
		assert_memory_equal(text + at + 28, bytes, 61);
		assert_memory_equal(option(at + 28 + 64, 1, &len), "a comment", 9);
		assert_int_equal(len, 9);
	}
	next = block(at = next, 1);
	assert_memory_equal(option(at + 16, 2, &len), "eth0", 4);
	next = block(at = next, 6);
	assert_int_equal(word(at + 8), 1);
	assert_int_equal(word(at + 4), 12 + 20 + 4);    /* no options */
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t lost;

		next = block(at = next, 5);
		assert_int_equal(word(at + 8), i);
		memcpy(&lost, option(at + 20, 7, &len), 8);
		assert_int_equal(lost, 9);
	}
	assert_int_equal(next, text_len);
	free(text);
}

static void a_full_disk_is_told(void **state)
{
	const struct pcapng_packet one = { "eth1", 1, "abcd", 4, 4, "c" };
	FILE *out = fopen("/dev/full", "w");
	struct pcapng p;
	int rc;

	(void)state;
	assert_non_null(out);
	setvbuf(out, NULL, _IONBF, 0);
	assert_int_equal(pcapng_begin(&p, out, "weir", 256), -ENOSPC);
	rc = pcapng_add(&p, &one);
	assert_int_equal(rc, -ENOSPC);
	fclose(out);
}

static void too_many_interfaces(void **state)
{
	FILE *out = open_memstream(&text, &text_len);
	struct pcapng p;
	char name[16];

	(void)state;
	assert_int_equal(pcapng_begin(&p, out, "weir", 256), 0);
	for (int i = 0; i < PCAPNG_INTERFACES + 5; i++) {
		const struct pcapng_packet one = { name, 1, "abcd", 4, 4, NULL };

		snprintf(name, sizeof(name), "eth%d", i);
		assert_int_equal(pcapng_add(&p, &one), 0);
	}
	assert_int_equal(p.n, PCAPNG_INTERFACES);
	fclose(out);
	free(text);
}

/* ---- a packet's message ---- */

static uint8_t body[1024];
static size_t body_len;

static void message(struct weir_sample *head, const char *service, const char *backend, const char *interface)
{
	const char *names[] = { service, backend, interface };
	size_t at = sizeof(*head);

	memcpy(body, head, at);
	memset(body + at, 0xab, head->captured);
	at += head->captured;
	for (int i = 0; i < 3; i++) {
		strcpy((char *)body + at, names[i]);
		at += strlen(names[i]) + 1;
	}
	body_len = at;
}

static struct weir_sample sample(void)
{
	struct weir_sample s = { .time = 1600000000123456789ull, .reason = WEIR_REASON_FORWARDED, .action = 3,
				 .tcp_flags = 0x12, .backend = 3, .came = 60, .service = 1, .slot = 18, .ifindex = 2,
				 .cpu = 1, .length = 80, .captured = 80,
				 .flow = { .source_port = htons(40000), .dest_port = htons(80), .proto = IPPROTO_TCP,
					   .family = WEIR_FAMILY_4 } };

	inet_pton(AF_INET, "192.0.2.1", s.flow.source);
	inet_pton(AF_INET, "198.18.1.100", s.flow.dest);
	return s;
}

static void lines(void **state)
{
	struct weir_sample s = sample();
	struct trace_packet p;
	char line[512];
	json_t *o;

	(void)state;
	setenv("TZ", "UTC", 1);
	message(&s, "files", "gw-a1", "eth1");
	assert_int_equal(trace_packet_read(&p, body, body_len), 0);
	assert_string_equal(trace_packet_line(&p, line, sizeof(line)),
			    "12:26:40.123456 eth1 FORWARDED  192.0.2.1:40000 > 198.18.1.100:80 tcp SYN,ACK  "
			    "files → gw-a1 slot 17 60B");
	assert_string_equal(trace_packet_comment(&p, line, sizeof(line)),
			    "FORWARDED (sent back): encapsulated and sent to a backend; files → gw-a1 slot 17; "
			    "cpu 1, 60 bytes came");
	o = trace_packet_json(&p);
	assert_string_equal(json_string_value(json_object_get(o, "source")), "192.0.2.1");
	assert_int_equal(json_integer_value(json_object_get(o, "slot")), 17);
	assert_string_equal(json_string_value(json_object_get(o, "flags")), "SYN,ACK");
	assert_int_equal(json_string_length(json_object_get(o, "data")), 160);
	json_decref(o);

	inet_pton(AF_INET6, "2001:db8::1", s.flow.source);
	inet_pton(AF_INET6, "2001:db8::2", s.flow.dest);
	s.flow.family = WEIR_FAMILY_6;
	s.flow.proto = IPPROTO_ICMPV6;
	s.flow.source_port = s.flow.dest_port = 0;
	s.reason = WEIR_REASON_NOT_OURS;
	s.action = 2;
	s.slot = 0;
	message(&s, "", "", "eth1");
	assert_int_equal(trace_packet_read(&p, body, body_len), 0);
	assert_string_equal(trace_packet_line(&p, line, sizeof(line)),
			    "12:26:40.123456 eth1 NOT_OURS   2001:db8::1 > 2001:db8::2 icmpv6  60B");
	memset(&s.flow, 0, sizeof(s.flow));
	s.reason = 200;         /* of a newer agent */
	message(&s, "", "", "eth1");
	assert_int_equal(trace_packet_read(&p, body, body_len), 0);
	assert_string_equal(trace_packet_line(&p, line, sizeof(line)), "12:26:40.123456 eth1 UNKNOWN    not read  60B");
}

static void short_messages(void **state)
{
	struct weir_sample s = sample();
	struct trace_packet p;

	(void)state;
	message(&s, "files", "gw-a1", "eth1");
	for (size_t len = 0; len < body_len; len++)
		assert_int_equal(trace_packet_read(&p, body, len), -EPROTO);
	assert_int_equal(trace_packet_read(&p, body, body_len), 0);
	s.captured = 60000;
	memcpy(body, &s, sizeof(s));
	assert_int_equal(trace_packet_read(&p, body, body_len), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks), cmocka_unit_test(a_full_disk_is_told), cmocka_unit_test(too_many_interfaces),
		cmocka_unit_test(lines), cmocka_unit_test(short_messages),
	};

	return cmocka_run_group_tests_name("pcapng", tests, NULL, NULL);
}
