/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_backup.c -- see names_backup.h. The copy is a read transaction of LMDB: writers go on, and
 * what they write after its beginning is not in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/store/names_backup.h"
#include "lib/conf.h"

static int folder_sync(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* LMDB writes, and does not sync. */
static int copy(MDB_env *env, const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc;

	if (fd < 0)
		return -errno;
	rc = mdb_env_copyfd2(env, fd, MDB_CP_COMPACT);
	rc = rc > 0 ? -rc : rc ? -EIO : 0;
	if (!rc && fsync(fd))
		rc = -errno;
	if (close(fd) && !rc)
		rc = -errno;
	if (rc)
		unlink(file);
	return rc;
}

int names_backup(const char *from, const char *to)
{
	MDB_env *env;
	char file[4200], made[4210], above[4210];
	int rc;

	if (mkdir(to, 0700) && errno != EEXIST)
		return -errno;
	snprintf(file, sizeof(file), "%s/data.mdb", to);
	if (!access(file, F_OK))
		return -EEXIST;
	rc = mdb_env_create(&env);
	if (rc)
		return -ENOMEM;
	rc = mdb_env_open(env, from, MDB_RDONLY, 0600);
	rc = rc > 0 ? -rc : rc ? -EIO : 0;
	/* One that was cut off is no copy. */
	snprintf(made, sizeof(made), "%s.new", file);
	if (!rc)
		rc = copy(env, made);
	mdb_env_close(env);
	if (!rc && rename(made, file))
		rc = -errno;
	snprintf(above, sizeof(above), "%s/..", to);
	if (!rc)
		rc = folder_sync(to);
	return rc ? rc : folder_sync(above);
}

static int usage(int code)
{
	fprintf(code ? stderr : stdout, "usage: weir-endpoint backup-names [-c FILE] FOLDER\n"
					"Copies this node's index of names into FOLDER, as it is "
					"at one moment; the endpoint may "
					"run.\n"
					"  -c FILE    the configuration (" CONF_DEFAULT_PATH ")\n"
					"exit: 0 done, 1 failed, 2 wrong use or configuration\n");
	return code;
}

int names_backup_main(int argc, char **argv)
{
	static const struct option longs[] = { { "config", 1, NULL, 'c' },
					       { "help", 0, NULL, 'h' },
					       { NULL, 0, NULL, 0 } };
	const char *path = CONF_DEFAULT_PATH;
	char dir[4096], from[4200];
	struct conf *conf;
	int c, rc;

	while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		if (c != 'c')
			return usage(c == 'h' ? 0 : 2);
		path = optarg;
	}
	if (optind + 1 != argc)
		return usage(2);
	if (conf_load(&conf, path, stderr))
		return 2;
	conf_state_path(conf, "endpoint", dir, sizeof(dir));
	conf_free(conf);
	snprintf(from, sizeof(from), "%s/names", dir);
	rc = names_backup(from, argv[optind]);
	if (rc == -EEXIST)
		fprintf(stderr,
			"weir-endpoint backup-names: %s holds a copy already; name a new folder\n",
			argv[optind]);
	else if (rc)
		fprintf(stderr, "weir-endpoint backup-names: %s to %s: %s\n", from, argv[optind],
			strerror(-rc));
	return rc ? 1 : 0;
}
