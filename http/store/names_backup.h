/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_backup.h -- weir-endpoint backup-names: a copy of the index of names as it is at one
 * moment, also while the endpoint runs.
 */
#ifndef WEIR_STORE_NAMES_BACKUP_H
#define WEIR_STORE_NAMES_BACKUP_H

/* Copies the LMDB in folder `from` into the folder `to`, which is made and must hold none; synced.
 * 0, -EEXIST, or another -errno. Not for files that this process has open. */
int names_backup(const char *from, const char *to);

/* argv[0] is "backup-names". Exit code: 0 done, 1 failed, 2 wrong use or configuration. */
int names_backup_main(int argc, char **argv);

#endif
