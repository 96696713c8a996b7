/* nvgen: a paced, measuring traffic generator on DPDK.
 *
 * Polling workers (worker.c, send.c, receive.c) run on every EAL lcore. One ordinary thread, the control side
 * (control.c, protocol.c, trial.c, report.c), speaks JSON lines on stdin and stdout. Both share `nv` below: the
 * control side writes it while no worker is in a trial, and a change of phase publishes it.
 */
#ifndef NVGEN_H
#define NVGEN_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>
#include <rte_common.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#define NV_BURST 32
#define NV_FRAME_MOST 16128
#define NV_MAX_QUEUES 64
#define NV_MAX_STREAMS (2 * NV_MAX_QUEUES)
#define NV_MAX_FIELDS 8
#define NV_MAX_SHAPES 16
#define NV_MAX_SEQUENCE 1024
#define NV_HEADER_MOST 64 /* Ethernet, tags, IPv4 and UDP */
#define NV_STAMP_BYTES 14
#define NV_TIME_MASK ((1ULL << 48) - 1)
#define NV_WINDOW (1u << 17) /* frames over which a copy is told from a late frame */
#define NV_NOBODY 0xff       /* no port, no direction */
#define NV_HDR_BINS (25 * 1024)
#define NV_INTERVALS 4096

enum phase { PHASE_IDLE, PHASE_ARM, PHASE_RUN, PHASE_QUIT };
enum histogram { HDR_LATENCY, HDR_IPDV, N_HDR };
enum column { COLUMN_SENT, COLUMN_REFUSED, COLUMN_RECEIVED, N_COLUMNS };

/* A part of the frame that differs from flow to flow. */
struct field {
	uint16_t offset;
	uint8_t width;
	bool in_ipv4;
	uint32_t first;
};

/* What frames of one size have of their own. */
struct shape {
	uint16_t bytes;
	uint32_t checksum_base; /* sum over the IPv4 header without its checksum and the fields in it */
	uint8_t header[NV_HEADER_MOST];
};

/* One direction's frames: one shape, or several in a sequence that repeats. */
struct template {
	uint8_t tx_port, rx_port;
	uint8_t *frame; /* the largest; its payload serves all */
	uint16_t bytes;
	uint16_t stamp_offset, checksum_offset;
	unsigned n_shapes, n_sequence;
	struct shape shapes[NV_MAX_SHAPES];
	uint8_t sequence[NV_MAX_SEQUENCE];
	uint32_t flows;
	unsigned n_fields;
	struct field fields[NV_MAX_FIELDS];
	bool checksum_follows;
};

/* A load that lasts: frame k is due when before + (now - t0) * per_tick - phase >= k. */
struct pace {
	uint64_t t0, before, total; /* frames sent by the paces before it, and at its end */
	uint64_t backlog, catch_up_ticks;
	double per_tick;
};

/* What one transmit queue sends. Only its worker writes it during a trial. */
struct stream {
	uint16_t port, queue;
	uint8_t id;
	const struct template *template;
	struct rte_mempool *pool;
	struct pace pace, then; /* then.t0 never comes where no other pace follows */
	uint64_t total;
	double phase;
	unsigned burst;
	uint32_t flow, flow_step, flow_start, flow_count;
	uint64_t catch_up; /* when the next burst of a backlog may go */
	uint64_t position, sent, late, refused;
	double delay_frames, delay_ticks; /* the longest delay: of this pace, and of those before */
	uint64_t stall_since, stall_refused, again;
	uint64_t stall_longest, stall_total, refused_in_stall;
	uint64_t end; /* when its sending time was over */
	bool done;
} __rte_cache_aligned;

/* What one worker has seen of one stream. */
struct seen {
	uint64_t next; /* highest sequence number seen, plus one */
	uint64_t received, duplicate, reordered;
	uint64_t delay; /* of the frame with that number, in ticks */
	uint64_t *window;
} __rte_cache_aligned;

struct rx_queue {
	uint16_t port, queue;
	struct rte_mempool *pool;
};

struct worker {
	unsigned lcore;
	enum phase phase; /* the last phase that it has taken notice of */
	unsigned n_tx, n_rx;
	struct stream *tx[NV_MAX_STREAMS];
	struct rx_queue rx[NV_MAX_STREAMS];
	struct seen *seen;
	uint64_t *hdr[N_HDR];
	uint64_t *timeline[N_COLUMNS];
	uint64_t foreign[2], stale[2]; /* by port */
	uint64_t last, pause_longest, pause_total, pause_count;
	uint64_t looked, ran_ns; /* when this thread's processor time was last looked at, and what it was */
} __rte_cache_aligned;

struct port {
	char name[RTE_ETH_NAME_MAX_LEN];
	uint16_t id;
	uint16_t n_txd, n_rxd;
	struct rte_mempool *rx_pool, *tx_pool[NV_MAX_QUEUES];
};

struct nvgen {
	/* Fixed once the ports are up. */
	struct port ports[2];
	unsigned n_ports, queues, descriptors, max_frame, housekeeping_core;
	bool no_receive;
	bool by_kernel; /* whether the kernel carries frames out within the call that sends them */
	struct worker *workers;
	unsigned n_workers;
	uint16_t signature;
	/* Set by configure. */
	struct template templates[2];
	unsigned n_templates;
	struct stream streams[NV_MAX_STREAMS];
	uint8_t rx_port_of[256]; /* stream -> port index where it must arrive, or NV_NOBODY */
	/* Set by start. */
	uint8_t epoch;
	bool detail; /* whether the timeline and the delay variation are kept */
	unsigned n_intervals;
	uint32_t ns_per_tick_q24;
	uint64_t t0;
	double intervals_per_tick;
	uint64_t pause_ticks, stall_ticks, again_ticks, longest_ticks;
	enum phase phase __rte_cache_aligned;
	bool stop;
};

extern struct nvgen nv;

/* clock.c: the TSC against the kernel's clocks, because DPDK's idea of its frequency is rounded. */
struct instant {
	uint64_t tsc;
	int64_t mono_ns, real_ns;
};
struct instant clock_read(void);
void clock_calibrate(void);
void clock_refine(void);
double clock_hz(void);

/* ports.c */
const char *ports_up(void);
void ports_down(void);
json_t *ports_describe(void);

/* worker.c */
const char *workers_assign(void);
int worker_main(void *unused);
void workers_reach(enum phase phase);

/* send.c, receive.c */
void send_step(struct worker *w, struct stream *s, uint64_t now);
void send_close(struct stream *s, uint64_t now);
void receive_step(struct worker *w, const struct rx_queue *q);
void receive_discard(const struct rx_queue *q);

/* template.c */
const char *template_load(json_t *streams);
void template_write(unsigned stream);
int hex_bytes(const char *hex, uint8_t *bytes, unsigned room);
const char *learn_send(json_t *command);

/* trial.c */
const char *trial_start(json_t *command);
bool trial_running(void);
uint64_t trial_wait_ns(void);
void trial_tick(void);
void trial_stop(void);

/* report.c */
struct counts {
	uint64_t asked, sent, late, refused, received, duplicate, reordered, foreign, stale;
};
struct counts count_direction(unsigned direction);
json_t *report_directions(void);
json_t *report_histogram(enum histogram which);
json_t *report_timeline(double hz, uint64_t ticks);
json_t *report_pauses(double hz);

/* control.c */
void emit(json_t *event);
void emit_error(const char *what);
void *control_main(void *unused);

/* The interval of the timeline that a time falls into; sender and receiver ask with the same stamp. The time after the
 * schedule, in which a backlog may still go out, belongs to the last one. */
static inline unsigned interval_of(uint64_t time)
{
	int64_t ticks = (int64_t)((time - nv.t0) & NV_TIME_MASK);

	return (unsigned)RTE_MIN((double)ticks * nv.intervals_per_tick, (double)(nv.n_intervals - 1));
}

#endif
