/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dp_tool.c -- drives the data plane from a test: dp_tool [-a link|dispatcher] [-m
 *auto|native|generic]
 * [-p PIN] [-i IF]... [-d DECAP_IF]... [-f DECAP_PREFIX]... [-t DRAIN_S] [-s MSS] [-l LIMIT=N]...
 * [-n NAT_ADDRESS]... [-F] [-x]
 *
 * Opens the data plane, prints "ready" and obeys standard input line by line, answering each with
 *one line; ends at end of file. -x: detach instead. Commands:
 *
 *	service NAME SLOTS gue|ipip|nat [two] [sticky] [addresses] [quic=CONFIG:ID:NONCE] [key=FILE] [port=P] ADDRESS...	→ number
 *	quic SERVICE INDEX HEX				→ 0 (its server ID)
 *	backend SERVICE NAME ADDRESS up|down		→ index
 *	owner SERVICE ID ADDRESS			→ index (a former owner of slots)
 *	fill SERVICE SLOTS GENERATION INDEX...		→ moved (slots get the indexes in turn)
 *	ring SERVICE SLOTS GENERATION NAME:INDEX:RATE...	→ moved (slots as the agent's ring gives them)
 *	get SERVICE SLOTS				→ owners
 *	table SERVICE SLOTS FILE			→ backends (the slot table as agents tell it to each other)
 *	take SERVICE FILE				→ changed (as an agent takes it over; owners that are not known are added)
 *	state SERVICE					→ slots transition generation packets
 *	reasons						→ NAME=n...
 *	counts INDEX...					→ packets...
 *	limits SYN_RATE BURST				(of each source's network; 0: none)
 *	notes						→ notes room half_open room kept
 *	loads [INDEX LOAD]...
 *	nat						→ used=n open=n OPENED=n…
 *	interfaces | sweep | socket FAMILY(4|6)
 *	egress						→ NAME=n...
 *	probe INDEX gue|ipip ADDRESS:PORT		→ answered | silent (a check that travels as traffic does)
 *	feedback on|off
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"
#include "bpf/abi/filter.h"
#include "user/agent/dataplane.h"
#include "user/agent/ring.h"
#include "user/agent/table.h"

#define MANY 64

static struct dataplane *dp;
static struct conf_agent *configured;

static int fail(int rc)
{
	printf("error %d %s\n", rc, dataplane_error(dp));
	return rc;
}

static char *word(void)
{
	return strtok(NULL, " \n");
}

static int number(void)
{
	char *w = word();

	return w ? atoi(w) : 0;
}

static void do_service(void)
{
	struct conf_service s = { 0 };
	struct addr_port addresses[MANY];
	char *w;
	int rc;

	snprintf(s.name, sizeof(s.name), "%s", word());
	s.slots = (uint32_t)number();
	w = word();
	s.encap = !strcmp(w, "ipip") ? CONF_ENCAP_IPIP : !strcmp(w, "nat") ? CONF_ENCAP_NAT : CONF_ENCAP_GUE;
	s.addresses = addresses;
	while ((w = word())) {
		if (!strcmp(w, "sticky"))
			s.udp = CONF_UDP_STICKY;
		else if (!strncmp(w, "port=", 5))
			s.port = (uint16_t)atoi(w + 5);
		else if (!strcmp(w, "two"))
			s.two = true;
		else if (!strcmp(w, "addresses"))
			s.by_addresses = true;
		else if (sscanf(w, "quic=%u:%u:%u", &s.quic.config, &s.quic.server_id,
				&s.quic.nonce) == 3)
			s.udp = CONF_UDP_QUIC;
		else if (!strncmp(w, "key=", 4))
			s.quic.key = w + 4;
		else if (s.naddresses < MANY && !addr_serve_parse(&addresses[s.naddresses], w))
			s.naddresses++;
	}
	rc = dataplane_service_set(dp, &s);
	if (rc < 0)
		fail(rc);
	else
		printf("%d\n", rc);
}

static void do_backend(void)
{
	int service = number(), rc;
	char *name = word(), *address = word(), *up = word();
	struct addr a = { 0 };

	if (!up || addr_parse(&a, address)) {
		puts("error usage");
		return;
	}
	rc = dataplane_backend_set(dp, service, name, &a, !strcmp(up, "up"));
	if (rc < 0)
		fail(rc);
	else
		printf("%d\n", rc);
}

static void do_owner(void)
{
	int service = number(), id = number(), rc;
	struct addr a = { 0 };

	if (addr_parse(&a, word())) {
		puts("error usage");
		return;
	}
	rc = dataplane_owner_set(dp, service, (uint64_t)id, &a, true);
	if (rc < 0)
		fail(rc);
	else
		printf("%d\n", rc);
}

static void do_fill(void)
{
	int service = number(), slots = number(), generation = number(), n = 0, rc;
	uint16_t index[MANY], *owner = calloc((size_t)slots, sizeof(*owner));
	uint32_t moved = 0;
	char *w;

	while ((w = word()) && n < MANY)
		index[n++] = (uint16_t)atoi(w);
	for (int i = 0; n && i < slots; i++)
		owner[i] = index[i % n];
	rc = dataplane_slots_set(dp, service, owner, (size_t)slots, (uint32_t)generation, &moved);
	free(owner);
	if (rc < 0)
		fail(rc);
	else
		printf("%u\n", moved);
}

/* Owners by the ring that balancers build from names and rates. */
static int ring_of(uint16_t *owner, uint32_t slots)
{
	struct ring_backend set[MANY];
	uint32_t *place = calloc(slots, sizeof(*place));
	uint16_t index[MANY];
	struct ring *ring = NULL;
	size_t n = 0;
	char *w;
	int rc = ring_new(&ring, slots);

	while ((w = word()) && n < MANY) {
		char name[WEIR_NAME_MAX];
		unsigned int i, rate;

		if (sscanf(w, "%63[^:]:%u:%u", name, &i, &rate) != 3)
			continue;
		set[n] = (struct ring_backend){ ring_id(name), rate };
		index[n++] = (uint16_t)i;
	}
	if (!rc && place)
		rc = ring_build(ring, set, n, 0, place);
	for (uint32_t i = 0; !rc && i < slots; i++)
		owner[i] = place[i] == RING_NONE ? 0 : index[place[i]];
	free(place);
	ring_free(ring);
	return rc;
}

static void do_ring(void)
{
	int service = number(), slots = number(), generation = number(), rc;
	uint16_t *owner = calloc((size_t)slots, sizeof(*owner));
	uint32_t moved = 0;

	rc = owner ? ring_of(owner, (uint32_t)slots) : -ENOMEM;
	if (!rc)
		rc = dataplane_slots_set(dp, service, owner, (size_t)slots, (uint32_t)generation, &moved);
	free(owner);
	if (rc < 0)
		fail(rc);
	else
		printf("%u\n", moved);
}

static void do_quic(void)
{
	int service = number(), index = number(), rc;
	char *hex = word();
	uint8_t id[15];
	size_t len = 0;

	while (hex && len < sizeof(id) && sscanf(hex + 2 * len, "%2hhx", &id[len]) == 1)
		len++;
	rc = dataplane_backend_quic(dp, service, index, id, len);
	if (rc < 0)
		fail(rc);
	else
		printf("%d\n", rc);
}

static void do_get(void)
{
	int service = number(), slots = number(), rc;
	uint16_t *owner = calloc((size_t)slots, sizeof(*owner));

	rc = dataplane_slots_get(dp, service, owner, (size_t)slots);
	for (int i = 0; !rc && i < slots; i++)
		printf("%u ", owner[i]);
	free(owner);
	if (rc < 0)
		fail(rc);
	else
		puts("");
}

static void do_state(void)
{
	struct dataplane_service_state s;
	int rc = dataplane_service_state(dp, number(), &s);

	if (rc < 0)
		fail(rc);
	else
		printf("%u %u %u %llu\n", s.slots, s.transition, s.generation,
		       (unsigned long long)s.count.packets);
}

static void do_reasons(void)
{
	struct weir_count c[WEIR_REASON_COUNT];
	int rc = dataplane_reasons(dp, c);

	if (rc < 0) {
		fail(rc);
		return;
	}
	for (int i = 0; i < WEIR_REASON_COUNT; i++)
		printf("%s=%llu ", dataplane_reason_name(i), (unsigned long long)c[i].packets);
	puts("");
}

static void do_counts(void)
{
	struct weir_count c[MANY];
	uint16_t index[MANY];
	size_t n = 0;
	char *w;
	int rc;

	while ((w = word()) && n < MANY)
		index[n++] = (uint16_t)atoi(w);
	rc = dataplane_backend_counts(dp, index, n, c);
	if (rc < 0) {
		fail(rc);
		return;
	}
	for (size_t i = 0; i < n; i++)
		printf("%llu ", (unsigned long long)c[i].packets);
	puts("");
}

static void do_egress(void)
{
	static const char *const what[] = {
#define ROW(name, meaning) #name,
		WEIR_EGRESS_COUNTS(ROW)
#undef ROW
	};
	uint64_t count[WEIR_EGRESS_COUNT];
	int rc = dataplane_egress_counts(dp, count);

	if (rc < 0) {
		fail(rc);
		return;
	}
	for (int i = 0; i < WEIR_EGRESS_COUNT; i++)
		printf("%s=%llu ", what[i], (unsigned long long)count[i]);
	puts("");
}

static void do_interfaces(void)
{
	struct dataplane_interface on[8];
	int n = dataplane_interfaces(dp, on, 8);

	for (int i = 0; i < n; i++)
		printf("%s %s %s ", on[i].name, on[i].mode, on[i].attach);
	puts("");
}

static void do_socket(void)
{
	int fd = dataplane_socket(dp, number() == 6 ? AF_INET6 : AF_INET);
	socklen_t len = sizeof(int);
	int mark = 0;

	if (fd < 0) {
		fail(fd);
		return;
	}
	getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len);
	printf("%#x\n", (unsigned int)mark);
	close(fd);
}

/* One line there and back over a connection by the encapsulation of clients' packets. */
static bool exchange(int fd, const struct addr_port *to)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(to, &ss);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	char back[8];

	if (connect(fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS)
		return false;
	if (poll(&p, 1, 3000) != 1 || write(fd, "probe\n", 6) != 6)
		return false;
	p.events = POLLIN;
	return poll(&p, 1, 3000) == 1 && read(fd, back, sizeof(back)) == 6 && !memcmp(back, "probe\n", 6);
}

static void do_probe(void)
{
	int index = number(), fd;
	enum weir_encap encap = !strcmp(word(), "ipip") ? WEIR_ENCAP_IPIP : WEIR_ENCAP_GUE;
	struct addr_port to;

	if (addr_port_parse(&to, word())) {
		puts("error address");
		return;
	}
	fd = dataplane_probe(dp, (uint16_t)index, &to.addr, encap);
	if (fd < 0) {
		fail(fd);
		return;
	}
	puts(exchange(fd, &to) ? "answered" : "silent");
	close(fd);
}

static void do_nat(void)
{
	static const char *const names[] = {
#define NAT_NAME(name, meaning) #name,
		WEIR_NAT_COUNTS(NAT_NAME)
#undef NAT_NAME
	};
	struct natset_state s;
	int rc = dataplane_nat(dp, &s);

	if (rc < 0) {
		fail(rc);
		return;
	}
	printf("addresses=%u ports=%u used=%u open=%u ", s.addresses, s.ports, s.used, s.open);
	for (int i = 0; i < WEIR_NAT_COUNT; i++)
		printf("%s=%llu ", names[i], (unsigned long long)s.count[i]);
	puts("");
}

static void do_notes(void)
{
	struct dataplane_notes n;
	int rc = dataplane_notes(dp, &n);

	if (rc < 0)
		fail(rc);
	else
		printf("%u %u %u %u %u\n", n.notes, n.room, n.half_open, n.half_open_room, n.kept);
}

static void do_loads(void)
{
	struct dataplane_load load[MANY];
	size_t n = 0;
	char *w;
	int rc;

	while ((w = word()) && n < MANY) {
		load[n].backend = (uint32_t)atoi(w);
		load[n++].load = (uint32_t)number();
	}
	rc = dataplane_loads(dp, load, n);
	if (rc < 0)
		fail(rc);
	else
		puts("0");
}

static int owner_describe(void *arg, uint16_t index, struct table_backend *b)
{
	(void)arg;
	return dataplane_owner_get(dp, index, &b->id, &b->address, &b->up);
}

/* Adding one whose id is known here gives its index. */
static int owner_known(void *arg, const struct table_backend *b)
{
	(void)arg;
	(void)b;
	return 0;
}

static int owner_add(void *arg, const struct table_backend *b)
{
	return dataplane_owner_set(dp, *(int *)arg, b->id, &b->address, b->up);
}

/* As an agent tells its table to another. */
static void do_table(void)
{
	int service = number();
	struct table *t = table_alloc((uint32_t)number());
	const char *path = word();
	char *text = NULL;
	FILE *out = NULL;

	if (t && !dataplane_table_get(dp, service, t->slot, t->slots) && !table_name(t, owner_describe, NULL))
		text = table_to_json(t, "s");
	if (text && path)
		out = fopen(path, "w");
	if (!out || fputs(text, out) < 0 || fclose(out))
		puts("error no table");
	else
		printf("%zu\n", t->n);
	free(text);
	table_free(t);
}

/* As an agent takes over another's. */
static void do_take(void)
{
	static char text[1 << 20];
	int service = number(), rc = -EINVAL, failed;
	const struct table_names names = { owner_known, owner_add, &service };
	const char *path = word();
	FILE *in = path ? fopen(path, "r") : NULL;
	size_t len = in ? fread(text, 1, sizeof(text), in) : 0;
	struct table *t = NULL;
	uint32_t changed = 0;

	if (in)
		fclose(in);
	if (len)
		rc = table_from_json(&t, text, len);
	if (!rc)
		rc = table_localize(t, &names, &failed);
	if (!rc)
		rc = failed ? failed : dataplane_table_put(dp, service, t->slot, t->slots, false, &changed);
	table_free(t);
	if (rc)
		fail(rc);
	else
		printf("%u\n", changed);
}

static void do_feedback(void)
{
	char *w = word();
	int rc;

	configured->feedback = w && !strcmp(w, "on");
	rc = dataplane_reconfigure(dp, configured, NULL);
	if (rc)
		fail(rc);
	else
		puts("0");
}

static void do_sweep(void)
{
	int rc = dataplane_sweep(dp, MAPS_CONFIGURED);

	if (rc)
		fail(rc);
	else
		puts("0");
}

static void do_limits(void)
{
	uint64_t rate = (uint64_t)number(), burst = (uint64_t)number();
	struct weir_limits limits = { .fresh = { 1000000, 10000000000 }, .bits4 = 24, .bits6 = 56 };
	int rc;

	if (rate)
		limits.of[WEIR_CLASS_SYN] =
			(struct weir_limit){ 1000000000 / rate, (burst - 1) * (1000000000 / rate) };
	rc = dataplane_filter(dp, DATAPLANE_FILTER_LIMITS, &limits, rate ? sizeof(limits) : 0, NULL, NULL);
	if (rc < 0)
		fail(rc);
	else
		puts("0");
}

static void obey(char *line)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} commands[] = {
		{ "service", do_service }, { "backend", do_backend },
		{ "fill", do_fill },	   { "get", do_get },
		{ "ring", do_ring },	   { "owner", do_owner },
		{ "state", do_state },	   { "reasons", do_reasons },
		{ "counts", do_counts },   { "interfaces", do_interfaces },
		{ "limits", do_limits },   { "socket", do_socket },   { "sweep", do_sweep },
		{ "egress", do_egress }, { "probe", do_probe },
		{ "feedback", do_feedback },
		{ "nat", do_nat },	   { "notes", do_notes },
		{ "loads", do_loads },	   { "quic", do_quic },
		{ "table", do_table },	   { "take", do_take },
	};
	char *name = strtok(line, " \n");

	for (size_t i = 0; name && i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		commands[i].fn();
		return;
	}
	puts("error unknown command");
}

/* NAME=N of agent.limits */
static void set_limit(struct conf_agent *conf, const char *text)
{
	const struct {
		const char *name;
		uint32_t *limit;
	} limits[] = {
		{ "services=", &conf->limits.services }, { "addresses=", &conf->limits.addresses },
		{ "backends=", &conf->limits.backends }, { "slots=", &conf->limits.slots },
		{ "notes=", &conf->limits.notes },	 { "half_open=", &conf->limits.half_open },
		{ "fragments=", &conf->limits.fragments }, { "nat_ports=", &conf->limits.nat_ports },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		if (!strncmp(text, limits[i].name, strlen(limits[i].name)))
			*limits[i].limit = (uint32_t)atoi(text + strlen(limits[i].name));
}

int main(int argc, char **argv)
{
	static char *interfaces[MANY], *decap[MANY];
	static struct addr_prefix from[MANY];
	static struct addr nat[MANY];
	const struct priv_user user = { 65534, 65534 };
	struct conf_agent conf = { .pin = "/sys/fs/bpf/weir",
				   .drain_us = 310000000,
				   .mark = 0x77,
				   .interfaces = interfaces };
	bool take_down = false;
	char line[4096];
	int c, rc;

	configured = &conf;
	conf.decap.interfaces = decap;
	conf.decap.from = from;
	conf.nat.addresses = nat;
	conf.nat.idle_us = 3600000000;
	conf.nat.udp_us = 60000000;
	while ((c = getopt(argc, argv, "a:l:m:p:i:d:f:t:s:n:rFx")) != -1) {
		switch (c) {
		case 'a':
			conf.attach =
				strcmp(optarg, "link") ? CONF_ATTACH_DISPATCHER : CONF_ATTACH_LINK;
			break;
		case 'l':
			set_limit(&conf, optarg);
			break;
		case 'm':
			conf.mode = !strcmp(optarg, "native")	 ? CONF_MODE_NATIVE
				    : !strcmp(optarg, "generic") ? CONF_MODE_GENERIC
								 : CONF_MODE_AUTO;
			break;
		case 'p':
			conf.pin = optarg;
			break;
		case 'i':
			interfaces[conf.ninterfaces++] = optarg;
			break;
		case 'd':
			decap[conf.decap.ninterfaces++] = optarg;
			break;
		case 'f':
			addr_prefix_parse(&from[conf.decap.nfrom++], optarg);
			break;
		case 't':
			conf.drain_us = strtoull(optarg, NULL, 10) * 1000000;
			break;
		case 's':
			conf.decap.mss = !strcmp(optarg, "off") ? CONF_MSS_OFF : (uint32_t)atoi(optarg);
			break;
		case 'n':
			addr_parse(&nat[conf.nat.naddresses++], optarg);
			break;
		case 'r':
			conf.forward = true;
			break;
		case 'F':
			conf.feedback = true;
			break;
		case 'x':
			take_down = true;
			break;
		default:
			return 2;
		}
	}
	log_open("dp_tool", LOG_LEVEL_INFO);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (take_down)
		return dataplane_detach(&conf);
	rc = dataplane_open(&dp, &conf, NULL, &user);
	if (rc) {
		fprintf(stderr, "dp_tool: cannot open: %s\n", strerror(-rc));
		return 1;
	}
	puts("ready");
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	dataplane_close(dp);
	return 0;
}
