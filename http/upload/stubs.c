// SPDX-License-Identifier: Apache-2.0
/* stubs.c -- stands in, weakly and last in the archive, for parts that are not delivered yet. To be removed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "http/upload/pipeline_impl.h"
#include "http/upload/unpack.h"
#define W __attribute__((weak))
W void sniff(struct sniffed *out, const void *d, size_t len, bool whole, void *m) { (void)whole; (void)m; memset(out,0,sizeof(*out)); const unsigned char *b=d; out->kind = !len?KIND_EMPTY: len>1&&b[0]==0x1f&&b[1]==0x8b?KIND_GZIP: len>3&&!memcmp(b,"PK\3\4",4)?KIND_ZIP: len>3&&!memcmp(b,"\x28\xb5\x2f\xfd",4)?KIND_ZSTD: b[0]=='['?KIND_JSON: b[0]=='{'?KIND_JSONL: memchr(b,0,len)?KIND_OTHER:KIND_CSV; strcpy(out->mime,"text/csv"); out->delimiter=','; out->quote='"'; out->header=true; }
struct check { struct check_options o; struct check_counts n; };
W size_t check_spills(const struct rules *r) { (void)r; return 0; }
W int check_new(struct check **out, const struct check_options *o) { *out=calloc(1,sizeof(**out)); (*out)->o=*o; return 0; }
static int sn(void *a,const struct cell*n,uint32_t k){struct check*c=a; return c->o.names?c->o.names(c->o.arg,n,k):0;}
static int sr(void *a,const struct row*r){struct check*c=a; c->n.rows++; c->n.good++; return c->o.good?c->o.good(c->o.arg,r):0;}
static int sf(void *a,enum row_fault f,uint64_t r,uint32_t c,uint64_t o,bool fatal){(void)f;(void)r;(void)c;(void)o;(void)fatal;((struct check*)a)->n.findings++;((struct check*)a)->n.rejects++; return 0;}
W void check_sink(struct check *c, struct row_sink *s) { *s=(struct row_sink){sn,sr,sf,c}; }
W int check_end(struct check *c) { (void)c; return 0; }
W enum verdict check_verdict(const struct check *c) { return c->n.rejects?VERDICT_REJECTED:VERDICT_ACCEPTED; }
W void check_counts(const struct check *c, struct check_counts *o) { *o=c->n; }
W json_t *check_summary(const struct check *c) { (void)c; return json_array(); }
W int check_write_keys(struct check *c, const char *k, int fd) { (void)c;(void)k;(void)fd; return -ENOENT; }
W void check_free(struct check *c) { free(c); }
