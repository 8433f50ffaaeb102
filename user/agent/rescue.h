/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rescue.h -- `weir-agent --rescue`: takes everything of ours off this host, whatever state it is in.
 *
 * No configuration, no pin and no running agent is needed: programs are found in the kernel, by their names
 * and maps. What belongs to another network namespace is left alone.
 */
#ifndef WEIR_RESCUE_H
#define WEIR_RESCUE_H

/* argv[0] is "--rescue"; then --dry-run (say it, do nothing) and folders of pins besides those that are found
 * under /sys/fs/bpf. Says each step. Needs root. The exit code: 0 nothing of ours is left, 1 something is, 2 wrong use. */
int rescue_main(int argc, char **argv);

#endif
