/* Frames: loaded by configure, written into every buffer that will carry them. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_byteorder.h>
#include <rte_ethdev.h>

#include "nvgen.h"

#define FCS_BYTES 4
#define IPV4_BYTES 20
#define LEARN_GAP_US 2000
#define LEARN_SETTLE_US 20000

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The number of bytes, or -1 if it is not hex or does not fit. */
int hex_bytes(const char *hex, uint8_t *bytes, unsigned room)
{
	size_t digits = hex ? strlen(hex) : 1;

	if (digits % 2 || digits / 2 > room)
		return -1;
	for (size_t i = 0; i < digits / 2; i++) {
		int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -1;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return (int)(digits / 2);
}

static uint16_t word_at(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static const char *load_field(struct template *t, json_t *entry, unsigned ipv4)
{
	struct field *f = &t->fields[t->n_fields];
	json_int_t offset, width, first;

	if (t->n_fields == NV_MAX_FIELDS)
		return "too many fields";
	if (json_unpack(entry, "{s:I,s:I,s:I}", "offset", &offset, "width", &width, "first", &first))
		return "a field needs offset, width and first";
	if ((width != 2 && width != 4) || offset < 0 || offset + width > t->stamp_offset)
		return "a field is 2 or 4 bytes of the headers";
	*f = (struct field){(uint16_t)offset, (uint8_t)width, false, (uint32_t)first};
	f->in_ipv4 = offset >= ipv4 && offset + width <= ipv4 + IPV4_BYTES;
	if (f->in_ipv4 && (offset - ipv4) % 2)
		return "a field in the IPv4 header starts at an odd byte";
	t->checksum_follows |= f->in_ipv4;
	t->n_fields++;
	return NULL;
}

/* What the checksum adds up to without itself and without the fields that vary. */
static uint32_t checksum_base(const struct template *t, const struct shape *shape, unsigned ipv4)
{
	uint8_t header[IPV4_BYTES];
	uint32_t sum = 0;

	memcpy(header, shape->header + ipv4, IPV4_BYTES);
	memset(header + 10, 0, 2);
	for (unsigned i = 0; i < t->n_fields; i++)
		if (t->fields[i].in_ipv4)
			memset(header + t->fields[i].offset - ipv4, 0, t->fields[i].width);
	for (unsigned i = 0; i < IPV4_BYTES; i += 2)
		sum += word_at(header + i);
	return sum;
}

static unsigned expected_stamp(const uint8_t *header)
{
	unsigned type_at = 12;

	while (type_at < 20 && (word_at(header + type_at) == RTE_ETHER_TYPE_VLAN ||
				word_at(header + type_at) == RTE_ETHER_TYPE_QINQ))
		type_at += 4;
	return type_at + 2 + 28;
}

/* The largest frame stays whole; of each, what comes before the payload. */
static const char *load_shapes(struct template *t, json_t *frames)
{
	uint8_t bytes[NV_FRAME_MOST];
	json_t *frame;
	size_t i;

	if (json_array_size(frames) < 1 || json_array_size(frames) > NV_MAX_SHAPES)
		return "frames: one of each size, 16 at most";
	t->frame = malloc(nv.max_frame);
	json_array_foreach(frames, i, frame) {
		struct shape *shape = &t->shapes[t->n_shapes++];
		int n = hex_bytes(json_string_value(frame), bytes, nv.max_frame - FCS_BYTES);

		if (n < 60 || !t->frame)
			return "a frame is hex, of 60 bytes to --max-frame without FCS";
		shape->bytes = (uint16_t)n;
		memcpy(shape->header, bytes, RTE_MIN(n, NV_HEADER_MOST));
		if (t->stamp_offset != expected_stamp(bytes) || t->stamp_offset + NV_STAMP_BYTES > n)
			return "the stamp follows Ethernet, IPv4 and UDP, and must fit";
		if (n <= t->bytes)
			continue;
		t->bytes = (uint16_t)n;
		memcpy(t->frame, bytes, (size_t)n);
	}
	return NULL;
}

static const char *load_sequence(struct template *t, json_t *sequence)
{
	json_t *entry;
	size_t i;

	if (json_array_size(sequence) < 1 || json_array_size(sequence) > NV_MAX_SEQUENCE)
		return "sequence: numbers of frames, 1 to 1024 of them";
	json_array_foreach(sequence, i, entry) {
		json_int_t number = json_is_integer(entry) ? json_integer_value(entry) : -1;

		if (number < 0 || number >= t->n_shapes)
			return "sequence: there is no such frame";
		t->sequence[t->n_sequence++] = (uint8_t)number;
	}
	return NULL;
}

static const char *load_one(struct template *t, json_t *entry)
{
	json_int_t tx_port, rx_port, ipv4, stamp, flows;
	json_t *frames, *sequence, *fields = NULL, *field;
	const char *fault;
	size_t i;

	if (json_unpack(entry, "{s:I,s:I,s:o,s:o,s:I,s:I,s:I,s?o}", "tx_port", &tx_port, "rx_port", &rx_port,
			"frames", &frames, "sequence", &sequence, "ipv4_offset", &ipv4, "stamp_offset", &stamp,
			"flows", &flows, "fields", &fields))
		return "a stream needs tx_port, rx_port, frames, sequence, ipv4_offset, stamp_offset and flows";
	if (tx_port < 0 || tx_port >= nv.n_ports || rx_port < 0 || rx_port >= nv.n_ports)
		return "there is no such port";
	if (flows < 1 || flows > UINT32_MAX / 2)
		return "flows must be at least 1";
	if (stamp < 0 || stamp > NV_HEADER_MOST || ipv4 < 14 || ipv4 + IPV4_BYTES > stamp)
		return "the IPv4 header comes after Ethernet and before the stamp";
	t->tx_port = (uint8_t)tx_port;
	t->rx_port = (uint8_t)rx_port;
	t->stamp_offset = (uint16_t)stamp;
	t->checksum_offset = (uint16_t)(ipv4 + 10);
	t->flows = (uint32_t)flows;
	if ((fault = load_shapes(t, frames)) || (fault = load_sequence(t, sequence)))
		return fault;
	json_array_foreach(fields, i, field)
		if ((fault = load_field(t, field, (unsigned)ipv4)))
			return fault;
	for (i = 0; i < t->n_shapes; i++)
		t->shapes[i].checksum_base = checksum_base(t, &t->shapes[i], (unsigned)ipv4);
	return NULL;
}

static void write_buffer(struct rte_mempool *pool, void *opaque, void *object, unsigned index)
{
	const struct template *t = opaque;
	struct rte_mbuf *m = object;
	/* Should a frame still lie in a ring of the device, it must not come back as somebody else's. */
	uint32_t identity = nv.signature | (uint32_t)nv.epoch << 16;
	uint8_t *frame = (uint8_t *)m->buf_addr + RTE_PKTMBUF_HEADROOM;

	RTE_SET_USED(pool);
	RTE_SET_USED(index);
	memcpy(frame, t->frame, t->bytes);
	memcpy(frame + t->stamp_offset, &identity, sizeof(identity));
}

void template_write(unsigned stream)
{
	struct stream *s = &nv.streams[stream];

	rte_mempool_obj_iter(s->pool, write_buffer, (void *)(uintptr_t)s->template);
}

static void lay_out(unsigned direction)
{
	struct template *t = &nv.templates[direction];
	const struct port *port = &nv.ports[t->tx_port];

	for (unsigned queue = 0; queue < nv.queues; queue++) {
		unsigned id = direction * nv.queues + queue;
		struct stream *s = &nv.streams[id];
		bool split = t->flows >= nv.queues;

		memset(s, 0, sizeof(*s));
		s->port = port->id;
		s->queue = (uint16_t)queue;
		s->id = (uint8_t)id;
		s->template = t;
		s->pool = port->tx_pool[queue];
		s->flow_start = split ? queue : 0;
		s->flow_step = split ? nv.queues : 1;
		s->flow_count = (t->flows - s->flow_start + s->flow_step - 1) / s->flow_step;
		/* Large frames in smaller bursts, so that one burst is no pause. */
		s->burst = RTE_MAX(4u, RTE_MIN((unsigned)NV_BURST, 65536u / t->bytes));
		nv.rx_port_of[id] = t->rx_port;
		template_write(id);
	}
}

const char *template_load(json_t *streams)
{
	struct template fresh[2] = {0};
	size_t n = json_array_size(streams);
	const char *fault = NULL;

	if (n < 1 || n > 2)
		return "streams: one entry for each of 1 or 2 directions";
	for (size_t i = 0; i < n && !fault; i++)
		fault = load_one(&fresh[i], json_array_get(streams, i));
	if (!fault && n == 2 && fresh[0].tx_port == fresh[1].tx_port)
		fault = "two directions cannot leave by one port";
	for (size_t i = 0; i < 2; i++)
		free(fault ? fresh[i].frame : nv.templates[i].frame);
	if (fault)
		return fault;
	memcpy(nv.templates, fresh, sizeof(fresh));
	nv.n_templates = (unsigned)n;
	memset(nv.rx_port_of, NV_NOBODY, sizeof(nv.rx_port_of));
	memset(nv.streams, 0, sizeof(nv.streams));
	for (unsigned direction = 0; direction < n; direction++)
		lay_out(direction);
	return NULL;
}

static const char *learn_one(json_t *entry)
{
	uint8_t bytes[2048];
	struct rte_mbuf *m;
	json_int_t port;
	const char *hex;
	int n;

	if (json_unpack(entry, "{s:I,s:s}", "port", &port, "frame", &hex) || port < 0 || port >= nv.n_ports)
		return "a learning frame needs port and frame";
	n = hex_bytes(hex, bytes, RTE_MIN((unsigned)sizeof(bytes), nv.max_frame - FCS_BYTES));
	if (n < 14)
		return "a learning frame is hex, of 14 bytes to --max-frame";
	/* From queue 0's own pool: a device that frees a queue's buffers in bulk expects one pool a queue. */
	m = rte_pktmbuf_alloc(nv.ports[port].tx_pool[0]);
	if (!m)
		return "the device has not let go of the last frames";
	memcpy(rte_pktmbuf_append(m, (uint16_t)n), bytes, (size_t)n);
	if (rte_eth_tx_burst(nv.ports[port].id, 0, &m, 1) == 0)
		rte_pktmbuf_free(m); /* a learning frame may be lost like any other; it is repeated */
	return NULL;
}

const char *learn_send(json_t *command)
{
	json_t *frames, *entry;
	json_int_t repeat = 3;
	const char *fault = NULL;
	size_t i;

	if (json_unpack(command, "{s:o,s?I}", "frames", &frames, "repeat", &repeat) || repeat < 1 || repeat > 100)
		return "learn needs frames, and repeat from 1 to 100";
	for (json_int_t round = 0; round < repeat && !fault; round++) {
		json_array_foreach(frames, i, entry)
			if ((fault = learn_one(entry)))
				break;
		usleep(LEARN_GAP_US);
	}
	usleep(LEARN_SETTLE_US); /* before the buffers are written anew */
	for (unsigned direction = 0; direction < nv.n_templates; direction++)
		template_write(direction * nv.queues);
	return fault;
}
