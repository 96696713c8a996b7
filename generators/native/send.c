/* Sending: what is due now, stamped, no more. */
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ethdev.h>

#include "nvgen.h"

/* Everything that a device may have changed in an mbuf's header; the frame itself is in its place already. */
static inline void reset_header(struct rte_mbuf *m, uint16_t bytes)
{
	m->data_off = RTE_PKTMBUF_HEADROOM;
	m->port = RTE_MBUF_PORT_INVALID;
	m->ol_flags = 0;
	m->pkt_len = bytes;
	m->data_len = bytes;
}

static inline void write_stamp(uint8_t *at, uint64_t identity, uint64_t time)
{
	uint32_t low = (uint32_t)time;
	uint16_t high = (uint16_t)(time >> 32);

	memcpy(at, &identity, 8);
	memcpy(at + 8, &low, 4);
	memcpy(at + 12, &high, 2);
}

static inline void write_flow(const struct template *t, uint32_t sum, uint8_t *frame, uint32_t flow)
{

	for (unsigned i = 0; i < t->n_fields; i++) {
		const struct field *f = &t->fields[i];
		uint32_t value = f->first + flow;

		if (f->width == 2) {
			uint16_t wire = rte_cpu_to_be_16((uint16_t)value);
			memcpy(frame + f->offset, &wire, 2);
			value &= 0xffff;
		} else {
			uint32_t wire = rte_cpu_to_be_32(value);
			memcpy(frame + f->offset, &wire, 4);
		}
		if (f->in_ipv4)
			sum += (value >> 16) + (value & 0xffff);
	}
	if (t->checksum_follows) {
		sum = (sum >> 16) + (sum & 0xffff);
		sum = (sum >> 16) + (sum & 0xffff);
		uint16_t wire = rte_cpu_to_be_16((uint16_t)~sum);
		memcpy(frame + t->checksum_offset, &wire, 2);
	}
}

/* The buffers hold the frame already; where sizes are mixed, each gets the headers of its own. */
static __rte_always_inline void write_frames(struct stream *s, struct rte_mbuf **burst, unsigned n, uint64_t time,
					     const bool mixed)
{
	const struct template *t = s->template;
	const struct shape *shape = t->shapes;
	unsigned place = mixed ? (unsigned)(s->sent % t->n_sequence) : 0;
	uint64_t identity = nv.signature | (uint64_t)nv.epoch << 16 | (uint64_t)s->id << 24;
	uint32_t sequence = (uint32_t)s->sent;
	uint32_t flow = s->flow;
	bool varies = t->n_fields > 0;

	for (unsigned i = 0; i < n; i++) {
		uint8_t *frame = (uint8_t *)burst[i]->buf_addr + RTE_PKTMBUF_HEADROOM;

		if (mixed) {
			shape = &t->shapes[t->sequence[place]];
			place = place + 1 == t->n_sequence ? 0 : place + 1;
			memcpy(frame, shape->header, NV_HEADER_MOST);
		}
		reset_header(burst[i], shape->bytes);
		write_stamp(frame + t->stamp_offset, identity | (uint64_t)sequence++ << 32, time);
		if (varies) {
			write_flow(t, shape->checksum_base, frame, flow);
			flow += s->flow_step;
			if (flow >= t->flows)
				flow = s->flow_start;
		}
	}
	s->flow = flow;
}

static void end_stall(struct stream *s, uint64_t now)
{
	uint64_t ticks = now - s->stall_since;

	if (s->stall_since && ticks >= nv.stall_ticks) {
		s->stall_total += ticks;
		s->stall_longest = RTE_MAX(s->stall_longest, ticks);
		s->refused_in_stall += s->stall_refused;
	}
	s->stall_since = 0;
	s->stall_refused = 0;
}

/* The tail of a burst that the device took in part already belongs to the stall that may begin with it. */
static void note_refused(struct stream *s, unsigned accepted, unsigned refused, uint64_t now)
{
	if (accepted && s->stall_since)
		end_stall(s, now);
	if (!refused)
		return;
	s->refused += refused;
	if (!s->stall_since)
		s->stall_since = now;
	s->stall_refused += refused;
	s->again = now + nv.again_ticks;
	/* Sequence numbers and flows of refused frames go to the frames that follow. */
	s->flow = s->flow_start + (uint32_t)(s->sent % s->flow_count) * s->flow_step;
}

static void note_detail(struct worker *w, unsigned accepted, unsigned refused, uint64_t now)
{
	unsigned interval = interval_of(now);

	w->timeline[COLUMN_SENT][interval] += accepted;
	w->timeline[COLUMN_REFUSED][interval] += refused;
}

static inline void send_burst(struct worker *w, struct stream *s, unsigned n, uint64_t now)
{
	struct rte_mbuf *burst[NV_BURST];
	unsigned accepted = 0;

	/* An empty pool means that the device holds every frame: as full as a ring can be. */
	if (likely(rte_mempool_get_bulk(s->pool, (void **)burst, n) == 0)) {
		if (likely(s->template->n_shapes == 1))
			write_frames(s, burst, n, now, false);
		else
			write_frames(s, burst, n, now, true);
		accepted = rte_eth_tx_burst(s->port, s->queue, burst, (uint16_t)n);
		if (unlikely(accepted < n))
			rte_mempool_put_bulk(s->pool, (void **)burst + accepted, n - accepted);
	}
	s->position += n;
	s->sent += accepted;
	if (unlikely(accepted < n || s->stall_since))
		note_refused(s, accepted, n - accepted, now);
	if (unlikely(nv.detail))
		note_detail(w, accepted, n - accepted, now);
}

/* A delay is counted in frames, which are as long as the pace says. */
static void settle_delay(struct stream *s)
{
	s->delay_ticks = RTE_MAX(s->delay_ticks, s->delay_frames / s->pace.per_tick);
	s->delay_frames = 0;
}

/* A backlog of the pace before goes out, or is late, by the rules of this one: no flood. */
static void next_pace(struct stream *s)
{
	settle_delay(s);
	s->pace = s->then;
	s->then.t0 = UINT64_MAX;
	s->catch_up = 0;
}

void send_close(struct stream *s, uint64_t now)
{
	end_stall(s, now);
	settle_delay(s);
	s->end = now;
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
}

void send_step(struct worker *w, struct stream *s, uint64_t now)
{
	const struct pace *pace = &s->pace;
	double place;
	uint64_t due;

	if (unlikely(__atomic_load_n(&nv.stop, __ATOMIC_RELAXED))) {
		send_close(s, now);
		return;
	}
	if (unlikely(now >= s->then.t0))
		next_pace(s);
	place = (double)pace->before + (double)(int64_t)(now - pace->t0) * pace->per_tick - s->phase;
	due = place < 0 ? 0 : RTE_MIN((uint64_t)place + 1, pace->total);
	if (due <= s->position) {
		/* The time of the last frame belongs to the trial, up to where the next one would be due. */
		if (s->position == s->total && place >= (double)s->total)
			send_close(s, now);
		return;
	}
	/* What exceeds a small backlog was not sent in time, and the schedule moves on. */
	if (unlikely(due - s->position > pace->backlog)) {
		s->late += due - s->position - pace->backlog;
		s->position = due - pace->backlog;
	}
	/* After a pause no flood: the backlog goes out little faster than the schedule. */
	if (unlikely(due - s->position > s->burst)) {
		if (now < s->catch_up)
			return;
		s->catch_up = now + pace->catch_up_ticks;
	}
	/* Asking a full ring again at once would take its cache lines from the very device that empties it. */
	if (unlikely(s->stall_since && now < s->again))
		return;
	if (place - (double)s->position > s->delay_frames)
		s->delay_frames = place - (double)s->position;
	send_burst(w, s, (unsigned)RTE_MIN(due - s->position, (uint64_t)s->burst), now);
}
