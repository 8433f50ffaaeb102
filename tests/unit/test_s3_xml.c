/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http/s3/{xml_in,xml_out,cors,lifecycle}: bodies that are read, those that are refused and why, documents that are read back as
 * what they were made of, CORS and lifecycle rules.
 */
#include "tests/unit/unit.h"

#include "http/s3/cors.h"
#include "http/s3/lifecycle.h"
#include "http/s3/xml_in.h"
#include "http/s3/xml_out.h"

#define DAY 86400

/* The kinds of body, as one function: NULL or what was read as JSON text (freed by free()). */
static char *read_body(const char *kind, const char *body, struct s3_fault *fault)
{
	size_t len = strlen(body);
	struct s3_complete complete;
	struct s3_deletes deletes;
	json_t *json = NULL;
	const char *word;
	char *text, location[64];

	if (!strcmp(kind, "delete") && !s3_in_delete(&deletes, body, len, fault)) {
		json = json_pack("{s:b,s:i,s:s,s:s}", "quiet", deletes.quiet, "n", (int)deletes.n, "key",
				 deletes.items[deletes.n - 1].key, "version", deletes.items[deletes.n - 1].version);
		s3_deletes_free(&deletes);
	} else if (!strcmp(kind, "complete") && !s3_in_complete(&complete, body, len, fault)) {
		json = json_pack("{s:i,s:i,s:s,s:s}", "n", (int)complete.n, "number",
				 (int)complete.parts[complete.n - 1].number, "etag", complete.parts[complete.n - 1].etag,
				 "sum", complete.parts[complete.n - 1].algorithm);
		s3_complete_free(&complete);
	} else if (!strcmp(kind, "tags")) {
		s3_in_tagging(&json, 10, body, len, fault);
	} else if (!strcmp(kind, "lifecycle")) {
		s3_in_lifecycle(&json, body, len, fault);
	} else if (!strcmp(kind, "cors")) {
		s3_in_cors(&json, body, len, fault);
	} else if (!strcmp(kind, "encryption")) {
		s3_in_encryption(&json, body, len, fault);
	} else if (!strcmp(kind, "versioning") && !s3_in_versioning(&word, body, len, fault)) {
		return strdup(word);
	} else if (!strcmp(kind, "acl") && !s3_in_acl(&word, body, len, fault)) {
		return strdup(word);
	} else if (!strcmp(kind, "create") && !s3_in_create_bucket(location, &json, body, len, fault)) {
		json_object_set_new(json, "", json_string(location));
	}
	text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(json);
	return text;
}

struct row {
	const char *kind, *body;
	const char *want; /* what was read, or the error's code */
};

#define NS	 " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define OBJECT	 "<Object><Key>k</Key></Object>"
#define PART(n)	 "<Part><PartNumber>" #n "</PartNumber><ETag>\"e\"</ETag></Part>"
#define RULE(in) "<LifecycleConfiguration><Rule><ID>i</ID><Status>Enabled</Status>" in "</Rule></LifecycleConfiguration>"
#define DAYS	 "<Expiration><Days>3</Days></Expiration>"
#define CORS(in) "<CORSConfiguration><CORSRule>" in "</CORSRule></CORSConfiguration>"
#define SSE(in)                                                                                                    \
	"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>" in           \
	"</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
#define ACL(in)                                                                                                    \
	"<AccessControlPolicy><Owner><ID>me</ID></Owner><AccessControlList>" in "</AccessControlList></AccessControlPolicy>"
#define GROUP(g, p)                                                                                                \
	"<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\">"              \
	"<URI>http://acs.amazonaws.com/groups/global/" g "</URI></Grantee><Permission>" p "</Permission></Grant>"

static const struct row rows[] = {
	{ "delete", "<Delete" NS "><Quiet>true</Quiet>" OBJECT "</Delete>",
	  "{\"key\":\"k\",\"n\":1,\"quiet\":true,\"version\":\"\"}" },
	{ "delete",
	  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><Delete>\n " OBJECT
	  "\n<Object><Key> a&amp;b&#13;<![CDATA[<]]></Key>"
	  "<VersionId>v</VersionId></Object></Delete>\n",
	  "{\"key\":\" a&b\\r<\",\"n\":2,\"quiet\":false,\"version\":\"v\"}" },
	{ "delete", "<Delete><Object><Key>a\x01&#x2;&#3;&#x1F;b&#x9;&#xA;\xef\xa3\xbf\xef\xa3\xbf@</Key></Object></Delete>",
	  "{\"key\":\"a\\u0001\\u0002\\u0003\\u001Fb\\t\\n\xef\xa3\xbf\xef\xa3\xbf@\",\"n\":1,\"quiet\":false,\"version\":\"\"}" },
	{ "delete", "<Delete><Object><Key>\xef\xa3\xbf@A</Key></Object></Delete>",
	  "{\"key\":\"\xef\xa3\xbf@A\",\"n\":1,\"quiet\":false,\"version\":\"\"}" },
	{ "delete", "<Delete><Object><Key>a&#0;</Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<Delete><Object><Key>a&#x1</Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<Delete>\x01<Object><Key>a</Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<Delete></Delete>", "MalformedXML" },
	{ "delete", "<Delete><Quiet>perhaps</Quiet>" OBJECT "</Delete>", "MalformedXML" },
	{ "delete", "<Delete><Object><Key></Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<Delete><Object/></Delete>", "MalformedXML" },
	{ "delete", "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<Delete>" OBJECT "<Other/></Delete>", "MalformedXML" },
	{ "delete", "<Delete>text" OBJECT "</Delete>", "MalformedXML" },
	{ "delete", "<Delete>" OBJECT "text</Delete>", "MalformedXML" },
	{ "delete", "<Delete>" OBJECT, "MalformedXML" },
	{ "delete", "", "MalformedXML" },
	{ "delete", "{}", "MalformedXML" },
	{ "delete", "<Erase>" OBJECT "</Erase>", "MalformedXML" },
	{ "delete", "<Delete xmlns=\"http://elsewhere/\">" OBJECT "</Delete>", "MalformedXML" },
	{ "delete", "<!DOCTYPE Delete [<!ENTITY a \"k\">]><Delete><Object><Key>&a;</Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<!DOCTYPE Delete SYSTEM \"file:///etc/passwd\"><Delete>" OBJECT "</Delete>", "MalformedXML" },
	{ "delete", "<Delete><?php 1 ?>" OBJECT "</Delete>", "MalformedXML" },
	{ "delete", "<Delete><Object><Key>&unknown;</Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<Delete><Object><Key>\xff</Key></Object></Delete>", "MalformedXML" },
	{ "delete", "<Delete><Object><Key>k</Key><Size>1</Size></Object></Delete>", "NotImplemented" },
	{ "delete", "<a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a></a></a></a></a>",
	  "MalformedXML" },
	{ "complete", "<CompleteMultipartUpload>" PART(1) PART(7) "</CompleteMultipartUpload>",
	  "{\"etag\":\"e\",\"n\":2,\"number\":7,\"sum\":\"\"}" },
	{ "complete",
	  "<CompleteMultipartUpload><Part><ETag>e</ETag><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>"
	  "<PartNumber>10000</PartNumber></Part></CompleteMultipartUpload>",
	  "{\"etag\":\"e\",\"n\":1,\"number\":10000,\"sum\":\"CRC64NVME\"}" },
	{ "complete",
	  "<CompleteMultipartUpload><Part><ETag>e</ETag><ChecksumCRC64NVME>AAA=</ChecksumCRC64NVME>"
	  "<PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
	  "InvalidArgument" },
	{ "complete",
	  "<CompleteMultipartUpload><Part><ETag>e</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>"
	  "<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
	  "InvalidArgument" },
	{ "complete", "<CompleteMultipartUpload>" PART(7) PART(1) "</CompleteMultipartUpload>", "InvalidPartOrder" },
	{ "complete", "<CompleteMultipartUpload>" PART(7) PART(7) "</CompleteMultipartUpload>", "InvalidPartOrder" },
	{ "complete", "<CompleteMultipartUpload>" PART(0) "</CompleteMultipartUpload>", "InvalidArgument" },
	{ "complete", "<CompleteMultipartUpload>" PART(10001) "</CompleteMultipartUpload>", "InvalidArgument" },
	{ "complete", "<CompleteMultipartUpload>" PART(one) "</CompleteMultipartUpload>", "MalformedXML" },
	{ "complete", "<CompleteMultipartUpload/>", "MalformedXML" },
	{ "complete", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
	  "MalformedXML" },
	{ "tags", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", "{\"a\":\"b\"}" },
	{ "tags", "<Tagging><TagSet/></Tagging>", "{}" },
	{ "tags", "<Tagging/>", "MalformedXML" },
	{ "tags", "<Tagging><TagSet><Tag><Key></Key><Value>b</Value></Tag></TagSet></Tagging>", "InvalidTag" },
	{ "tags", "<Tagging><TagSet><Tag><Key>aws:a</Key><Value>b</Value></Tag></TagSet></Tagging>", "InvalidTag" },
	{ "tags",
	  "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>a</Key><Value>c</Value></Tag></TagSet></Tagging>",
	  "InvalidTag" },
	{ "versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", "enabled" },
	{ "versioning", "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>", "suspended" },
	{ "versioning", "<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", "MalformedXML" },
	{ "versioning", "<VersioningConfiguration/>", "IllegalVersioningConfigurationException" },
	{ "versioning",
	  "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>",
	  "NotImplemented" },
	{ "create", "", "{\"\":\"\"}" },
	{ "create", "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>",
	  "{\"\":\"eu-west-1\"}" },
	{ "create", "<CreateBucketConfiguration><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>",
	  "{\"\":\"\",\"a\":\"b\"}" },
	{ "create", "<CreateBucketConfiguration><Tags><Tag><Key>aws:a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>",
	  "InvalidTag" },
	{ "create", "<CreateBucketConfiguration><Location><Name>a</Name></Location></CreateBucketConfiguration>",
	  "NotImplemented" },
	{ "create", "<CreateBucketConfiguration><Where/></CreateBucketConfiguration>", "MalformedXML" },
	{ "encryption", SSE("AES256"), "{\"algorithm\":\"AES256\"}" },
	{ "encryption", SSE("aws:kms"), "NotImplemented" },
	{ "encryption", SSE("ROT13"), "MalformedXML" },
	{ "acl", ACL(""), "private" },
	{ "acl", ACL(GROUP("AllUsers", "READ")), "public-read" },
	{ "acl", ACL(GROUP("AllUsers", "READ") GROUP("AllUsers", "WRITE")), "public-read-write" },
	{ "acl", ACL(GROUP("AuthenticatedUsers", "READ")), "authenticated-read" },
	{ "acl", ACL(GROUP("AllUsers", "WRITE")), "NotImplemented" },
	{ "acl", ACL(GROUP("AllUsers", "FULL_CONTROL")), "NotImplemented" },
	{ "acl", ACL("<Grant><Grantee><ID>me</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>"), "private" },
	{ "acl", ACL("<Grant><Grantee><ID>me</ID></Grantee><Permission>ALL</Permission></Grant>"), "MalformedACLError" },
	{ "acl", ACL("<Grant><Grantee><ID>you</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>"),
	  "NotImplemented" },
	{ "acl", "<AccessControlPolicy/>", "MalformedACLError" },
	{ "lifecycle", RULE("<Filter><Prefix>p/</Prefix></Filter>" DAYS),
	  "{\"rules\":[{\"days\":3,\"enabled\":true,\"id\":\"i\",\"prefix\":\"p/\"}]}" },
	{ "lifecycle", RULE("<Prefix/>" DAYS),
	  "{\"rules\":[{\"days\":3,\"enabled\":true,\"id\":\"i\",\"old\":true,\"prefix\":\"\"}]}" },
	{ "lifecycle",
	  RULE("<Filter><And><Prefix>p</Prefix><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>c</Key><Value/></Tag>"
	       "<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter>"
	       "<Expiration><Date>2027-01-01T00:00:00Z</Date></Expiration>"),
	  "{\"rules\":[{\"date\":1798761600,\"enabled\":true,\"id\":\"i\",\"larger\":5,\"prefix\":\"p\","
	  "\"tags\":{\"a\":\"b\",\"c\":\"\"}}]}" },
	{ "lifecycle",
	  RULE("<Filter/><NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays>"
	       "<NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
	       "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"),
	  "{\"rules\":[{\"abort_days\":1,\"enabled\":true,\"id\":\"i\",\"noncurrent_days\":2,\"noncurrent_keep\":3,"
	  "\"prefix\":\"\"}]}" },
	{ "lifecycle", RULE("<Filter/>"), "InvalidRequest" },
	{ "lifecycle", RULE(DAYS), "MalformedXML" },
	{ "lifecycle", RULE("<Filter/><Prefix/>" DAYS), "MalformedXML" },
	{ "lifecycle", RULE("<Filter/><Expiration/>"), "MalformedXML" },
	{ "lifecycle", RULE("<Filter/><Expiration><Days>0</Days></Expiration>"), "InvalidArgument" },
	{ "lifecycle", RULE("<Filter/><Expiration><Days>-1</Days></Expiration>"), "InvalidArgument" },
	{ "lifecycle", RULE("<Filter/><Expiration><Days>1</Days><Date>2027-01-01</Date></Expiration>"), "MalformedXML" },
	{ "lifecycle", RULE("<Filter/><Expiration><Date>2027-01-01T01:00:00Z</Date></Expiration>"), "InvalidArgument" },
	{ "lifecycle", RULE("<Filter/><Expiration><Date>soon</Date></Expiration>"), "MalformedXML" },
	{ "lifecycle",
	  RULE("<Filter><And><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And>"
	       "</Filter>" DAYS), "InvalidRequest" },
	{ "lifecycle",
	  RULE("<Filter/><Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>" DAYS),
	  "NotImplemented" },
	{ "lifecycle",
	  RULE("<Filter><Tag><Key>a</Key><Value/></Tag></Filter><Expiration>"
	       "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"),
	  "InvalidRequest" },
	{ "lifecycle",
	  "<LifecycleConfiguration><Rule><ID>i</ID><Status>Enabled</Status><Filter/>" DAYS
	  "</Rule><Rule><ID>i</ID><Status>Enabled</Status><Filter/>" DAYS "</Rule></LifecycleConfiguration>",
	  "InvalidArgument" },
	{ "lifecycle", "<LifecycleConfiguration/>", "MalformedXML" },
	{ "cors", CORS("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"),
	  "{\"rules\":[{\"methods\":[\"GET\"],\"origins\":[\"*\"]}]}" },
	{ "cors",
	  CORS("<AllowedMethod>PUT</AllowedMethod><AllowedOrigin>http://*.a</AllowedOrigin><ID>x</ID>"
	       "<AllowedMethod>GET</AllowedMethod><AllowedHeader>x-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
	       "<MaxAgeSeconds>60</MaxAgeSeconds>"),
	  "{\"rules\":[{\"expose\":[\"ETag\"],\"headers\":[\"x-*\"],\"id\":\"x\",\"max_age\":60,\"methods\":[\"PUT\",\"GET\"],"
	  "\"origins\":[\"http://*.a\"]}]}" },
	{ "cors", CORS("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>PATCH</AllowedMethod>"), "InvalidRequest" },
	{ "cors", CORS("<AllowedOrigin>*.*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"), "InvalidRequest" },
	{ "cors", CORS("<AllowedMethod>GET</AllowedMethod>"), "MalformedXML" },
	{ "cors", CORS("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedHeader>a b</AllowedHeader>"),
	  "InvalidRequest" },
	{ "cors", CORS("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><ExposeHeader>x:y</ExposeHeader>"),
	  "InvalidRequest" },
	{ "cors", CORS("<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><ExposeHeader>*</ExposeHeader>"),
	  "InvalidRequest" },
	{ "cors", CORS("<AllowedOrigin>a\r\nb</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"), "MalformedXML" },
};

static void test_bodies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct s3_fault fault = { S3_OK, "" };
		char *got = read_body(rows[i].kind, rows[i].body, &fault);

		if (strcmp(got ? got : s3_error_code(fault.error), rows[i].want))
			fail_msg("%s %s\nis %s (%s)\nnot %s", rows[i].kind, rows[i].body,
				 got ? got : s3_error_code(fault.error), fault.message, rows[i].want);
		free(got);
	}
}

/* What is refused in the end must not be a large tree before: many elements end the parsing. */
static void test_elements(void **state)
{
	struct s3_deletes deletes;
	struct s3_fault fault;
	char *text = malloc(S3_XML_MAX);
	size_t len = 0;

	(void)state;
	assert_non_null(text);
	for (int n = 65535; n <= 65536; n++) { /* and <Delete> */
		len = (size_t)sprintf(text, "<Delete>");
		for (int i = 0; i < n; i++) {
			memcpy(text + len, "<a/>", 4);
			len += 4;
		}
		len += (size_t)sprintf(text + len, "</Delete>");
		assert_int_equal(s3_in_delete(&deletes, text, len, &fault), S3_MALFORMED_XML);
		assert_string_equal(fault.message, n == 65535 ? "<a> is not known in <Delete>." : "The body has more than 65536 elements.");
	}
	free(text);
}

/* The largest bodies that clients send fit, the next larger ones are refused. */
static void test_sizes(void **state)
{
	struct xml xml;
	struct s3_deletes deletes;
	struct s3_complete complete;
	struct s3_fault fault;
	char key[S3_KEY_MAX + 1], *text;
	size_t len;

	(void)state;
	memset(key, '&', S3_KEY_MAX / 2); /* five times as long when escaped: half of the key is enough */
	memset(key + S3_KEY_MAX / 2, 'k', S3_KEY_MAX - S3_KEY_MAX / 2);
	key[S3_KEY_MAX] = '\0';
	for (int n = 500; n <= 501; n++) {
		xml_begin(&xml, "Delete", true);
		for (int i = 0; i < 2 * n; i++) {
			xml_open(&xml, "Object");
			xml_text(&xml, "Key", i % 4 ? "short" : key);
			xml_close(&xml, "Object");
		}
		text = xml_take(&xml, "Delete", &len);
		assert_int_equal(s3_in_delete(&deletes, text, len, &fault), n == 500 ? S3_OK : S3_MALFORMED_XML);
		if (n == 500) {
			assert_int_equal(deletes.n, 1000);
			assert_string_equal(deletes.items[996].key, key);
			s3_deletes_free(&deletes);
		}
		free(text);
	}
	xml_begin(&xml, "CompleteMultipartUpload", true);
	for (unsigned int i = 1; i <= S3_PARTS_MAX; i++) {
		xml_open(&xml, "Part");
		xml_uint(&xml, "PartNumber", i);
		xml_etag(&xml, "ETag", "0123456789abcdef0123456789abcdef");
		xml_text(&xml, "ChecksumSHA256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
		xml_close(&xml, "Part");
	}
	text = xml_take(&xml, "CompleteMultipartUpload", &len);
	assert_true(len < S3_XML_MAX);
	assert_int_equal(s3_in_complete(&complete, text, len, &fault), S3_OK);
	assert_int_equal(complete.n, S3_PARTS_MAX);
	s3_complete_free(&complete);
	assert_int_equal(s3_in_complete(&complete, text, S3_XML_MAX + 1, &fault), S3_MAX_MESSAGE_LENGTH);
	free(text);
}

/* What was put is what is got. */
static void test_again(void **state)
{
	static const struct {
		const char *kind;
		char *(*out)(const json_t *value, size_t *len);
	} kinds[] = { { "tags", s3_out_tagging },
		      { "lifecycle", s3_out_lifecycle },
		      { "cors", s3_out_cors },
		      { "encryption", s3_out_encryption } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			char *text, *again;
			json_t *json;
			size_t len;

			if (strcmp(rows[i].kind, kinds[k].kind) || rows[i].want[0] != '{')
				continue;
			json = json_loads(rows[i].want, 0, NULL);
			text = kinds[k].out(json, &len);
			json_decref(json);
			again = read_body(kinds[k].kind, text, NULL);
			assert_non_null(again);
			assert_string_equal(again, rows[i].want);
			free(again);
			free(text);
		}
	}
}

static char *out_acl(const char *canned)
{
	static const struct s3_owner owner = { "me", "My & name" };
	size_t len;

	return s3_out_acl(&owner, canned, &len);
}

static void test_acl_again(void **state)
{
	static const char *const canned[] = { "private", "public-read", "public-read-write", "authenticated-read" };
	const char *got;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		char *text = out_acl(canned[i]);

		assert_int_equal(s3_in_acl(&got, text, strlen(text), NULL), S3_OK);
		assert_string_equal(got, canned[i]);
		free(text);
		assert_int_equal(s3_acl_parse(&got, canned[i], NULL), S3_OK);
		assert_string_equal(got, canned[i]);
	}
	assert_int_equal(s3_acl_parse(&got, NULL, NULL), S3_OK);
	assert_string_equal(got, "private");
	assert_int_equal(s3_acl_parse(&got, "public", NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_acl_parse(&got, "log-delivery-write", NULL), S3_NOT_IMPLEMENTED);
}

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static void holds(char *text, const char *what)
{
	if (!text || !strstr(text, what))
		fail_msg("no %s in %s", what, text ? text : "nothing");
	free(text);
}

static void test_documents(void **state)
{
	static const struct s3_checksum_text sum = { "CRC32C", "abc=", "FULL_OBJECT" };
	static const struct s3_part_text parts[] = { { 1, 5, 0, "e", { "CRC32C", "p=", NULL } } };
	const struct s3_owner owner = { "me", NULL };
	struct s3_attributes attributes = { .asked = s3_attributes_parse("ETag, Checksum,ObjectParts,ObjectSize,StorageClass"),
					    .etag = "\"e\"",
					    .size = 5,
					    .checksum = sum,
					    .nparts_total = 1,
					    .parts_max = 1000,
					    .parts = parts,
					    .nparts = 1 };
	struct xml xml;
	size_t len;

	(void)state;
	s3_out_buckets_begin(&xml, &owner);
	s3_out_bucket(&xml, "bucket", 0, NULL);
	holds(s3_out_buckets_end(&xml, NULL, NULL, &len),
	      "<Owner><ID>me</ID><DisplayName>me</DisplayName></Owner><Buckets><Bucket><Name>bucket</Name>"
	      "<CreationDate>1970-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>");
	holds(s3_out_location("eu-west-1", &len), ">eu-west-1</LocationConstraint>");
	holds(s3_out_location("us-east-1", &len), "\"></LocationConstraint>");
	holds(s3_out_versioning("", &len), "\"></VersioningConfiguration>");
	holds(s3_out_versioning("suspended", &len), "<Status>Suspended</Status>");
	holds(s3_out_copy("CopyObjectResult", "e", 0, &sum, &len),
	      "<ETag>&quot;e&quot;</ETag><ChecksumCRC32C>abc=</ChecksumCRC32C><ChecksumType>FULL_OBJECT</ChecksumType>");
	s3_out_delete_begin(&xml);
	s3_out_deleted(&xml, "k\x02", NULL, true, "v");
	s3_out_delete_error(&xml, "l", "v2", "AccessDenied", "Access Denied");
	holds(s3_out_delete_end(&xml, &len),
	      "<Deleted><Key>k&#x2;</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>v</DeleteMarkerVersionId>"
	      "</Deleted><Error><Key>l</Key><VersionId>v2</VersionId><Code>AccessDenied</Code>");
	holds(s3_out_upload_created("b", "k", "u", &len), "<Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId>");
	holds(s3_out_upload_complete("http://h/b/k", "b", "k", "e-2", &sum, &len), "<ETag>&quot;e-2&quot;</ETag>");
	holds(s3_out_policy_status(true, &len), "<IsPublic>true</IsPublic>");
	holds(s3_out_attributes(&attributes, &len),
	      "<ETag>e</ETag><Checksum><ChecksumCRC32C>abc=</ChecksumCRC32C><ChecksumType>FULL_OBJECT</ChecksumType></Checksum>"
	      "<ObjectParts><PartsCount>1</PartsCount><PartNumberMarker>0</PartNumberMarker>"
	      "<NextPartNumberMarker>1</NextPartNumberMarker><MaxParts>1000</MaxParts><IsTruncated>false</IsTruncated>"
	      "<Part><ChecksumCRC32C>p=</ChecksumCRC32C><PartNumber>1</PartNumber><Size>5</Size></Part></ObjectParts>"
	      "<StorageClass>STANDARD</StorageClass><ObjectSize>5</ObjectSize>");
	assert_int_equal(s3_attributes_parse("ETag,Colour"), 0);
	assert_int_equal(s3_attributes_parse(NULL), 0);
}

/* Each byte by itself and between others, and the ends of numbers. */
static void test_escape(void **state)
{
	static const char special[] = "&amp;<&lt;>&gt;\"&quot;";

	(void)state;
	for (int c = 1; c < 256; c++) {
		char text[4] = { 'a', (char)c, 'b' }, want[32];
		const char *at = strchr("&<>\"", c) ? strchr(special, c) + (c != '&') : NULL;
		struct xml xml = { 0 };

		if (at)
			snprintf(want, sizeof(want), "<K>a%.*sb</K>", (int)strcspn(at, ";") + 1, at);
		else if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
			snprintf(want, sizeof(want), "<K>a&#x%x;b</K>", c);
		else
			snprintf(want, sizeof(want), "<K>a%cb</K>", c);
		xml_text(&xml, "K", text);
		assert_string_equal(xml.text, want);
		xml_uint(&xml, "N", 0);
		xml_uint(&xml, "N", UINT64_MAX);
		assert_string_equal(xml.text + strlen(want), "<N>0</N><N>18446744073709551615</N>");
		assert_int_equal(xml.len, strlen(xml.text));
		xml_drop(&xml);
	}
}

static void test_cors(void **state)
{
	json_t *cors = json_loads("{\"rules\":[{\"origins\":[\"http://*.a\"],\"methods\":[\"GET\",\"PUT\"],\"headers\":[\"x-*\"],"
				  "\"expose\":[\"ETag\"],\"max_age\":60},{\"origins\":[\"*\"],\"methods\":[\"GET\"]}]}",
				  0, NULL);
	struct s3_cors c;

	(void)state;
	assert_true(s3_cors_match(&c, cors, "http://www.a", "PUT", "X-Amz-Date, x-b"));
	assert_string_equal(c.origin, "http://www.a");
	assert_string_equal(c.methods, "GET, PUT");
	assert_string_equal(c.headers, "x-amz-date, x-b");
	assert_string_equal(c.expose, "ETag");
	assert_true(c.credentials && c.max_age == 60);
	s3_cors_free(&c);
	assert_true(s3_cors_match(&c, cors, "http://b", "GET", NULL));
	assert_string_equal(c.origin, "*");
	assert_false(c.credentials);
	assert_true(c.max_age == -1 && !c.expose && !c.headers);
	s3_cors_free(&c);
	assert_false(s3_cors_match(&c, cors, "http://b", "PUT", NULL));
	assert_false(s3_cors_match(&c, cors, "http://www.a", "PUT", "content-type"));
	assert_false(s3_cors_match(&c, cors, "http://a", "PUT", NULL)); // the pattern has a dot
	assert_false(s3_cors_match(&c, NULL, "http://a", "GET", NULL));
	json_decref(cors);
}

static struct s3_lifecycle *compiled(const char *rules)
{
	json_t *json = json_loads(rules, 0, NULL);
	struct s3_lifecycle *lifecycle = NULL;

	assert_int_equal(s3_lifecycle_compile(&lifecycle, json), 0);
	json_decref(json);
	return lifecycle;
}

static void test_lifecycle_objects(void **state)
{
	struct s3_lifecycle *l = compiled("{\"rules\":[{\"id\":\"one two\",\"enabled\":true,\"prefix\":\"log/\",\"days\":2,\"larger\":10,"
					  "\"tags\":{\"a\":\"b\"}},{\"id\":\"off\",\"enabled\":false,\"prefix\":\"\",\"days\":1}]}");
	json_t *tags = json_pack("{s:s,s:s}", "a", "b", "c", "d");
	struct s3_lifecycle_entry e = { .key = "log/x", .tags = tags, .size = 11, .modified = 100 * DAY + 5, .current = true };
	char header[400];

	(void)state;
	assert_int_equal(s3_lifecycle_look(l, &e, 103 * DAY - 1), S3_KEEP);
	assert_int_equal(s3_lifecycle_look(l, &e, 103 * DAY), S3_EXPIRE);
	assert_true(s3_lifecycle_header(header, l, &e));
	assert_string_equal(header, "expiry-date=\"Tue, 14 Apr 1970 00:00:00 GMT\", rule-id=\"one%20two\"");
	e.size = 10;
	assert_int_equal(s3_lifecycle_look(l, &e, 200 * DAY), S3_KEEP);
	e.size = 11;
	e.key = "lo";
	assert_int_equal(s3_lifecycle_look(l, &e, 200 * DAY), S3_KEEP);
	e.key = "log/x";
	e.tags = NULL;
	assert_int_equal(s3_lifecycle_look(l, &e, 200 * DAY), S3_KEEP);
	assert_false(s3_lifecycle_header(header, l, &e));
	e.tags = tags;
	e.current = false;
	assert_int_equal(s3_lifecycle_look(l, &e, 200 * DAY), S3_KEEP);
	assert_true(s3_lifecycle_objects(l) && !s3_lifecycle_uploads(l));
	json_decref(tags);
	s3_lifecycle_free(l);
	assert_int_equal(s3_lifecycle_look(NULL, &e, 200 * DAY), S3_KEEP);
	l = compiled("{\"rules\":[{\"id\":\"d\",\"enabled\":true,\"prefix\":\"\",\"date\":1000}]}");
	e.current = true;
	assert_int_equal(s3_lifecycle_look(l, &e, 999), S3_KEEP);
	assert_int_equal(s3_lifecycle_look(l, &e, 1000), S3_EXPIRE);
	s3_lifecycle_free(l);
}

static void test_lifecycle_versions(void **state)
{
	struct s3_lifecycle *l = compiled("{\"rules\":[{\"id\":\"n\",\"enabled\":true,\"prefix\":\"\",\"noncurrent_days\":1,"
					  "\"noncurrent_keep\":2,\"marker\":true,\"abort_days\":3}]}");
	struct s3_lifecycle_entry e = { .key = "k", .size = 1, .noncurrent_since = 10 * DAY, .noncurrent_newer = 2 };
	int64_t when;
	char id[256];

	(void)state;
	assert_int_equal(s3_lifecycle_look(l, &e, 12 * DAY - 1), S3_KEEP);
	assert_int_equal(s3_lifecycle_look(l, &e, 12 * DAY), S3_EXPIRE_VERSION);
	e.noncurrent_newer = 1;
	assert_int_equal(s3_lifecycle_look(l, &e, 12 * DAY), S3_KEEP);
	e = (struct s3_lifecycle_entry){ .key = "k", .current = true, .marker = true, .alone = true };
	assert_int_equal(s3_lifecycle_look(l, &e, 0), S3_EXPIRE_VERSION);
	e.alone = false;
	assert_int_equal(s3_lifecycle_look(l, &e, 999 * DAY), S3_KEEP);
	assert_true(s3_lifecycle_versions(l) && s3_lifecycle_uploads(l));
	assert_false(s3_lifecycle_abort(l, "k", 5 * DAY, 9 * DAY - 1));
	assert_true(s3_lifecycle_abort(l, "k", 5 * DAY, 9 * DAY));
	assert_true(s3_lifecycle_abort_date(&when, id, l, "k", 5 * DAY + 1));
	assert_true(when == 9 * DAY);
	assert_string_equal(id, "n");
	s3_lifecycle_free(l);
}

static void test_lifecycle_bad(void **state)
{
	json_t *bad = json_loads("{\"rules\":[1]}", 0, NULL);
	struct s3_lifecycle *l = (void *)1;

	(void)state;
	assert_int_not_equal(s3_lifecycle_compile(&l, bad), 0);
	assert_int_equal(s3_lifecycle_compile(&l, NULL), 0);
	assert_null(l);
	json_decref(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bodies),	   cmocka_unit_test(test_sizes), cmocka_unit_test(test_elements),
		cmocka_unit_test(test_again),	   cmocka_unit_test(test_acl_again),
		cmocka_unit_test(test_documents),  cmocka_unit_test(test_escape), cmocka_unit_test(test_cors),
		cmocka_unit_test(test_lifecycle_objects), cmocka_unit_test(test_lifecycle_versions),
		cmocka_unit_test(test_lifecycle_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
