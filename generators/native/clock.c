/* The TSC's true frequency, measured against CLOCK_MONOTONIC. */
#include <time.h>
#include <unistd.h>

#include "nvgen.h"

#define CALIBRATION_US 100000
#define ANCHOR_AGE_NS (30 * 1000000000LL)

/* Two anchors, so that there is always a long baseline that still follows a clock being disciplined. */
static struct instant older, newer;
static double hz;

static int64_t nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The tightest of some readings: one that no interrupt fell into. */
struct instant clock_read(void)
{
	struct instant best = {0};
	uint64_t narrowest = UINT64_MAX;

	for (int i = 0; i < 8; i++) {
		uint64_t before = rte_rdtsc_precise();
		int64_t mono = nanoseconds(CLOCK_MONOTONIC);
		int64_t real = nanoseconds(CLOCK_REALTIME);
		uint64_t after = rte_rdtsc_precise();

		if (after - before < narrowest) {
			narrowest = after - before;
			best = (struct instant){before + (after - before) / 2, mono, real};
		}
	}
	return best;
}

static double frequency(struct instant from, struct instant to)
{
	return (double)(to.tsc - from.tsc) * 1e9 / (double)(to.mono_ns - from.mono_ns);
}

void clock_calibrate(void)
{
	older = newer = clock_read();
	usleep(CALIBRATION_US);
	hz = frequency(older, clock_read());
}

void clock_refine(void)
{
	struct instant now = clock_read();

	hz = frequency(older, now);
	if (now.mono_ns - newer.mono_ns > ANCHOR_AGE_NS) {
		older = newer;
		newer = now;
	}
}

double clock_hz(void)
{
	return hz;
}
