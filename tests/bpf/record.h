/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h -- what went into the edge program and what came out, for readers that share no code with it.
 *
 * With EDGE_PCAP=FOLDER each test program leaves there NAME.pcap, every frame in and out in turn, and NAME.jsonl, a
 * line for each run: the case, the numbers of its frames (from 1; "out" is 0 when nothing came out), action and
 * reason, and what settings, services and backends were in the maps; of many runs of one case under one reason the
 * first few. Without it nothing happens.
 */
#ifndef WEIR_TESTS_RECORD_H
#define WEIR_TESTS_RECORD_H

#include "tests/bpf/edge.h"

void record_run(const struct frame *in, const struct outcome *out);
void record_close(void);

#endif
