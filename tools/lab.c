/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.c -- `weir lab`: two sites on one machine, inside namespaces of their own.
 *
 * The work is done by the script lab.sh (ip, unshare, nsenter), which lies beside this program when
 * it was built, and in PREFIX/lib/weir when it was installed.
 */
#include "tools/cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int find_script(char path[PATH_MAX])
{
	static const char *const places[] = { "../../tools/lab.sh", "../lib/weir/lab.sh",
					      "../../../tools/lab.sh" };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return -errno;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
		if (snprintf(path, PATH_MAX, "%s/%s", self, places[i]) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return 0;
	return -ENOENT;
}

int cmd_lab(const struct cmd *cmd, int argc, char **argv)
{
	const char *args[64] = { 0 };
	char path[PATH_MAX], self[PATH_MAX];
	ssize_t n;

	if (argc < 1 || !strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")) {
		cmd_help(cmd);
		return argc < 1 ? CMD_USAGE : CMD_OK;
	}
	if (argc > 60)
		return cmd_usage(cmd, "too many words");
	if (find_script(path))
		return cmd_fail("lab.sh is not where it was installed; run `make install` again");
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return cmd_fail("%s", strerror(errno));
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	setenv("WEIR_BIN", self, 1);
	args[0] = path;
	memcpy(args + 1, argv, (size_t)argc * sizeof(*argv));
	execv(path, (char *const *)args);
	return cmd_fail("cannot run %s: %s", path, strerror(errno));
}
