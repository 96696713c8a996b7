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
#define INTERVAL_S 0.001     /* of the timeline, unless that has too many of them */
#define DRIFT_NS 1000000.0  /* what TSC and CLOCK_MONOTONIC may differ by, plus what a clock is slewed by at most */
#define DRIFT_RATIO 600e-6

#define READ(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)

struct load {
	double rate, duration, frames;
};

static struct trial {
	bool running, aborted, sending;
	json_int_t id;
	struct load loads[2]; /* one after the other; the second may have no frames */
	double drain, hz;
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

static const char *parse_load(json_t *entry, struct load *load)
{
	if (json_unpack(entry, "{s:F,s:F}", "rate_pps", &load->rate, "duration_s", &load->duration))
		return "start and its then need rate_pps and duration_s";
	if (!(load->rate > 0) || !(load->duration > 0) || load->rate > 1e12 || load->duration > 1e6)
		return "rate_pps and duration_s must be positive";
	load->frames = fmax(1.0, floor(load->rate * load->duration * (1 + 1e-12)));
	return NULL;
}

static const char *parse(json_t *command)
{
	json_t *max_lost = json_object_get(command, "max_lost"), *then = json_object_get(command, "then");
	struct trial fresh = {.drain = 0.1, .streams = nv.n_templates * nv.queues};
	const char *fault;
	int detail = 0;

	if ((fault = parse_load(command, &fresh.loads[0])))
		return fault;
	if (then && !json_is_null(then) && (fault = parse_load(then, &fresh.loads[1])))
		return fault;
	if (json_unpack(command, "{s:I,s?F,s?b}", "trial", &fresh.id, "drain_s", &fresh.drain, "detail", &detail))
		return "start needs trial, drain_s in seconds, detail true or false";
	if (!(fresh.drain >= 0) || fresh.drain > 3600)
		return "drain_s must not be negative";
	if (max_lost && !json_is_null(max_lost) && (!json_is_integer(max_lost) || json_integer_value(max_lost) < 0))
		return "max_lost is a number of frames or null";
	fresh.max_lost = json_is_integer(max_lost) ? json_integer_value(max_lost) : -1;
	trial = fresh;
	nv.detail = detail;
	return NULL;
}

/* Each queue sends every n-th frame of its direction's schedule. */
static struct pace pace_of(const struct stream *s, const struct load *load, uint64_t t0, uint64_t before)
{
	double backlog = fmax(BACKLOG_FRAMES, fmin(load->rate * BACKLOG_US / 1e6, BACKLOG_MOST));
	uint64_t all = (uint64_t)load->frames;
	struct pace pace = {.t0 = t0, .before = before, .total = before};

	if (all > s->queue)
		pace.total += (all - s->queue + nv.queues - 1) / nv.queues;
	pace.per_tick = load->rate / trial.hz / nv.queues;
	pace.catch_up_ticks = (uint64_t)(s->burst / pace.per_tick / CATCH_UP);
	pace.backlog = (uint64_t)fmax(8.0, backlog / nv.queues);
	return pace;
}

static uint64_t ticks_of(double seconds)
{
	return (uint64_t)(seconds * trial.hz);
}

static void schedule_stream(struct stream *s, uint64_t step)
{
	s->position = s->sent = s->late = s->refused = 0;
	s->stall_since = s->stall_refused = s->stall_longest = s->stall_total = s->refused_in_stall = 0;
	s->delay_frames = s->delay_ticks = 0;
	s->flow = s->flow_start;
	s->phase = (double)s->queue / nv.queues;
	s->pace = pace_of(s, &trial.loads[0], trial.t0, 0);
	s->then.t0 = UINT64_MAX;
	if (trial.loads[1].frames > 0)
		s->then = pace_of(s, &trial.loads[1], step, s->pace.total);
	s->total = trial.loads[1].frames > 0 ? s->then.total : s->pace.total;
	s->catch_up = 0;
	s->end = trial.t0;
}

static void schedule(void)
{
	const struct load *first = &trial.loads[0], *then = &trial.loads[1];
	uint64_t step = trial.t0 + ticks_of(first->duration);

	for (unsigned id = 0; id < 2 * nv.queues; id++) {
		schedule_stream(&nv.streams[id], step);
		nv.streams[id].done = id >= trial.streams;
	}
	trial.expected_end = then->frames > 0 ? step + ticks_of(then->frames / then->rate)
					      : trial.t0 + ticks_of(first->frames / first->rate);
}

static void divide_timeline(void)
{
	double sending_s = (double)(trial.expected_end - trial.t0) / trial.hz;
	double interval_s = fmax(INTERVAL_S, sending_s / NV_INTERVALS);

	nv.t0 = trial.t0 - 1; /* a step on an edge belongs to the interval after it, whatever ticks were rounded to */
	nv.intervals_per_tick = 1 / (interval_s * trial.hz);
	nv.n_intervals = (unsigned)fmin(ceil(sending_s / interval_s * (1 - 1e-9)), NV_INTERVALS);
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
	nv.pause_ticks = ticks_of(PAUSE_US * 1e-6);
	nv.stall_ticks = ticks_of(STALL_US * 1e-6);
	nv.again_ticks = ticks_of(AGAIN_US * 1e-6);
	nv.longest_ticks = ticks_of(11);
	workers_reach(PHASE_ARM);
	emit(json_pack("{s:s,s:I}", "event", "started", "trial", trial.id));
	trial.began = clock_read();
	trial.t0 = rte_rdtsc() + ticks_of(LEAD_US * 1e-6);
	schedule();
	divide_timeline();
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

static void report(double hz, double step_ns)
{
	double started_at = (double)trial.began.real_ns / 1e9 + (double)(trial.t0 - trial.began.tsc) / trial.hz;
	uint64_t sending = sending_ticks();
	json_t *done = json_pack("{s:s,s:I,s:b,s:f,s:f,s:o,s:o,s:o,s:f,s:f}", "event", "done", "trial", trial.id,
				 "aborted", (int)trial.aborted, "started_at", started_at, "elapsed_s",
				 (double)sending / hz, "directions", report_directions(), "latency",
				 report_histogram(HDR_LATENCY), "pauses", report_pauses(hz), "clock_step_us",
				 step_ns / 1e3, "tsc_hz", hz);

	if (nv.detail) {
		json_object_set_new(done, "ipdv", report_histogram(HDR_IPDV));
		json_object_set_new(done, "timeline", report_timeline(trial.hz, sending));
	}
	emit(done);
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
	report(hz, step);
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
		trial.drain_end = now + ticks_of(trial.drain);
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
