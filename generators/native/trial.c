/* A trial: its schedule, its abort rule, its end. All of this runs on the control side. */
#include <math.h>
#include <string.h>

#include "nvgen.h"

#define TICK_NS 20000000ULL
#define DRAIN_TICK_NS 1000000ULL
#define LIVE_TICKS 4
#define LEAD_US 300         /* from the go to the first frame, so that every worker is there */
#define PAUSE_US 50
#define STALL_US 200
#define AGAIN_US 1          /* from a refusal to the next offer */
#define BACKLOG_FRAMES 32.0
#define BACKLOG_US 2000.0
#define BACKLOG_MOST 1024.0
#define CATCH_UP 1.1        /* pace at which a backlog is worked off */
#define SILENCE_S 0.1       /* frames not back after this long, or the drain time if longer, count as lost */
#define SLOTS 64
#define DRIFT_NS 1000000.0  /* what TSC and CLOCK_MONOTONIC may differ by, plus what a clock is slewed by at most */
#define DRIFT_RATIO 600e-6

#define READ(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)

static struct trial {
	bool running, aborted, sending;
	json_int_t id;
	double rate, duration, drain, hz;
	int64_t max_lost; /* or -1 */
	uint64_t t0, expected_end, drain_end, quiet_received;
	struct instant began;
	unsigned ticks, streams;
	uint64_t gap[NV_MAX_STREAMS], reordered[NV_MAX_STREAMS];
	/* What had been sent at some moments of the past. */
	uint64_t slot_tsc[SLOTS], slot_sent[SLOTS][NV_MAX_STREAMS];
	unsigned slot;
} trial;

bool trial_running(void)
{
	return trial.running;
}

static const char *parse(json_t *command)
{
	json_t *max_lost = json_object_get(command, "max_lost");
	double rate, duration, drain = 0.1;
	json_int_t id;

	if (json_unpack(command, "{s:I,s:F,s:F,s?F}", "trial", &id, "rate_pps", &rate, "duration_s", &duration,
			"drain_s", &drain))
		return "start needs trial, rate_pps and duration_s";
	if (!(rate > 0) || !(duration > 0) || !(drain >= 0) || rate > 1e12 || duration > 1e6 || drain > 3600)
		return "rate_pps and duration_s must be positive, drain_s not negative";
	if (max_lost && !json_is_null(max_lost) && (!json_is_integer(max_lost) || json_integer_value(max_lost) < 0))
		return "max_lost is a number of frames or null";
	memset(&trial, 0, sizeof(trial));
	trial.id = id;
	trial.rate = rate;
	trial.duration = duration;
	trial.drain = drain;
	trial.max_lost = json_is_integer(max_lost) ? json_integer_value(max_lost) : -1;
	trial.streams = nv.n_templates * nv.queues;
	return NULL;
}

/* Each queue sends every n-th frame of its direction's schedule. */
static void schedule(void)
{
	double frames = fmax(1.0, floor(trial.rate * trial.duration * (1 + 1e-12)));
	double backlog = fmax(BACKLOG_FRAMES, fmin(trial.rate * BACKLOG_US / 1e6, BACKLOG_MOST));

	for (unsigned id = 0; id < 2 * nv.queues; id++) {
		struct stream *s = &nv.streams[id];
		uint64_t all = (uint64_t)frames;

		s->position = s->sent = s->late = s->refused = 0;
		s->stall_since = s->stall_refused = s->stall_longest = s->stall_total = s->refused_in_stall = 0;
		s->delay_frames = 0;
		s->flow = s->flow_start;
		s->t0 = trial.t0;
		s->phase = (double)s->queue / nv.queues;
		s->per_tick = trial.rate / trial.hz / nv.queues;
		s->total = all > s->queue ? (all - s->queue + nv.queues - 1) / nv.queues : 0;
		s->catch_up = 0;
		s->catch_up_ticks = (uint64_t)(s->burst / s->per_tick / CATCH_UP);
		s->backlog = (uint64_t)fmax(8.0, backlog / nv.queues);
		s->end = trial.t0;
		s->done = id >= trial.streams;
	}
	trial.expected_end = trial.t0 + (uint64_t)(frames / trial.rate * trial.hz);
}

const char *trial_start(json_t *command)
{
	const char *fault;

	if (!nv.n_templates)
		return "configure comes before start";
	if ((fault = parse(command)))
		return fault;
	clock_refine();
	trial.hz = clock_hz();
	nv.epoch = (uint8_t)trial.id;
	nv.stop = false;
	nv.ns_per_tick_q24 = (uint32_t)lround(1e9 / trial.hz * (1 << 24));
	nv.pause_ticks = (uint64_t)(PAUSE_US * 1e-6 * trial.hz);
	nv.stall_ticks = (uint64_t)(STALL_US * 1e-6 * trial.hz);
	nv.again_ticks = (uint64_t)(AGAIN_US * 1e-6 * trial.hz);
	nv.longest_ticks = (uint64_t)(11 * trial.hz);
	workers_reach(PHASE_ARM);
	emit(json_pack("{s:s,s:I}", "event", "started", "trial", trial.id));
	trial.began = clock_read();
	trial.t0 = rte_rdtsc() + (uint64_t)(LEAD_US * 1e-6 * trial.hz);
	schedule();
	trial.running = trial.sending = true;
	workers_reach(PHASE_RUN);
	return NULL;
}

void trial_stop(void)
{
	trial.aborted = true;
	__atomic_store_n(&nv.stop, true, __ATOMIC_RELAXED);
}

uint64_t trial_wait_ns(void)
{
	uint64_t now = rte_rdtsc();
	double left;

	if (!trial.sending || nv.stop)
		return DRAIN_TICK_NS;
	left = now < trial.expected_end ? (double)(trial.expected_end - now) / trial.hz * 1e9 : 0;
	return RTE_MIN(TICK_NS, (uint64_t)left + DRAIN_TICK_NS / 4);
}

/* What was sent so long ago that it would be back. */
static const uint64_t *sent_long_ago(uint64_t now)
{
	double lookback = fmax(SILENCE_S, trial.drain) * trial.hz;
	const uint64_t *found = NULL;

	for (unsigned i = 0; i < SLOTS; i++) {
		unsigned slot = (trial.slot + i) % SLOTS; /* from the oldest on */

		if (trial.slot_tsc[slot] && (double)(now - trial.slot_tsc[slot]) > lookback)
			found = trial.slot_sent[slot];
	}
	unsigned last = (trial.slot + SLOTS - 1) % SLOTS;
	if (!trial.slot_tsc[last] || (double)(now - trial.slot_tsc[last]) > lookback / (SLOTS / 2)) {
		if (found == trial.slot_sent[trial.slot])
			found = NULL; /* about to be written over; the next tick finds a younger one */
		trial.slot_tsc[trial.slot] = now;
		for (unsigned id = 0; id < trial.streams; id++)
			trial.slot_sent[trial.slot][id] = READ(nv.streams[id].sent);
		trial.slot = (trial.slot + 1) % SLOTS;
	}
	return found;
}

/* Frames of one stream that are lost for certain: a gap that has not closed since the last tick, or silence. */
static uint64_t lost_of(unsigned id, const uint64_t *long_ago)
{
	uint64_t next = 0, received = 0, reordered = 0, gap, filled, proven;

	/* In this order, so that frames that come in meanwhile only make the gap look smaller. */
	for (unsigned w = 0; w < nv.n_workers; w++)
		next = RTE_MAX(next, READ(nv.workers[w].seen[id].next));
	for (unsigned w = 0; w < nv.n_workers; w++) {
		received += READ(nv.workers[w].seen[id].received);
		reordered += READ(nv.workers[w].seen[id].reordered);
	}
	gap = next > received ? next - received : 0;
	filled = reordered - trial.reordered[id];
	proven = trial.gap[id] > filled ? trial.gap[id] - filled : 0;
	trial.gap[id] = gap;
	trial.reordered[id] = reordered;
	if (long_ago && long_ago[id] > received)
		proven = RTE_MAX(proven, long_ago[id] - received);
	return READ(nv.streams[id].refused) + (nv.no_receive ? 0 : proven);
}

static void apply_abort_rule(uint64_t now)
{
	const uint64_t *long_ago = sent_long_ago(now);
	uint64_t lost = 0;

	for (unsigned id = 0; id < trial.streams; id++)
		lost += lost_of(id, long_ago);
	if (trial.max_lost >= 0 && lost > (uint64_t)trial.max_lost)
		trial_stop();
}

static bool all_sent(void)
{
	for (unsigned id = 0; id < trial.streams; id++)
		if (!__atomic_load_n(&nv.streams[id].done, __ATOMIC_ACQUIRE))
			return false;
	return true;
}

/* Time that the schedule was followed for: as asked, or until the stop. */
static uint64_t sending_ticks(void)
{
	uint64_t end = trial.t0;

	if (!nv.stop)
		return trial.expected_end - trial.t0;
	for (unsigned id = 0; id < trial.streams; id++) {
		const struct stream *s = &nv.streams[id];
		uint64_t own = s->position == s->total ? trial.expected_end : s->end;

		end = RTE_MAX(end, own);
	}
	return end - trial.t0;
}

static void finish(void)
{
	struct instant ended;
	double mono, ticks, hz, step, drift;

	workers_reach(PHASE_IDLE);
	ended = clock_read();
	clock_refine();
	mono = (double)(ended.mono_ns - trial.began.mono_ns);
	ticks = (double)(ended.tsc - trial.began.tsc);
	/* Over a very short time the readings themselves are less exact than the calibration. */
	hz = mono > 50e6 ? ticks * 1e9 / mono : trial.hz;
	step = (double)(ended.real_ns - trial.began.real_ns) - mono;
	drift = ticks * 1e9 / trial.hz - mono;
	if (fabs(drift) > DRIFT_NS + DRIFT_RATIO * mono && fabs(drift) > fabs(step))
		step = drift;
	trial.running = false;
	emit(json_pack("{s:s,s:I,s:b,s:f,s:f,s:o,s:o,s:o,s:f,s:f}", "event", "done", "trial", trial.id, "aborted",
		       (int)trial.aborted, "started_at",
		       (double)trial.began.real_ns / 1e9 + (double)(trial.t0 - trial.began.tsc) / trial.hz,
		       "elapsed_s", (double)sending_ticks() / hz, "directions", report_directions(), "latency",
		       report_latency(), "pauses", report_pauses(hz, trial.rate), "clock_step_us", step / 1e3,
		       "tsc_hz", hz));
}

static void drain(uint64_t now)
{
	uint64_t sent = 0, received = 0, other = 0;
	bool quiet;

	for (unsigned direction = 0; direction < nv.n_templates; direction++) {
		struct counts c = count_direction(direction);

		sent += c.sent;
		received += c.received;
		other += c.duplicate;
	}
	quiet = received >= sent && received + other == trial.quiet_received;
	trial.quiet_received = received + other;
	if (quiet || nv.no_receive || now >= trial.drain_end)
		finish();
}

void trial_tick(void)
{
	uint64_t now = rte_rdtsc();
	double elapsed = now > trial.t0 ? (double)(now - trial.t0) / trial.hz : 0;

	if (trial.sending && all_sent()) {
		trial.sending = false;
		trial.drain_end = now + (uint64_t)(trial.drain * trial.hz);
	}
	if (!trial.sending) {
		drain(now);
		return;
	}
	apply_abort_rule(now);
	if (++trial.ticks % LIVE_TICKS == 0)
		emit(json_pack("{s:s,s:I,s:f,s:o}", "event", "live", "trial", trial.id, "elapsed_s", elapsed,
			       "directions", report_directions()));
}
