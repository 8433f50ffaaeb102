// SPDX-License-Identifier: Apache-2.0
/*
 * tunnel_origin.c -- `weir tunnel run`: a configuration out of a folder of credentials and a few
 * options, and then this process becomes `weir-tunnel origin`.
 *
 * The configuration is written into the folder (run.yaml, as JSON, which is YAML too), so that
 * `weir status -c` and a reload find it.
 */
#include "tools/tunnel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/tunnels.h"
#include "tools/cmd.h"

#define TARGETS_MAX 64
#define NOBODY	    "65534"

static const struct cmd run_cmd = {
	"tunnel run", "[NAME] [--hostname H] --to URL …",
	"Publish a local server: run an origin in the foreground",
	"  NAME            of the tunnel; when there is one alone, that one\n"
	"  --hostname H    what the next --to is for (all hostnames of the tunnel)\n"
	"  --port P        bytes of this port of the tunnel go to the next --to\n"
	"  --to URL        http:// https:// h2c:// h2:// with HOST:PORT, unix:PATH, "
	"tcp://HOST:PORT,\n"
	"                  tcp+unix:PATH; more than once with hostnames or ports of their own\n"
	"  --ca FILE       by which the next https:// or h2:// target is verified\n"
	"  --host H        sent to the next target as Host\n"
	"  --proxy v1|v2   the PROXY protocol to the next target\n"
	"  --edge H:P      instead of the edges that enrolling named; may be given again\n"
	"  --connections N in all (4)\n"
	"  --dir DIR       what `weir tunnel enroll` filled\n"
	"  -v              more messages\n\n"
	"It ends with SIGTERM or Ctrl-C after what runs has ended; a second one ends it at once.\n"
	"example: weir tunnel run --hostname app.edge.example --to http://127.0.0.1:8080\n",
	NULL
};

struct run {
	const char *name, *hostname, *port, *ca, *host, *proxy, *connections;
	const char *dir;
	char folder[PATH_MAX - 64];
	json_t *targets, *edges;
	bool verbose;
};

/* ---- options: each --to takes what stands before it ---- */

static json_t *full_path(const char *file)
{
	char path[PATH_MAX];

	return json_string(realpath(file, path) ? path : file);
}

static int add_target(struct run *r, const char *to)
{
	json_t *t = json_pack("{ss ss}", "hostname", r->hostname ? r->hostname : "*", "to", to);
	char *end = NULL;
	long port = r->port ? strtol(r->port, &end, 10) : 0;

	if (r->port && (*end || port < 1 || port > 65535)) {
		json_decref(t);
		return cmd_usage(&run_cmd, "--port %s is no port (1 to 65535)", r->port);
	}
	if (r->port)
		json_object_set_new(t, "port", json_integer(port));
	if (r->ca)
		json_object_set_new(t, "ca", full_path(r->ca));
	if (r->host)
		json_object_set_new(t, "host", json_string(r->host));
	if (r->proxy)
		json_object_set_new(t, "proxy", json_string(r->proxy));
	json_array_append_new(r->targets, t);
	r->hostname = r->port = r->ca = r->host = r->proxy = NULL;
	return CMD_OK;
}

static int take_option(struct run *r, const char *name, const char *value)
{
	const struct {
		const char *name, **to;
	} all[] = { { "--hostname", &r->hostname },
		    { "--port", &r->port },
		    { "--ca", &r->ca },
		    { "--host", &r->host },
		    { "--proxy", &r->proxy },
		    { "--connections", &r->connections },
		    { "--dir", &r->dir } };
	size_t i = 0;

	while (i < sizeof(all) / sizeof(*all) && strcmp(all[i].name, name))
		i++;
	if (i == sizeof(all) / sizeof(*all) && strcmp(name, "--to") && strcmp(name, "--edge"))
		return cmd_usage(&run_cmd, "there is no option %s", name);
	if (!value)
		return cmd_usage(&run_cmd, "%s needs a value", name);
	if (!strcmp(name, "--to"))
		return add_target(r, value);
	if (!strcmp(name, "--edge"))
		json_array_append_new(r->edges, json_string(value));
	else
		*all[i].to = value;
	return CMD_OK;
}

/* CMD_OK, an exit code, or -1: help was printed. */
static int parse(struct run *r, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		int rc;

		if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
			cmd_help(&run_cmd);
			return -1;
		}
		if (!strcmp(argv[i], "-v")) {
			r->verbose = true;
			continue;
		}
		if (argv[i][0] != '-') {
			if (r->name)
				return cmd_usage(&run_cmd,
						 "%s: one tunnel, please (%s is named already)",
						 argv[i], r->name);
			r->name = argv[i];
			continue;
		}
		rc = take_option(r, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
		if (rc)
			return rc;
		i++;
	}
	if (!json_array_size(r->targets))
		return cmd_usage(&run_cmd, "--to URL is missing: the server to publish, as in --to "
					   "http://127.0.0.1:8080");
	if (r->hostname || r->port || r->ca || r->host || r->proxy)
		return cmd_usage(&run_cmd, "options of a target stand before its --to");
	return CMD_OK;
}

/* ---- the folder ---- */

char *tunnel_folders(char *buf, size_t len)
{
	const char *home = getenv("HOME"), *config = getenv("XDG_CONFIG_HOME");

	if (!geteuid())
		snprintf(buf, len, "/var/lib/weir/tunnels");
	else if (config && *config == '/')
		snprintf(buf, len, "%s/weir/tunnels", config);
	else
		snprintf(buf, len, "%s/.config/weir/tunnels", home && *home ? home : "");
	return buf;
}

int tunnel_make_folder(const char *path)
{
	char part[PATH_MAX];

	if ((size_t)snprintf(part, sizeof(part), "%s", path) >= sizeof(part))
		return -ENAMETOOLONG;
	for (char *p = part + 1;; p++) {
		char was = *p;

		if (was && was != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
		*p = was;
		if (!was)
			return 0;
	}
}

/* The one tunnel that this machine enrolled for. */
static int only_folder(struct run *r, const char *base)
{
	DIR *d = opendir(base);
	struct dirent *de;
	size_t n = 0;

	while (d && (de = readdir(d))) {
		if (!tunnel_name_valid(de->d_name))
			continue;
		if (!n++)
			snprintf(r->folder, sizeof(r->folder), "%.2000s/%s", base, de->d_name);
	}
	if (d)
		closedir(d);
	if (!n)
		return cmd_fail("this machine is enrolled for no tunnel (there is nothing in %s); "
				"`weir tunnel enroll TOKEN "
				"--edge HOST:PORT` does it, and `weir tunnel create NAME "
				"--hostname H` where the registry is "
				"makes the token",
				base);
	if (n > 1)
		return cmd_usage(&run_cmd, "there are %zu tunnels in %s; name one", n, base);
	return CMD_OK;
}

static int find_folder(struct run *r)
{
	char base[PATH_MAX - 128], real[PATH_MAX];

	tunnel_folders(base, sizeof(base));
	if (r->dir)
		snprintf(r->folder, sizeof(r->folder), "%s", r->dir);
	else if (r->name)
		snprintf(r->folder, sizeof(r->folder), "%s/%s", base, r->name);
	else if (only_folder(r, base))
		return CMD_FAILED;
	if (!realpath(r->folder, real))
		return cmd_fail("%s: %s; `weir tunnel enroll TOKEN --edge HOST:PORT%s%s` makes it",
				r->folder, strerror(errno), r->dir ? " --dir " : "",
				r->dir ? r->dir : "");
	snprintf(r->folder, sizeof(r->folder), "%.4000s", real);
	return CMD_OK;
}

static int read_edges(struct run *r)
{
	char path[PATH_MAX];
	json_t *about, *edges;

	if (json_array_size(r->edges))
		return CMD_OK;
	snprintf(path, sizeof(path), "%s/tunnel.json", r->folder);
	about = json_load_file(path, 0, NULL);
	edges = json_object_get(about, "edges");
	if (json_array_size(edges))
		json_array_extend(r->edges, edges);
	json_decref(about);
	return json_array_size(r->edges) ? CMD_OK
					 : cmd_fail("%s names no edges; enroll again, or name one "
						    "with --edge HOST:PORT",
						    path);
}

/* ---- the configuration ---- */

/* Whom the daemon becomes when root starts it. */
static json_t *user_of(const struct run *r)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/key.pem", r->folder);
	if (!stat(path, &st) && st.st_uid)
		return json_sprintf("%u", st.st_uid);
	return json_string(getpwnam("weir") ? "weir" : NOBODY);
}

static int write_conf(const struct run *r, char path[PATH_MAX])
{
	json_t *origin = json_pack("{ss sO sO}", "credentials", r->folder, "edges", r->edges,
				   "targets", r->targets);
	json_t *conf = json_pack("{so}", "origin", origin);
	char part[PATH_MAX];
	int rc = CMD_OK;
	char *text;
	FILE *f;
	int fd;

	json_object_set_new(conf, "state", json_sprintf("%s/state", r->folder));
	json_object_set_new(conf, "run", json_sprintf("%s/run", r->folder));
	if (!geteuid())
		json_object_set_new(conf, "user", user_of(r));
	if (r->connections)
		json_object_set_new(origin, "connections", json_integer(atoi(r->connections)));
	text = json_dumps(conf, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(conf);
	snprintf(path, PATH_MAX, "%s/run.yaml", r->folder);
	snprintf(part, sizeof(part), "%s/run.yaml.new", r->folder);
	unlink(part);
	fd = text ? open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f || fprintf(f, "# written by `weir tunnel run`\n%s\n", text) < 0 || fclose(f) ||
	    rename(part, path))
		rc = cmd_fail("%s: %s", part, strerror(errno));
	free(text);
	return rc;
}

static int become(const struct run *r, const char *conf)
{
	char self[PATH_MAX], program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *argv[] = {
		"weir-tunnel", "origin", "-c", conf, r->verbose ? "-v" : NULL, NULL
	};
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(program, sizeof(program), "%.4000s/weir-tunnel", self);
	fflush(NULL);
	execv(program, (char *const *)argv);
	execvp(argv[0], (char *const *)argv);
	return cmd_fail("cannot run weir-tunnel (%s): %s", program, strerror(errno));
}

int tunnel_run(int argc, char **argv)
{
	struct run r = { .targets = json_array(), .edges = json_array() };
	char conf[PATH_MAX];
	int rc = parse(&r, argc, argv);

	if (!rc)
		rc = find_folder(&r);
	if (!rc)
		rc = read_edges(&r);
	if (!rc)
		rc = write_conf(&r, conf);
	json_decref(r.targets);
	json_decref(r.edges);
	if (rc)
		return rc < 0 ? CMD_OK : rc;
	return become(&r, conf);
}
