/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c -- weir-endpoint: stores and serves objects.
 */
#include <string.h>

#include "http/store/endpoint.h"
#include "http/store/fsck.h"
#include "http/store/names_backup.h"
#include "http/store/object.h"

int main(int argc, char **argv)
{
	static const struct endpoint none;

	if (argc == 2 && !strcmp(argv[1], "--routes")) {
		http_routes_print(object_routes(&none), stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "fsck"))
		return fsck_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "backup-names"))
		return names_backup_main(argc - 1, argv + 1);
	return daemon_main(&endpoint_program, argc, argv);
}
