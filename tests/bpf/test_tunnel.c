/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tunnels: packets for the edge that answers, what other edges may send, connections that an earlier
 * owner still has, and who listens for tunnels' addresses.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "skel/listen.skel.h"
#include "tests/bpf/edge.h"

#define SELF	"198.18.0.1"
#define EDGE	"198.18.0.2"
#define EDGE6	"2001:db8::2"
#define OTHER4	"198.18.0.3"
#define CLIENT	"192.0.2.1"
#define CLIENT6 "2001:db8:c::1"
#define TUNNEL	"198.19.0.1"
#define TUNNEL6 "2001:db8:7::1"
#define NUMBER	9

static struct frame f;
static struct outcome o;
static struct listen *listen_skel;

static int start(void **state)
{
	edge_reset(state);
	put_prefix("198.19.0.0", 16);
	put_prefix("2001:db8:7::", 64);
	put_service(TUNNEL, 443, IPPROTO_TCP, NUMBER, 0, 1, WEIR_ENCAP_GUE, 0);
	put_service(TUNNEL6, 443, IPPROTO_TCP, NUMBER, 0, 1, WEIR_ENCAP_GUE, 0);
	put_backend(1, EDGE, SELF, 0);
	put_backend(2, SELF, NULL, WEIR_BACKEND_LOCAL);
	put_backend(3, OTHER4, SELF, 0);
	put_decap("10.0.0.0", 8, SELF, true);	/* agent.decap.from: anything inside */
	put_edge(EDGE);
	slot(0)->current = 1;
	return 0;
}

static void tcp(bool is6, const char *to, uint16_t port, uint8_t flags)
{
	if (is6)
		frame_ip6(&f, CLIENT6, to);
	else
		frame_ip4(&f, CLIENT, to);
	frame_tcp(&f, 40000, port, flags);
	frame_end(&f);
}

static void expect(uint32_t action, int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, action);
}

static void sent_to_its_edge(void **state)
{
	uint64_t before = service_packets(NUMBER);

	(void)state;
	frame_eth(&f);
	tcp(false, TUNNEL, 443, TCP_SYN);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len + WEIR_ADDED_GUE4);
	assert_memory_equal(o.data + 26, ((uint8_t[]){ 198, 18, 0, 1, 198, 18, 0, 2 }), 8);
	frame_eth(&f);
	tcp(true, TUNNEL6, 443, TCP_ACK);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_memory_equal(o.data + 14 + WEIR_ADDED_GUE4, f.data + 14, f.len - 14);
	assert_int_equal(service_packets(NUMBER), before + 2);
}

static void answered_here(void **state)
{
	(void)state;
	slot(0)->current = 2;
	frame_eth(&f);
	tcp(false, TUNNEL, 443, TCP_SYN);
	expect(XDP_PASS, WEIR_REASON_LOCAL);
	frame_eth(&f);
	tcp(true, TUNNEL6, 443, TCP_ACK);
	expect(XDP_PASS, WEIR_REASON_LOCAL);
	assert_memory_equal(o.data, f.data, f.len);
}

/* The host refuses it: see steers(). */
static void port_that_nobody_opened(void **state)
{
	(void)state;
	frame_eth(&f);
	tcp(false, TUNNEL, 22, TCP_SYN);
	expect(XDP_PASS, WEIR_REASON_NOT_OURS);
	frame_eth(&f);
	tcp(true, TUNNEL6, 22, TCP_SYN);
	expect(XDP_PASS, WEIR_REASON_NOT_OURS);
}

/* ---- what other edges may send ---------------------------------------------------------------- */

static void encapsulated(const char *source, bool inner6, const char *to)
{
	uint8_t gue[4 + 4 * WEIR_GUE_WORDS4] = { WEIR_GUE_WORDS4, inner6 ? IPPROTO_IPV6 : IPPROTO_IPIP,
						 0, 0, WEIR_GUE_MAGIC };

	frame_eth(&f);
	frame_ip4(&f, source, SELF);
	frame_udp(&f, 50000, WEIR_GUE_PORT);
	frame_bytes(&f, gue, sizeof(gue));
	tcp(inner6, to, 443, TCP_SYN);
}

static void edge_for_a_tunnel(void **state)
{
	(void)state;
	encapsulated(EDGE, false, TUNNEL);
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
	encapsulated(EDGE, true, TUNNEL6);
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x86dd);
}

static void edge_for_another_address(void **state)
{
	(void)state;
	encapsulated(EDGE, false, "198.18.0.1");
	expect(XDP_DROP, WEIR_REASON_DECAP_INNER);
	encapsulated(EDGE, false, "198.20.0.1");
	expect(XDP_DROP, WEIR_REASON_DECAP_INNER);
	encapsulated(EDGE, true, "2001:db8:8::1");
	expect(XDP_DROP, WEIR_REASON_DECAP_INNER);
	/* IPv4's place in the trie is not open to IPv6 */
	encapsulated(EDGE, true, "::ffff:198.20.0.1");
	expect(XDP_DROP, WEIR_REASON_DECAP_INNER);
}

static void balancer_for_any_address(void **state)
{
	(void)state;
	encapsulated("10.1.2.3", false, "198.18.0.1");
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
	encapsulated("10.1.2.3", true, "2001:db8:8::1");
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
}

static void stranger(void **state)
{
	(void)state;
	encapsulated("203.0.113.5", false, TUNNEL);
	expect(XDP_DROP, WEIR_REASON_DECAP_SOURCE);
	encapsulated("203.0.113.5", true, TUNNEL6);
	expect(XDP_DROP, WEIR_REASON_DECAP_SOURCE);
}

/* Opened once and left to the host: never encapsulated again, wherever the tunnel is. */
static void opened_is_not_sent_on(void **state)
{
	(void)state;
	slot(0)->current = 3;
	encapsulated(EDGE, false, TUNNEL);
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
}

/* ---- connections of an earlier owner ----------------------------------------------------------- */

static void earlier_owner_is_asked(void **state)
{
	const struct weir_settings off = { .off = WEIR_OFF_RELAY };
	const struct weir_gue_private *head;

	(void)state;
	*slot(0) = (struct weir_slot){ .current = 2, .owners = { 1, 3 } };
	frame_eth(&f);
	tcp(false, TUNNEL, 443, TCP_SYN);
	expect(XDP_PASS, WEIR_REASON_LOCAL);
	frame_eth(&f);
	tcp(false, TUNNEL, 443, TCP_ACK);
	expect(XDP_TX, WEIR_REASON_RELAYED);
	assert_memory_equal(o.data + 30, ((uint8_t[]){ 198, 18, 0, 2 }), 4);
	/* only the one before it is named: this node was asked already */
	head = (const void *)(o.data + 14 + 20 + 8 + 4);
	assert_int_equal(head->count, 1);
	assert_memory_equal(head + 1, ((uint8_t[]){ 198, 18, 0, 3 }), 4);
	frame_eth(&f);
	tcp(true, TUNNEL6, 443, TCP_ACK);
	expect(XDP_TX, WEIR_REASON_RELAYED);
	put_settings(&off);
	expect(XDP_PASS, WEIR_REASON_LOCAL);
}

static void earlier_owner_that_is_down(void **state)
{
	(void)state;
	put_backend(1, EDGE, SELF, WEIR_BACKEND_DOWN);
	*slot(0) = (struct weir_slot){ .current = 2, .owners = { 1, 3 } };
	frame_eth(&f);
	tcp(false, TUNNEL, 443, TCP_ACK);
	expect(XDP_TX, WEIR_REASON_RELAYED);
	assert_memory_equal(o.data + 30, ((uint8_t[]){ 198, 18, 0, 3 }), 4);
	slot(0)->owners[1] = 0;
	expect(XDP_PASS, WEIR_REASON_LOCAL);
}

static int listen_on_loopback(int family, uint16_t *port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	bool is6 = family == AF_INET6;
	struct sockaddr *to = is6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
	socklen_t len = is6 ? sizeof(v6) : sizeof(v4);
	int fd = socket(family, SOCK_STREAM, 0);

	assert_true(fd >= 0 && !bind(fd, to, len) && !listen(fd, 8) && !getsockname(fd, to, &len));
	*port = ntohs(is6 ? v6.sin6_port : v4.sin_port);
	return fd;
}

static void own_connection_stays(void **state)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, from;
	socklen_t len = sizeof(from);
	uint16_t port;
	int listener = listen_on_loopback(AF_INET, &port), fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	to.sin_port = htons(port);
	assert_false(connect(fd, (struct sockaddr *)&to, sizeof(to)));
	assert_false(getsockname(fd, (struct sockaddr *)&from, &len));
	put_service("127.0.0.1", port, IPPROTO_TCP, NUMBER, 0, 1, WEIR_ENCAP_GUE, 0);
	*slot(0) = (struct weir_slot){ .current = 2, .owners = { 1 } };
	frame_eth(&f);
	frame_ip4(&f, "127.0.0.1", "127.0.0.1");
	frame_tcp(&f, ntohs(from.sin_port), port, TCP_ACK);
	frame_end(&f);
	expect(XDP_PASS, WEIR_REASON_LOCAL);
	frame_eth(&f);
	frame_ip4(&f, "127.0.0.1", "127.0.0.1");
	frame_tcp(&f, (uint16_t)(ntohs(from.sin_port) ^ 1), port, TCP_ACK);	/* the listener alone */
	frame_end(&f);
	expect(XDP_TX, WEIR_REASON_RELAYED);
	close(fd);
	close(listener);
}

/* ---- who listens ------------------------------------------------------------------------------- */

static void open_port(const char *address, uint16_t port)
{
	bool is6 = strchr(address, ':');
	struct weir_port_key key = { .port = htons(port), .family = is6 ? WEIR_FAMILY_6 : WEIR_FAMILY_4 };
	uint32_t number = NUMBER;

	address_bytes((uint8_t *)key.addr, address);
	assert_false(bpf_map_update_elem(bpf_map__fd(listen_skel->maps.tunnel_ports), &key, &number,
					 BPF_ANY));
}

static uint64_t listen_count(uint32_t what)
{
	uint64_t per_cpu[1024], sum = 0;

	assert_false(bpf_map_lookup_elem(bpf_map__fd(listen_skel->maps.listen_counts), &what, per_cpu));
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		sum += per_cpu[i];
	return sum;
}

/* Returns what the program said; *cookie: of the socket that it chose, 0 none. */
static uint32_t look_up(uint32_t protocol, const char *address, uint16_t port, uint64_t *cookie)
{
	struct bpf_sk_lookup ctx = { .protocol = protocol, .local_port = port, .remote_port = htons(40000) };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .ctx_out = &ctx, .ctx_size_out = sizeof(ctx));

	ctx.family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (ctx.family == AF_INET) {
		address_bytes((uint8_t *)&ctx.local_ip6, address);
		ctx.local_ip4 = ctx.local_ip6[0];
		memset(ctx.local_ip6, 0, sizeof(ctx.local_ip6));
	} else {
		address_bytes((uint8_t *)ctx.local_ip6, address);
	}
	assert_false(bpf_prog_test_run_opts(bpf_program__fd(listen_skel->progs.steer), &opts));
	*cookie = ctx.cookie;
	return opts.retval;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	assert_false(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	return cookie;
}

static void steers(void **state)
{
	uint32_t four = WEIR_LISTENER_4, six = WEIR_LISTENER_6;
	uint64_t cookie, steered = listen_count(WEIR_LISTEN_STEERED);
	uint16_t port;
	int fd[2] = { listen_on_loopback(AF_INET, &port), listen_on_loopback(AF_INET6, &port) };
	uint64_t value[2] = { (uint64_t)fd[0], (uint64_t)fd[1] };
	int map = bpf_map__fd(listen_skel->maps.listeners);

	(void)state;
	open_port(TUNNEL, 443);
	open_port(TUNNEL6, 443);
	/* no listener was handed over */
	assert_int_equal(look_up(IPPROTO_TCP, TUNNEL, 443, &cookie), SK_DROP);
	assert_int_equal(listen_count(WEIR_LISTEN_ABSENT), 1);
	assert_false(bpf_map_update_elem(map, &four, &value[0], BPF_ANY));
	assert_false(bpf_map_update_elem(map, &six, &value[1], BPF_ANY));
	assert_int_equal(look_up(IPPROTO_TCP, TUNNEL, 443, &cookie), SK_PASS);
	assert_int_equal(cookie, cookie_of(fd[0]));
	assert_int_equal(look_up(IPPROTO_TCP, TUNNEL6, 443, &cookie), SK_PASS);
	assert_int_equal(cookie, cookie_of(fd[1]));
	assert_int_equal(listen_count(WEIR_LISTEN_STEERED), steered + 2);
	/* other ports, other addresses of the prefix, other protocols: no socket at all */
	assert_int_equal(look_up(IPPROTO_TCP, TUNNEL, 22, &cookie), SK_DROP);
	assert_int_equal(look_up(IPPROTO_TCP, "198.19.0.2", 443, &cookie), SK_DROP);
	assert_int_equal(look_up(IPPROTO_TCP, TUNNEL6, 22, &cookie), SK_DROP);
	assert_int_equal(look_up(IPPROTO_UDP, TUNNEL, 443, &cookie), SK_DROP);
	assert_int_equal(look_up(IPPROTO_UDP, TUNNEL6, 443, &cookie), SK_DROP);
	assert_int_equal(listen_count(WEIR_LISTEN_CLOSED), 5);
	/* other addresses: as ever */
	assert_int_equal(look_up(IPPROTO_TCP, "198.20.0.1", 443, &cookie), SK_PASS);
	assert_int_equal(cookie, 0);
	assert_int_equal(look_up(IPPROTO_TCP, "2001:db8:8::1", 443, &cookie), SK_PASS);
	assert_int_equal(cookie, 0);
	/* the edge is gone, and its sockets with it */
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(look_up(IPPROTO_TCP, TUNNEL, 443, &cookie), SK_DROP);
	assert_int_equal(look_up(IPPROTO_TCP, TUNNEL6, 443, &cookie), SK_DROP);
	assert_int_equal(listen_count(WEIR_LISTEN_ABSENT), 3);
}

static int load(void **state)
{
	int rc = edge_load(state);

	listen_skel = listen__open();
	if (rc || !listen_skel ||
	    bpf_map__reuse_fd(listen_skel->maps.tunnel_prefixes,
			      bpf_map__fd(edge_skeleton()->maps.tunnel_prefixes)))
		return -1;
	return listen__load(listen_skel);
}

static int unload(void **state)
{
	listen__destroy(listen_skel);
	return edge_unload(state);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sent_to_its_edge), T(answered_here), T(port_that_nobody_opened), T(edge_for_a_tunnel),
		T(edge_for_another_address), T(balancer_for_any_address), T(stranger),
		T(opened_is_not_sent_on), T(earlier_owner_is_asked), T(earlier_owner_that_is_down),
		T(own_connection_stays), T(steers),
	};

	return cmocka_run_group_tests_name("tunnel", tests, load, unload);
}
