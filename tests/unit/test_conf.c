// SPDX-License-Identifier: Apache-2.0
/*
 * conf: the file of ARCHITECTURE.md loads as written there; every broken file of tests/conf is refused
 * at the line and key that its first line names; defaults, limits and the man page agree with the table.
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#include "lib/conf_table.h"
#include "tests/unit/unit.h"

static char folder[200];

static const char *top(void)
{
	const char *path = getenv("WEIR_TOP");

	return path ? path : ".";
}

static int make_folder(void **state)
{
	(void)state;
	unit_folder(folder, sizeof(folder));
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unit_folder_remove(folder);
	return 0;
}

static char *file_in_folder(const char *name, const char *text)
{
	static char path[4][300];
	static unsigned int turn;
	char *p = path[turn++ % 4];
	FILE *f;

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	f = fopen(p, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return p;
}

/* Loads the text; what was said is in a static buffer. */
static int load(struct conf **conf, const char *text, const char **said)
{
	static char *faults;
	size_t len;
	FILE *f;
	int err;

	free(faults);
	f = open_memstream(&faults, &len);
	err = conf_load(conf, file_in_folder("weir.yaml", text), f);
	fclose(f);
	*said = faults;
	return err;
}

/* The example of ARCHITECTURE.md, from the document itself. */
static char *architecture_example(void)
{
	static char *text;
	char path[400], line[512];
	bool inside = false;
	size_t len;
	FILE *in, *out = open_memstream(&text, &len);

	snprintf(path, sizeof(path), "%s/ARCHITECTURE.md", top());
	in = fopen(path, "r");
	assert_non_null(in);
	while (fgets(line, sizeof(line), in)) {
		if (!strcmp(line, "```yaml\n"))
			inside = true;
		else if (inside && !strncmp(line, "```", 3))
			break;
		else if (inside)
			fputs(line, out);
	}
	fclose(in);
	fclose(out);
	return text;
}

static void the_documented_example(void **state)
{
	char *text = architecture_example(), want[400];
	const char *said;
	struct conf *conf;
	int err;

	(void)state;
	file_in_folder("file", "x");
	file_in_folder("ca.pem", "x");
	file_in_folder("node.pem", "x");
	file_in_folder("node.key", "x");
	file_in_folder("edge.example.zone", "x");
	file_in_folder("files.pem", "-----BEGIN CERTIFICATE-----\n");
	file_in_folder("files.key", "x");
	snprintf(want, sizeof(want), "%s/ca", folder);
	assert_int_equal(mkdir(want, 0700), 0);
	file_in_folder("ca/origins.pem", "-----BEGIN CERTIFICATE-----\n");
	err = load(&conf, text, &said);
	/* It shows every key, also two that exclude each other, and two gateways' worth of port 80. */
	assert_int_equal(err, -EINVAL);
	assert_non_null(strstr(said, "registry.token: stands beside a user"));
	assert_non_null(strstr(said, "registry.ca: has no effect"));
	assert_int_equal(strchr(strchr(said, '\n') + 1, '\n')[1], '\0');
	memcpy(strstr(text, "token: file, ca: file, "), "                       ", 23);
	err = load(&conf, text, &said);
	assert_string_equal(said, "");
	assert_int_equal(err, 0);
	free(text);

	assert_string_equal(conf->node, "gw-a1");
	assert_string_equal(conf->domain, "rack-1");
	snprintf(want, sizeof(want), "%s/ca.pem", folder);
	assert_string_equal(conf->tls.ca, want);
	assert_int_equal(conf->registry.timeout_us, 2000000);
	assert_string_equal(conf->registry_server.listen[0].path, "/run/weir/registry.socket");
	assert_true(conf->agent.enabled && conf->ns.enabled && conf->gateway.enabled && conf->endpoint.enabled);
	assert_string_equal(conf->agent.interfaces[0], "eth1");
	assert_int_equal(conf->agent.drain_us, 310000000);
	assert_true(fabs(conf->agent.move_budget - 0.001) < 1e-12);
	assert_int_equal(conf->agent.mark, 0x77);
	assert_int_equal(conf->agent.decap.nfrom, 2);
	assert_int_equal(conf->agent.decap.from[1].len, 32);
	assert_int_equal(conf->agent.nservices, 1);
	assert_int_equal(conf->agent.services[0].naddresses, 2);
	assert_int_equal(conf->agent.services[0].addresses[1].proto, IPPROTO_TCP);
	assert_int_equal(conf->agent.services[0].check.type, CONF_CHECK_HTTP);
	assert_int_equal(conf->agent.services[0].check.timeout_us, 500000);
	assert_string_equal(conf->agent.services[0].backends[0].name, "gw-a1");
	assert_int_equal(conf->agent.services[0].backends[0].address.family, AF_INET);
	assert_string_equal(conf->ns.steer[0].services[1], "files-b");
	assert_int_equal(conf->ns.limits.tcp_connections, 256);
	assert_int_equal(conf->gateway.limits.object, 5ull << 40);
	assert_int_equal(conf->gateway.redirect.token_ttl_us, 300000000);
	assert_int_equal(conf->endpoint.limits.header_bytes, 16384);
	assert_true(fabs(conf->endpoint.reserve_fraction - 0.05) < 1e-12);
	assert_int_equal(conf->endpoint.reserve, 0);
	assert_true(conf->tunnels.enabled && conf->edge.enabled && conf->origin.enabled && conf->authority.enabled);
	assert_int_equal(conf->tunnels.quarantine_us, 300000000);
	assert_int_equal(conf->tunnels.nprefix, 2);
	assert_int_equal(conf->edge.ncertificates, 1);
	assert_int_equal(conf->edge.limits.per_address, 0);
	assert_int_equal(conf->origin.ntargets, 3);
	assert_int_equal(conf->origin.targets[2].port, 5432);
	assert_true(conf->authority.lifetime_us == 365ull * 86400 * 1000000);
	conf_free(conf);
}

static void defaults(void **state)
{
	const char *said;
	struct conf *conf;
	char buf[100];

	(void)state;
	assert_int_equal(load(&conf, "gateway: {listen: [\"127.0.0.1:80\"]}\nrun: r\nregistry_server: {}\n"
			      "endpoint: {listen: [\"127.0.0.1:81\"], url: \"http://127.0.0.1:81\", reserve: 8GiB}\n",
			      &said), 0);
	assert_true(*conf->node && !strcmp(conf->node, conf->domain));
	assert_string_equal(conf->site, "default");
	assert_null(conf->user);
	assert_int_equal(conf->log_level, LOG_LEVEL_INFO);
	assert_int_equal(conf->gateway.limits.connections, 4096);
	assert_int_equal(conf->gateway.redirect.top, 2);
	assert_false(conf->agent.enabled);
	assert_int_equal(conf->gateway.inside.addr.family, AF_UNSPEC);
	assert_true(conf->endpoint.reserve == 8ull << 30);
	assert_true(conf->endpoint.reserve_fraction == 0);
	assert_int_equal(conf->endpoint.copies, 2);
	assert_string_equal(conf->state, "/var/lib/weir");
	assert_int_equal(strncmp(conf->run, folder, strlen(folder)), 0); /* relative to the file */
	assert_int_equal(strncmp(conf->registry.url, "unix:", 5), 0);
	assert_string_equal(conf->registry.url + 5, conf->registry_server.listen[0].path);
	assert_string_equal(conf_state_path(conf, "endpoint", buf, sizeof(buf)), "/var/lib/weir/endpoint");
	conf_ctl_path(conf, "gateway", buf, sizeof(buf));
	assert_non_null(strstr(buf, "/r/gateway.sock"));
	conf_free(conf);
	conf_free(NULL);
}

static void all_faults_at_once_in_order(void **state)
{
	const char *said;
	struct conf *conf = NULL;

	(void)state;
	assert_int_equal(load(&conf, "node: \"a b\"\ngatewey: {}\nlog: loud\nlog: info\n", &said), -EINVAL);
	assert_null(conf);
	said = strstr(said, "weir.yaml:1: node: ");
	assert_non_null(said);
	said = strstr(said, "weir.yaml:2: gatewey: unknown key; did you mean \"gateway\"?");
	assert_non_null(said);
	said = strstr(said, "weir.yaml:3: log: \"loud\" is not known here; write one of: error, warn");
	assert_non_null(said);
	said = strstr(said, "weir.yaml:4: log: is given twice");
	assert_non_null(said);
}

static void hostile_files(void **state)
{
	static char text[1100000];
	const char *said;
	struct conf *conf = NULL;
	char *p = text;

	(void)state;
	memset(text, '[', 200000); /* depth */
	text[200000] = '\0';
	assert_int_equal(load(&conf, text, &said), -EINVAL);
	assert_non_null(strstr(said, "nested too deeply"));
	memset(text, '#', sizeof(text) - 1); /* size */
	assert_int_equal(load(&conf, text, &said), -EFBIG);
	assert_non_null(strstr(said, "1 MiB"));
	for (int i = 0; i < 1000; i++) /* more faults than anybody reads */
		p += sprintf(p, "x%d: 1\n", i);
	assert_int_equal(load(&conf, text, &said), -EINVAL);
	assert_non_null(strstr(said, "and 800 more faults"));
	assert_int_equal(load(&conf, "node: \"a\\0b\"\n", &said), -EINVAL);
	assert_int_equal(load(&conf, "node: \"a\\nb: \\e[2J\"\n", &said), -EINVAL);
	assert_null(strchr(said, '\033'));
	assert_int_equal(load(&conf, "node: \xff\n", &said), -EINVAL);
	assert_int_equal(conf_load(&conf, folder, NULL), -EISDIR);
	assert_int_equal(conf_load(&conf, "/nonexistent/weir.yaml", NULL), -ENOENT);
	assert_null(conf);
}

/* Each once, whatever its ports: as many as a message to the loader holds. */
static void too_many_to_announce(void **state)
{
	static char text[200000];
	const char *said;

	(void)state;
	for (int n = 1024; n <= 1025; n++) {
		struct conf *conf = NULL;
		char *p = text;
		int err;

		p += sprintf(p, "agent:\n  interfaces: [eth1]\n  announce: 120\n  services:\n");
		for (int i = 0; i < n; i++)
			p += sprintf(p, "    - name: s%d\n      addresses: [198.18.%d.%d:80/tcp, 198.18.%d.%d:443/tcp]\n"
				     "      backends: [{name: b1, address: 198.19.1.11}]\n",
				     i, i >> 8, i & 255, i >> 8, i & 255);
		err = load(&conf, text, &said);
		assert_int_equal(err, n == 1024 ? 0 : -EINVAL);
		if (err)
			assert_non_null(strstr(said, "weir.yaml:3: agent.announce: leads at most 1024 addresses, "
						     "and services have 1025; "));
		conf_free(conf);
	}
}

/* ---- tests/conf: "# expect: LINE: KEY" on the first line ---- */

/* Returns 1 when the file is not refused as it says, with the reason on standard error. */
static int broken_file(const char *path)
{
	char first[256] = "", want[300];
	char *said = NULL, *nl;
	size_t len;
	FILE *f = fopen(path, "r"), *out = open_memstream(&said, &len);
	struct conf *conf = NULL;
	int err, wrong;

	assert_non_null(f);
	assert_non_null(fgets(first, sizeof(first), f));
	fclose(f);
	nl = strchr(first, '\n');
	assert_non_null(nl);
	*nl = '\0';
	if (strncmp(first, "# expect: ", 10))
		fail_msg("%s: the first line is not \"# expect: LINE: KEY\"", path);
	err = conf_load(&conf, path, out);
	fclose(out);
	snprintf(want, sizeof(want), "%.200s:%.80s: ", strrchr(path, '/') + 1, first + 10);
	/* One fault a file, so that each test means one thing; and it says what would be right. */
	wrong = err != -EINVAL || !strstr(said, want) || strchr(said, '\n')[1] ||
		(!strchr(said, ';') && !strchr(said, '?'));
	if (wrong)
		print_error("%s: wanted \"%s\" alone, got %d and:\n%s", path, want, err, said);
	free(said);
	conf_free(conf);
	return wrong;
}

static int is_yaml(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return n > 5 && !strcmp(entry->d_name + n - 5, ".yaml");
}

static void broken_files(void **state)
{
	struct dirent **names;
	char path[600];
	int n, wrong = 0;

	(void)state;
	snprintf(path, sizeof(path), "%.200s/tests/conf", top());
	n = scandir(path, &names, is_yaml, alphasort);
	assert_true(n >= 25);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%.200s/tests/conf/%.250s", top(), names[i]->d_name);
		wrong += broken_file(path);
		free(names[i]);
	}
	free(names);
	assert_int_equal(wrong, 0);
}

/* Certificates and such, which no example comes with, are missing; nothing else is wrong. (With files there:
 * tests/e2e/install.sh.) */
static void assert_example(const char *path)
{
	struct conf *conf = NULL;
	char *said = NULL, *rest;
	size_t len;
	FILE *out = open_memstream(&said, &len);
	int err = conf_load(&conf, path, out);

	fclose(out);
	conf_free(conf);
	for (char *line = strtok_r(said, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!strstr(line, ": there is no file /etc/weir/"))
			fail_msg("%s", line);
		err = 0;
	}
	free(said);
	if (err)
		fail_msg("%s does not load", path);
}

static void examples_load(void **state)
{
	struct dirent **names;
	char path[600];
	int n;

	(void)state;
	snprintf(path, sizeof(path), "%.200s/examples", top());
	n = scandir(path, &names, is_yaml, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%.200s/examples/%.250s", top(), names[i]->d_name);
		assert_example(path);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

/* ---- the table and its documents ---- */

static void check_section(const struct conf_section *section, const char *page)
{
	char item[100];

	assert_true(section->nkeys <= 64);
	for (size_t i = 0; i < section->nkeys; i++) {
		const struct conf_key *key = &section->keys[i];

		assert_non_null(key->doc);
		assert_true(key->offset < section->size);
		snprintf(item, sizeof(item), ".It Cm %s", key->name);
		if (!strstr(page, item))
			fail_msg("weir.yaml.5 does not have \"%s\"", item);
		if (key->fallback && !strstr(page, key->fallback))
			fail_msg("weir.yaml.5 does not have the default \"%s\" of %s", key->fallback, key->name);
		if (key->type == CONF_SECTION)
			check_section(key->section, page);
	}
}

static void the_man_page_has_every_key(void **state)
{
	static char page[100000];
	char path[300];
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%.200s/lib/weir.yaml.5", top());
	f = fopen(path, "r");
	assert_non_null(f);
	assert_true(fread(page, 1, sizeof(page) - 1, f) > 1000);
	fclose(f);
	check_section(&conf_root, page);
}

static void the_table_describes_itself(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	conf_describe(out);
	fclose(out);
	assert_non_null(strstr(text, "agent.services[].check.interval\n"));
	assert_non_null(strstr(text, "default 310s"));
	assert_non_null(strstr(text, "one of error | warn | info | debug"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_documented_example),
		cmocka_unit_test(defaults),
		cmocka_unit_test(all_faults_at_once_in_order),
		cmocka_unit_test(hostile_files),
		cmocka_unit_test(too_many_to_announce),
		cmocka_unit_test(broken_files),
		cmocka_unit_test(examples_load),
		cmocka_unit_test(the_man_page_has_every_key),
		cmocka_unit_test(the_table_describes_itself),
	};

	return cmocka_run_group_tests_name("conf", tests, make_folder, remove_folder);
}
