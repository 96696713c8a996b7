/* Receiving: whose frame is it, was it seen before, how long was it under way. */
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include "hdr.h"
#include "nvgen.h"

#define WINDOW_WORDS (NV_WINDOW / 64)
#define IPV4_UDP_BYTES 28

static inline uint64_t *word_of(struct seen *s, uint64_t sequence)
{
	return &s->window[(sequence / 64) % WINDOW_WORDS];
}

/* Frames were skipped: forget what the window said about their places before. */
static void skip_to(struct seen *s, uint64_t sequence)
{
	uint64_t from = s->next % 64 ? s->next / 64 + 1 : s->next / 64;
	uint64_t words = sequence / 64 + 1 - RTE_MIN(from, sequence / 64 + 1);

	if (words >= WINDOW_WORDS) {
		memset(s->window, 0, WINDOW_WORDS * 8);
		return;
	}
	for (uint64_t i = 0; i < words; i++)
		s->window[(from + i) % WINDOW_WORDS] = 0;
}

/* A frame from before the highest seen: reordered (RFC 4737), unless it is a copy. Returns whether it is new. */
static bool note_earlier(struct seen *s, uint64_t sequence)
{
	/* Too old for the window: nothing proves that it is a copy. */
	if (s->next - sequence < NV_WINDOW - 64) {
		uint64_t bit = 1ULL << sequence % 64;

		if (*word_of(s, sequence) & bit) {
			s->duplicate++;
			return false;
		}
		*word_of(s, sequence) |= bit;
	}
	s->received++;
	s->reordered++;
	return true;
}

static inline bool note_sequence(struct seen *s, uint32_t low)
{
	uint64_t sequence = s->next + (uint64_t)(int64_t)(int32_t)(low - (uint32_t)s->next);

	if (likely(sequence == s->next)) {
		if (sequence % 64 == 0)
			*word_of(s, sequence) = 0;
	} else if ((int64_t)sequence < (int64_t)s->next) {
		return note_earlier(s, sequence);
	} else {
		skip_to(s, sequence);
	}
	*word_of(s, sequence) |= 1ULL << sequence % 64;
	s->next = sequence + 1;
	s->received++;
	return true;
}

/* Where the stamp is, although a device may have added or removed a tag; 0: the frame is too short for one. */
static inline unsigned stamp_offset(const uint8_t *frame, unsigned bytes)
{
	unsigned type_at = 12;
	uint16_t type;

	for (int tags = 0; tags < 2 && type_at + 2 <= bytes; tags++) {
		memcpy(&type, frame + type_at, 2);
		if (likely(type != RTE_BE16(RTE_ETHER_TYPE_VLAN) && type != RTE_BE16(RTE_ETHER_TYPE_QINQ)))
			break;
		type_at += 4;
	}
	type_at += 2 + IPV4_UDP_BYTES;
	return likely(type_at + NV_STAMP_BYTES <= bytes) ? type_at : 0;
}

static inline uint64_t sent_at(const uint8_t *stamp)
{
	uint32_t low;
	uint16_t high;

	memcpy(&low, stamp + 8, 4);
	memcpy(&high, stamp + 12, 2);
	return low | (uint64_t)high << 32;
}

static inline uint64_t delay(uint64_t sent, uint64_t now)
{
	uint64_t ticks = (now - sent) & NV_TIME_MASK;

	/* Two cores' counters may differ by a few ticks: no time, rather than days. */
	if (unlikely(ticks >> 47))
		return 0;
	return RTE_MIN(ticks, nv.longest_ticks);
}

static inline void record(uint64_t *bins, uint64_t ticks)
{
	hdr_record(bins, (ticks * nv.ns_per_tick_q24) >> 24);
}

/* Delays vary between neighbours (RFC 5481 section 4.1): across a gap, or against the order, there are none. */
static inline void note_detail(struct worker *w, struct seen *s, uint64_t expected, uint64_t sent, uint64_t ticks)
{
	w->timeline[COLUMN_RECEIVED][interval_of(sent)]++;
	if (s->next == expected)
		return; /* came after a later one */
	if (s->next == expected + 1 && expected)
		record(w->hdr[HDR_IPDV], ticks > s->delay ? ticks - s->delay : s->delay - ticks);
	s->delay = ticks;
}

static inline void note_frame(struct worker *w, const struct rx_queue *q, struct rte_mbuf *m, uint64_t now,
			      const bool detail)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	unsigned offset = stamp_offset(frame, m->data_len);
	unsigned port = q->port != nv.ports[0].id;
	uint64_t identity, expected, sent, ticks;
	struct seen *seen;
	uint8_t stream;

	memcpy(&identity, frame + offset, 8);
	stream = (uint8_t)(identity >> 24);
	if (unlikely(!offset || (uint16_t)identity != nv.signature || nv.rx_port_of[stream] != port)) {
		w->foreign[port]++;
		return;
	}
	if (unlikely((uint8_t)(identity >> 16) != nv.epoch)) {
		w->stale[port]++;
		return;
	}
	seen = &w->seen[stream];
	expected = seen->next;
	if (unlikely(!note_sequence(seen, (uint32_t)(identity >> 32))))
		return;
	sent = sent_at(frame + offset);
	ticks = delay(sent, now);
	record(w->hdr[HDR_LATENCY], ticks);
	if (detail)
		note_detail(w, seen, expected, sent, ticks);
}

static inline bool is_plain(const struct rte_mbuf *m, const struct rx_queue *q)
{
	return m->nb_segs == 1 && m->pool == q->pool && rte_mbuf_refcnt_read(m) == 1 && RTE_MBUF_DIRECT(m);
}

/* Returns whether all buffers are plain ones. */
static __rte_always_inline bool note_burst(struct worker *w, const struct rx_queue *q, struct rte_mbuf **burst,
					   unsigned n, uint64_t now, const bool detail)
{
	bool plain = true;

	for (unsigned i = 0; i < n; i++) {
		plain &= is_plain(burst[i], q);
		note_frame(w, q, burst[i], now, detail);
	}
	return plain;
}

void receive_step(struct worker *w, const struct rx_queue *q)
{
	struct rte_mbuf *burst[NV_BURST];
	unsigned n = rte_eth_rx_burst(q->port, q->queue, burst, NV_BURST);
	uint64_t now;
	bool plain;

	if (!n)
		return;
	now = rte_rdtsc();
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(burst[i], const void *));
	if (likely(!nv.detail))
		plain = note_burst(w, q, burst, n, now, false);
	else
		plain = note_burst(w, q, burst, n, now, true);
	/* Plain frames go back without a look at the second cache line of each. */
	if (likely(plain))
		rte_mempool_put_bulk(q->pool, (void **)burst, n);
	else
		rte_pktmbuf_free_bulk(burst, n);
}

void receive_discard(const struct rx_queue *q)
{
	struct rte_mbuf *burst[NV_BURST];
	unsigned n;

	for (int i = 0; i < 64; i++) {
		n = rte_eth_rx_burst(q->port, q->queue, burst, NV_BURST);
		if (n)
			rte_pktmbuf_free_bulk(burst, n);
		if (n < NV_BURST)
			break;
	}
}
