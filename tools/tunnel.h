/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.h -- the sub-commands of `weir tunnel` among themselves.
 *
 * tunnel.c has the table and those that change the registry; tunnel_enroll.c and tunnel_origin.c
 * those that run where an origin runs, without registry or configuration. argc and argv are what
 * follows the sub-command's name; exit codes as in cmd.h.
 */
#ifndef WEIR_TOOLS_TUNNEL_H
#define WEIR_TOOLS_TUNNEL_H

#include <stddef.h>

/* enroll TOKEN|- --edge HOST:PORT [--dir DIR]: a key, and a certificate for it, into DIR. */
int tunnel_enroll(int argc, char **argv);
/* run [NAME] --hostname H --to URL … [--dir DIR]: becomes `weir-tunnel origin`, in the foreground.
 */
int tunnel_run(int argc, char **argv);

/* Where the credentials of tunnels lie: /var/lib/weir/tunnels, or ~/.config/weir/tunnels for those
 * who are not root. */
char *tunnel_folders(char *buf, size_t len);
/* Makes a folder and those above it. 0 or -errno. */
int tunnel_make_folder(const char *path);

#endif
