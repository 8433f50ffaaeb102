// SPDX-License-Identifier: Apache-2.0
/*
 * range.c -- ranges of reads, of copied parts, of parts.
 */
#include "http/s3/range.h"

#include <string.h>

#include "http/s3/text.h"

enum s3_error s3_range_read(struct http_range *out, int *ranged, const char *header, uint64_t size)
{
	int rc = header ? http_range_parse(out, header, size) : 0;

	if (rc < 0)
		return S3_INVALID_RANGE;
	*ranged = rc;
	if (!rc)
		*out = (struct http_range){ 0, size };
	return S3_OK;
}

enum s3_error s3_range_copy(struct http_range *out, const char *header, uint64_t size, struct s3_fault *fault)
{
	const char *dash = strchr(header, '-');
	long long first = -1, last = -1;
	char text[24];

	if (!strncmp(header, "bytes=", 6) && dash && dash > header + 6 && (size_t)(dash - header - 6) < sizeof(text)) {
		memcpy(text, header + 6, (size_t)(dash - header - 6));
		text[dash - header - 6] = '\0';
		first = s3_digits(text);
		last = s3_digits(dash + 1);
	}
	if (first < 0 || last < first)
		return s3_fault(fault, S3_INVALID_ARGUMENT,
				"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last "
				"are the zero-based offsets of the first and last bytes to copy");
	if ((uint64_t)last >= size)
		return s3_fault(fault, S3_INVALID_ARGUMENT,
				"Range specified is not valid for source object of size: %llu", (unsigned long long)size);
	*out = (struct http_range){ (uint64_t)first, (uint64_t)(last - first) + 1 };
	return S3_OK;
}

enum s3_error s3_number_parse(unsigned int *out, const char *text, unsigned int min, unsigned int max, const char *what,
			      struct s3_fault *fault)
{
	long long n = s3_digits(text);

	if (n < (long long)min || n > (long long)max)
		return s3_fault(fault, S3_INVALID_ARGUMENT, "%s must be an integer between %u and %u, inclusive", what, min,
				max);
	*out = (unsigned int)n;
	return S3_OK;
}

enum s3_error s3_range_part(struct http_range *out, unsigned int number, const uint64_t *sizes, unsigned int nparts,
			    uint64_t size)
{
	uint64_t first = 0;

	if (!number || number > (nparts ? nparts : 1))
		return S3_INVALID_PART_NUMBER;
	if (!nparts) {
		*out = (struct http_range){ 0, size };
		return S3_OK;
	}
	for (unsigned int i = 0; i + 1 < number; i++)
		first += sizes[i];
	*out = (struct http_range){ first, sizes[number - 1] };
	return S3_OK;
}
