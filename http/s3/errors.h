/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errors.h -- the errors of S3: code, status and sentence (Amazon's API reference, "Error responses"),
 * and their XML.
 *
 * S3_OK is 0, so a function that returns enum s3_error reads like one that returns an errno. Nothing
 * here logs or sends.
 */
#ifndef WEIR_S3_ERRORS_H
#define WEIR_S3_ERRORS_H

#include <stddef.h>

/* X(NAME, CODE, STATUS, SENTENCE) */
#define S3_ERRORS(X)                                                                                                  \
	X(ACCESS_DENIED, "AccessDenied", 403, "Access Denied")                                                        \
	X(ACL_NOT_SUPPORTED, "AccessControlListNotSupported", 400, "The bucket does not allow ACLs")                  \
	X(ACL_WITH_OWNERSHIP, "InvalidBucketAclWithObjectOwnership", 400,                                             \
	  "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")                           \
	X(AUTH_HEADER_MALFORMED, "AuthorizationHeaderMalformed", 400,                                                 \
	  "The authorization header that you provided is not valid.")                                                 \
	X(AUTH_QUERY_PARAMETERS, "AuthorizationQueryParametersError", 400,                                            \
	  "The authorization query parameters that you provided are not valid.")                                      \
	X(BAD_DIGEST, "BadDigest", 400, "The Content-MD5 or checksum value that you specified did not match what "    \
					"the server received.")                                                       \
	X(BAD_REQUEST, "BadRequest", 400, "The request is not acceptable.")                                           \
	X(BUCKET_ALREADY_EXISTS, "BucketAlreadyExists", 409,                                                          \
	  "The requested bucket name is not available. Select a different name and try again.")                       \
	X(BUCKET_ALREADY_YOURS, "BucketAlreadyOwnedByYou", 409,                                                       \
	  "Your previous request to create the named bucket succeeded and you already own it.")                       \
	X(BUCKET_NOT_EMPTY, "BucketNotEmpty", 409, "The bucket you tried to delete is not empty.")                    \
	X(CONDITIONAL_CONFLICT, "ConditionalRequestConflict", 409,                                                    \
	  "A conflicting operation occurred during the request to this key. Retry the request.")                      \
	X(CONTENT_SHA256_MISMATCH, "XAmzContentSHA256Mismatch", 400,                                                  \
	  "The provided 'x-amz-content-sha256' header does not match what was computed.")                             \
	X(CORS_FORBIDDEN, "AccessForbidden", 403, "CORSResponse: This CORS request is not allowed.")                  \
	X(ENTITY_TOO_LARGE, "EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed object size.")   \
	X(ENTITY_TOO_SMALL, "EntityTooSmall", 400,                                                                    \
	  "Your proposed upload is smaller than the minimum allowed object size.")                                    \
	X(ENCRYPTION_KEY_LOST, "EncryptionKeyNotFound", 400,                                                          \
	  "The key that this object is encrypted with cannot be opened; asking again does not help.")                 \
	X(ILLEGAL_LOCATION, "IllegalLocationConstraintException", 400,                                                \
	  "The location constraint is incompatible for the region specific endpoint this request was sent to.")       \
	X(ILLEGAL_VERSIONING, "IllegalVersioningConfigurationException", 400,                                         \
	  "The versioning configuration specified in the request is invalid.")                                        \
	X(INCOMPLETE_BODY, "IncompleteBody", 400,                                                                     \
	  "You did not provide the number of bytes specified by the Content-Length HTTP header.")                     \
	X(INTERNAL, "InternalError", 500, "We encountered an internal error. Please try again.")                      \
	X(INVALID_ACCESS_KEY, "InvalidAccessKeyId", 403,                                                              \
	  "The AWS access key ID that you provided does not exist in our records.")                                   \
	X(INVALID_ARGUMENT, "InvalidArgument", 400, "Invalid Argument")                                               \
	X(INVALID_BUCKET_NAME, "InvalidBucketName", 400, "The specified bucket is not valid.")                        \
	X(INVALID_BUCKET_STATE, "InvalidBucketState", 409,                                                            \
	  "The request is not valid with the current state of the bucket.")                                           \
	X(INVALID_CHUNK_SIZE, "InvalidChunkSizeError", 403,                                                           \
	  "Only the last chunk is allowed to have a size less than 8192 bytes.")                                      \
	X(INVALID_DIGEST, "InvalidDigest", 400, "The Content-MD5 or checksum value that you specified is not valid.") \
	X(INVALID_LOCATION, "InvalidLocationConstraint", 400, "The specified location constraint is not valid.")      \
	X(INVALID_PART, "InvalidPart", 400,                                                                           \
	  "One or more of the specified parts could not be found. The part may not have been uploaded, or the "       \
	  "specified entity tag may not match the part's entity tag.")                                                \
	X(INVALID_PART_NUMBER, "InvalidPartNumber", 416, "The requested partnumber is not satisfiable")               \
	X(INVALID_PART_ORDER, "InvalidPartOrder", 400,                                                                \
	  "The list of parts was not in ascending order. The parts list must be specified in order by part number.")  \
	X(INVALID_POLICY, "InvalidPolicyDocument", 400,                                                               \
	  "The content of the form does not meet the conditions specified in the policy document.")                   \
	X(INVALID_RANGE, "InvalidRange", 416, "The requested range is not satisfiable")                               \
	X(INVALID_REQUEST, "InvalidRequest", 400, "Invalid Request")                                                  \
	X(INVALID_STORAGE_CLASS, "InvalidStorageClass", 400, "The storage class that you specified is not valid.")    \
	X(INVALID_TAG, "InvalidTag", 400, "The tag provided was not a valid tag.")                                    \
	X(INVALID_TOKEN, "InvalidToken", 400, "The provided token is malformed or otherwise not valid.")              \
	X(INVALID_URI, "InvalidURI", 400, "The specified URI couldn't be parsed.")                                    \
	X(KEY_TOO_LONG, "KeyTooLongError", 400, "Your key is too long.")                                              \
	X(MALFORMED_ACL, "MalformedACLError", 400,                                                                    \
	  "The ACL that you provided was not well formed or did not validate against our published schema.")          \
	X(MALFORMED_POLICY, "MalformedPolicy", 400, "The policy that you provided is not well formed.")               \
	X(MALFORMED_TRAILER, "MalformedTrailerError", 400,                                                            \
	  "The request contained trailing data that was not well-formed or did not conform to our published schema.") \
	X(MALFORMED_XML, "MalformedXML", 400,                                                                         \
	  "The XML you provided was not well-formed or did not validate against our published schema")                \
	X(MAX_MESSAGE_LENGTH, "MaxMessageLengthExceeded", 400, "Your request was too large.")                         \
	X(METADATA_TOO_LARGE, "MetadataTooLarge", 400,                                                                \
	  "Your metadata headers exceed the maximum allowed metadata size")                                           \
	X(METHOD_NOT_ALLOWED, "MethodNotAllowed", 405,                                                                \
	  "The specified method is not allowed against this resource.")                                               \
	X(MISSING_CONTENT_LENGTH, "MissingContentLength", 411,                                                        \
	  "You must provide the Content-Length HTTP header.")                                                         \
	X(MISSING_REQUEST_BODY, "MissingRequestBodyError", 400, "Request body is empty.")                             \
	X(MISSING_SECURITY_HEADER, "MissingSecurityHeader", 400, "Your request is missing a required header.")        \
	X(NO_SUCH_BUCKET, "NoSuchBucket", 404, "The specified bucket does not exist")                                 \
	X(NO_SUCH_BUCKET_POLICY, "NoSuchBucketPolicy", 404, "The bucket policy does not exist")                       \
	X(NO_SUCH_CONFIGURATION, "NoSuchConfiguration", 404, "The specified configuration does not exist.")           \
	X(NO_SUCH_CORS, "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist")                      \
	X(NO_SUCH_ENCRYPTION, "ServerSideEncryptionConfigurationNotFoundError", 404,                                  \
	  "The server side encryption configuration was not found")                                                   \
	X(NO_SUCH_KEY, "NoSuchKey", 404, "The specified key does not exist.")                                         \
	X(NO_SUCH_LIFECYCLE, "NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist")       \
	X(NO_SUCH_OBJECT_LOCK, "ObjectLockConfigurationNotFoundError", 404,                                           \
	  "Object Lock configuration does not exist for this bucket")                                                 \
	X(NO_SUCH_OWNERSHIP, "OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found")   \
	X(NO_SUCH_PUBLIC_BLOCK, "NoSuchPublicAccessBlockConfiguration", 404,                                          \
	  "The public access block configuration was not found")                                                      \
	X(NO_SUCH_REPLICATION, "ReplicationConfigurationNotFoundError", 404,                                          \
	  "The replication configuration was not found")                                                              \
	X(NO_SUCH_TAG_SET, "NoSuchTagSet", 404, "The TagSet does not exist")                                          \
	X(NO_SUCH_UPLOAD, "NoSuchUpload", 404,                                                                        \
	  "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been " \
	  "aborted or completed.")                                                                                    \
	X(NO_SUCH_VERSION, "NoSuchVersion", 404, "The specified version does not exist.")                             \
	X(NO_SUCH_WEBSITE, "NoSuchWebsiteConfiguration", 404,                                                         \
	  "The specified bucket does not have a website configuration")                                               \
	X(NOT_IMPLEMENTED, "NotImplemented", 501,                                                                     \
	  "A header or query you provided implies functionality that is not implemented.")                            \
	X(NOT_MODIFIED, "NotModified", 304, "Not Modified")                                                           \
	X(OPERATION_ABORTED, "OperationAborted", 409,                                                                 \
	  "A conflicting conditional operation is currently in progress against this resource. Try again.")           \
	X(PRECONDITION_FAILED, "PreconditionFailed", 412,                                                             \
	  "At least one of the pre-conditions you specified did not hold")                                            \
	X(QUOTA_EXCEEDED, "QuotaExceeded", 403, "The quota of the bucket or of the user would be exceeded.")          \
	X(REQUEST_HEADER_TOO_LARGE, "RequestHeaderSectionTooLarge", 400,                                              \
	  "The request header and query parameters used to make the request exceed the maximum allowed size.")        \
	X(REQUEST_TIME_TOO_SKEWED, "RequestTimeTooSkewed", 403,                                                       \
	  "The difference between the request time and the server's time is too large.")                              \
	X(REQUEST_TIMEOUT, "RequestTimeout", 400,                                                                     \
	  "Your socket connection to the server was not read from or written to within the timeout period.")          \
	X(SERVICE_UNAVAILABLE, "ServiceUnavailable", 503, "Service is unable to handle request. Try again.")          \
	X(SIGNATURE_MISMATCH, "SignatureDoesNotMatch", 403,                                                           \
	  "The request signature we calculated does not match the signature you provided. Check your key and "        \
	  "signing method.")                                                                                          \
	X(SLOW_DOWN, "SlowDown", 503, "Please reduce your request rate.")                                             \
	X(TOO_MANY_BUCKETS, "TooManyBuckets", 400, "You have attempted to create more buckets than allowed.")         \
	X(TOO_MANY_PARTS, "TooManyParts", 400, "The upload has more parts than are allowed.")                         \
	X(UNEXPECTED_CONTENT, "UnexpectedContent", 400, "This request contains unsupported content.")                 \
	X(UNRESOLVABLE_EMAIL, "UnresolvableGrantByEmailAddress", 400,                                                 \
	  "The email address you provided does not match any account on record.")                                     \
	X(INSUFFICIENT_STORAGE, "InsufficientStorage", 507, "The disks of the server are full.")                      \
	X(UNKNOWN_OUTCOME, "GatewayTimeout", 504,                                                                     \
	  "It is not known whether the request took effect; it is safe to repeat it.")

enum s3_error {
	S3_OK,
#define S3_ERROR_NAME(name, code, status, sentence) S3_##name,
	S3_ERRORS(S3_ERROR_NAME)
#undef S3_ERROR_NAME
	S3_ERRORS_N
};

/* "NoSuchKey", 404, "The specified key does not exist."; of S3_OK: "", 200, "". */
const char *s3_error_code(enum s3_error error);
unsigned int s3_error_status(enum s3_error error);
const char *s3_error_message(enum s3_error error);

/* What was wrong, with a sentence of its own: parsers fill it in; message "" means the table's. */
struct s3_fault {
	enum s3_error error;
	char message[256];
};
/* Fills *fault and returns error: `return s3_fault(fault, S3_MALFORMED_XML, "no <Key> in <Object>");`
 * fault may be NULL; fmt NULL: the table's sentence. */
enum s3_error s3_fault(struct s3_fault *fault, enum s3_error error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* What a negative errno of names, chunks or the disk means here. -ENOENT is `missing` (S3_NO_SUCH_KEY, S3_NO_SUCH_UPLOAD, …). */
enum s3_error s3_error_of(int rc, enum s3_error missing);
/* What an error of the HTTP server's own means here (httpd_options.refuse). */
enum s3_error s3_error_of_refusal(unsigned int status, const char *code);

/* <Error><Code/><Message/><Resource/><RequestId/><HostId/>…</Error>, malloc'ed, NULL without memory. message NULL or
 * "": the table's. resource ("/bucket/key", decoded) may be NULL. more: name, value, …, NULL (BucketName, Key, …), or
 * NULL; they come after Message, as with Amazon. */
char *s3_error_xml(enum s3_error error, const char *message, const char *resource, const char *request_id,
		   const char *host_id, const char *const *more, size_t *len);

#endif
