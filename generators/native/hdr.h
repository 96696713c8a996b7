/* Bins of HdrHistogram(1, 10**10, 3): 2048 sub-buckets, so at least three significant digits of 1 ns to 10 s. */
#ifndef NVGEN_HDR_H
#define NVGEN_HDR_H

#include <stdint.h>

#define HDR_HALF 1024u
#define HDR_MAX 10000000000ULL

static inline unsigned hdr_index(uint64_t value)
{
	unsigned bucket = 53 - (unsigned)__builtin_clzll(value | (2 * HDR_HALF - 1));
	return (bucket + 1) * HDR_HALF + (unsigned)(value >> bucket) - HDR_HALF;
}

/* The lowest value that falls into a bin. */
static inline uint64_t hdr_lowest(unsigned index)
{
	if (index < 2 * HDR_HALF)
		return index;
	return (uint64_t)(HDR_HALF + index % HDR_HALF) << (index / HDR_HALF - 1);
}

static inline void hdr_record(uint64_t *bins, uint64_t value)
{
	if (value < 1)
		value = 1;
	if (value > HDR_MAX)
		value = HDR_MAX;
	bins[hdr_index(value)]++;
}

#endif
