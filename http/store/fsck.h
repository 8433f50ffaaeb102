/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck.h -- weir-endpoint fsck: looks at everything that an endpoint's folder holds while the
 * endpoint does not run, says what does not fit and what to do about it, and mends what is safe.
 *
 * It reads all data (their checksums), and compares versions, the index of segments and names. With
 * --repair it removes unfinished uploads and has the index made anew; data are never removed.
 */
#ifndef WEIR_STORE_FSCK_H
#define WEIR_STORE_FSCK_H

/* argv[0] is "fsck". Exit code: 0 nothing found, but what the next start removes by itself ("unfinished"); 1 something was
 * found, 2 wrong use, 3 it could not look. */
int fsck_main(int argc, char **argv);

#endif
