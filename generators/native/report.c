/* What a trial has counted, added up over streams and workers. */
#include "hdr.h"
#include "nvgen.h"

#define READ(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)

/* Safe while the workers count: each counter is one aligned word that only grows. */
struct counts count_direction(unsigned direction)
{
	struct counts c = {0};
	unsigned port = nv.templates[direction].rx_port;

	for (unsigned id = direction * nv.queues; id < (direction + 1) * nv.queues; id++) {
		const struct stream *s = &nv.streams[id];

		c.sent += READ(s->sent);
		c.late += READ(s->late);
		c.refused += READ(s->refused);
		for (unsigned w = 0; w < nv.n_workers; w++) {
			const struct seen *seen = &nv.workers[w].seen[id];

			c.received += READ(seen->received);
			c.duplicate += READ(seen->duplicate);
			c.reordered += READ(seen->reordered);
		}
	}
	for (unsigned w = 0; w < nv.n_workers; w++) {
		c.foreign += READ(nv.workers[w].foreign[port]);
		c.stale += READ(nv.workers[w].stale[port]);
	}
	c.asked = c.sent + c.late + c.refused;
	return c;
}

json_t *report_directions(void)
{
	json_t *list = json_array();

	for (unsigned direction = 0; direction < nv.n_templates; direction++) {
		struct counts c = count_direction(direction);

		json_array_append_new(
			list, json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "asked", (json_int_t)c.asked,
					"sent", (json_int_t)c.sent, "late", (json_int_t)c.late, "refused",
					(json_int_t)c.refused, "received", (json_int_t)c.received, "lost",
					(json_int_t)(c.sent > c.received ? c.sent - c.received : 0), "duplicate",
					(json_int_t)c.duplicate, "reordered", (json_int_t)c.reordered, "foreign",
					(json_int_t)c.foreign, "stale", (json_int_t)c.stale));
	}
	return list;
}

json_t *report_histogram(enum histogram which)
{
	json_t *bins = json_array();

	for (unsigned i = 0; i < NV_HDR_BINS; i++) {
		uint64_t count = 0;

		for (unsigned w = 0; w < nv.n_workers; w++)
			count += nv.workers[w].hdr[which][i];
		if (count)
			json_array_append_new(
				bins, json_pack("[I,I]", (json_int_t)hdr_lowest(i), (json_int_t)count));
	}
	return bins;
}

static json_t *column(enum column which, unsigned intervals)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < intervals; i++) {
		uint64_t count = 0;

		for (unsigned w = 0; w < nv.n_workers; w++)
			count += nv.workers[w].timeline[which][i];
		json_array_append_new(list, json_integer((json_int_t)count));
	}
	return list;
}

/* As far as the sending time reached. */
json_t *report_timeline(double hz, uint64_t ticks)
{
	unsigned intervals = interval_of(nv.t0 + ticks) + 1;

	return json_pack("{s:f,s:o,s:o,s:o}", "interval_s", 1 / (nv.intervals_per_tick * hz), "sent",
			 column(COLUMN_SENT, intervals), "refused", column(COLUMN_REFUSED, intervals), "received",
			 column(COLUMN_RECEIVED, intervals));
}

json_t *report_pauses(double hz)
{
	uint64_t longest = 0, total = 0, count = 0, stall_longest = 0, stall_total = 0, in_stall = 0;
	double delay_ticks = 0, us = 1e6 / hz;

	for (unsigned w = 0; w < nv.n_workers; w++) {
		longest = RTE_MAX(longest, nv.workers[w].pause_longest);
		total += nv.workers[w].pause_total;
		count += nv.workers[w].pause_count;
	}
	for (unsigned id = 0; id < nv.n_templates * nv.queues; id++) {
		const struct stream *s = &nv.streams[id];

		stall_longest = RTE_MAX(stall_longest, s->stall_longest);
		stall_total += s->stall_total;
		in_stall += s->refused_in_stall;
		delay_ticks = RTE_MAX(delay_ticks, s->delay_ticks);
	}
	return json_pack("{s:f,s:I,s:f,s:f,s:f,s:f,s:I}", "generator_longest_us", (double)longest * us,
			 "generator_count", (json_int_t)count, "generator_total_us", (double)total * us,
			 "send_delay_max_us", delay_ticks * us, "device_longest_us",
			 (double)stall_longest * us, "device_total_us", (double)stall_total * us,
			 "refused_in_stall", (json_int_t)in_stall);
}
