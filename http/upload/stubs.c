// SPDX-License-Identifier: Apache-2.0
/* stubs.c -- stands in, weakly and last in the archive, for parts that are not delivered yet. To be removed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "http/upload/pipeline_impl.h"
#include "http/upload/unpack.h"
#define W __attribute__((weak))
const char *const field_type_names[FIELD_TYPES] W = { "any","string","integer","number","boolean","date","time","datetime","year","yearmonth","duration","object","array","geopoint" };
W void sniff(struct sniffed *out, const void *d, size_t len, bool whole, void *m) { (void)whole; (void)m; memset(out,0,sizeof(*out)); const unsigned char *b=d; out->kind = !len?KIND_EMPTY: len>1&&b[0]==0x1f&&b[1]==0x8b?KIND_GZIP: len>3&&!memcmp(b,"PK\3\4",4)?KIND_ZIP: len>3&&!memcmp(b,"\x28\xb5\x2f\xfd",4)?KIND_ZSTD: b[0]=='['?KIND_JSON: b[0]=='{'?KIND_JSONL: memchr(b,0,len)?KIND_OTHER:KIND_CSV; strcpy(out->mime,"text/csv"); out->delimiter=','; out->quote='"'; out->header=true; }
struct csv { struct row_sink sink; char *buf; size_t len; uint64_t n, off; bool names; };
W int csv_new(struct csv **out, const struct csv_dialect *d, const struct row_sink *s) { (void)d; *out=calloc(1,sizeof(**out)); if(!*out) return -ENOMEM; (*out)->sink=*s; (*out)->buf=malloc(ROWS_ROW_MAX); return 0; }
static int stub_line(struct csv *c, size_t l) { struct cell cells[ROWS_COLUMNS_MAX]; uint32_t n=0; char *p=c->buf,*e=c->buf+l; for(;;){ char *q=memchr(p,',',(size_t)(e-p)); if(!q) q=e; if(n<ROWS_COLUMNS_MAX){ cells[n++]=(struct cell){.text=p,.len=(uint32_t)(q-p),.null=q==p,.offset=c->off+(uint64_t)(p-c->buf)}; } if(q==e) break; p=q+1; } struct row r={.number=c->n,.offset=c->off,.length=l+1,.cells=cells,.ncells=n}; int rc; if(!c->names){c->names=true; rc=c->sink.names(c->sink.arg,cells,n);} else {r.number=++c->n; rc=c->sink.row(c->sink.arg,&r);} c->off+=l+1; return rc; }
W int csv_feed(struct csv *c, const void *d, size_t len) { const char *p=d; for(size_t i=0;i<len;i++){ if(p[i]=='\n'){ int rc=stub_line(c,c->len); c->len=0; if(rc) return rc; } else if(c->len<ROWS_ROW_MAX-1) c->buf[c->len++]=p[i]; } return 0; }
W int csv_end(struct csv *c) { if(c->len) return stub_line(c,c->len); return 0; }
W void csv_free(struct csv *c) { if(c) free(c->buf); free(c); }
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
struct transform { int x; };
W int transform_new(struct transform **o, const struct rules *r, const struct transform_files *f) { (void)o;(void)r;(void)f; return -ENOSYS; }
W int transform_names(struct transform *t, const struct cell *n, uint32_t k) { (void)t;(void)n;(void)k; return 0; }
W int transform_row(struct transform *t, const struct row *r) { (void)t;(void)r; return 0; }
W int transform_end(struct transform *t) { (void)t; return 0; }
W const char *transform_why(const struct transform *t) { (void)t; return ""; }
W json_t *transform_lineage(const struct transform *t) { (void)t; return json_array(); }
W void transform_free(struct transform *t) { free(t); }
W int csv_out_row(struct csv_out *o, const struct row *r, bool m) { (void)o;(void)r;(void)m; return 0; }
struct keyset { int x; };
W int keyset_open(struct keyset **o, int fd) { (void)o;(void)fd; return -ENOSYS; }
W void keyset_close(struct keyset *k) { (void)k; }
W int rules_parse(struct rules **o, const char *t, size_t l, const char *n, FILE *f) { (void)f; struct rules *r=calloc(1,sizeof(*r)); r->json=json_loadb(t,l,0,NULL); if(!r->json){free(r);return -EINVAL;} r->name=strdup(n?n:""); r->dialect.header=-1; r->tolerance.show=1000; r->tolerance.max_faults=UINT64_MAX; r->tolerance.max_share=1; *o=r; return 0; }
W void rules_free(struct rules *r) { if(!r) return; json_decref(r->json); free(r->name); free(r); }
W const struct field *rules_field(const struct rules *r, const char *n, size_t l) { (void)r;(void)n;(void)l; return NULL; }
W json_t *finding_json(const struct finding *f) { return json_pack("{s:i,s:I,s:s,s:s,s:s,s:s}","level",(int)f->level,"row",(json_int_t)f->row,"column",f->column,"rule",f->rule,"message",f->message,"mend",f->mend); }
W void finding_value(char *out, const char *t, size_t l) { snprintf(out, FINDING_VALUE_MAX, "%.*s", (int)l, t); }
W int jsonrows_new(struct jsonrows **o, bool l, const struct row_sink *s) { (void)o;(void)l;(void)s; return -ENOSYS; }
W int jsonrows_feed(struct jsonrows *j, const void *d, size_t l) { (void)j;(void)d;(void)l; return -ENOSYS; }
W int jsonrows_end(struct jsonrows *j) { (void)j; return 0; }
W void jsonrows_free(struct jsonrows *j) { (void)j; }
W int unpack(enum file_kind k, ssize_t (*r)(void *, void *, size_t), void *ra, const struct unpack_limits *l, const struct unpack_sink *s, char why[160]) { (void)k;(void)r;(void)ra;(void)l;(void)s;(void)why; return -ENOSYS; }
