// Receiving and sending: what is done for every packet.

#include <stdatomic.h>

#include "queues.h"

static inline void write_tail(struct ixgbe *ixgbe, volatile uint32_t *tail, uint32_t offset, uint32_t value)
{
	// descriptors first, then the register that hands them over
	atomic_thread_fence(memory_order_release);
	if (tail != NULL)
		*tail = value;
	else
		ixgbe->device->ops->write32(ixgbe->device, offset, value);
}

uint32_t ixgbe_rx_batch(struct ixgbe *ixgbe, uint16_t queue_index, struct pkt_buf *bufs[], uint32_t count)
{
	struct ixgbe_rx_queue *queue = &ixgbe->rx[queue_index];
	uint16_t next = queue->next;
	uint16_t last = next; // the last descriptor that was given back
	uint32_t received = 0;

	while (received < count) {
		volatile struct descriptor *descriptor = &queue->ring[next];
		uint64_t status = descriptor->second;
		if (!(status & RX_DD))
			break;
		// the frame was written before its descriptor
		atomic_thread_fence(memory_order_acquire);
		struct pkt_buf *buf = queue->bufs[next];
		if ((status & (RX_EOP | RX_RXE)) == RX_EOP) {
			struct pkt_buf *fresh = pkt_buf_alloc(ixgbe->pool);
			if (fresh == NULL)
				break; // the packet waits until there is a buffer to put in its place
			buf->size = RX_LENGTH(status);
			bufs[received++] = buf;
			queue->bufs[next] = buf = fresh;
		} else {
			// damaged, or larger than a buffer: the device gets the buffer back
			queue->errors++;
		}
		descriptor->first = buf->device_address;
		descriptor->second = 0;
		last = next;
		next = (next + 1) & queue->mask;
	}
	if (next != queue->next) {
		write_tail(ixgbe, queue->tail, queue->tail_offset, last);
		queue->next = next;
		queue->packets += received;
	}
	return received;
}

// Takes back what the device reported as sent.
static void clean(struct ixgbe_tx_queue *queue)
{
	for (;;) {
		uint16_t pending = (queue->next - queue->clean) & queue->mask;
		if (pending < TX_CLEAN_BATCH)
			return;
		// `clean` is a multiple of the batch, and the last descriptor of each batch is reported
		uint16_t report = queue->clean + TX_CLEAN_BATCH - 1;
		if (!(queue->ring[report].second & TX_DD))
			return;
		for (uint16_t i = queue->clean; i <= report; i++)
			pkt_buf_free(queue->bufs[i]);
		queue->clean = (report + 1) & queue->mask;
	}
}

uint32_t ixgbe_tx_batch(struct ixgbe *ixgbe, uint16_t queue_index, struct pkt_buf *bufs[], uint32_t count)
{
	struct ixgbe_tx_queue *queue = &ixgbe->tx[queue_index];
	uint16_t next = queue->next;
	uint32_t sent;

	clean(queue);
	for (sent = 0; sent < count; sent++) {
		uint16_t after = (next + 1) & queue->mask;
		if (after == queue->clean)
			break; // full: a ring whose tail is its head is empty
		struct pkt_buf *buf = bufs[sent];
		uint64_t command = TX_DATA | TX_DEXT | TX_EOP | TX_IFCS;
		if (after % TX_CLEAN_BATCH == 0)
			command |= TX_RS;
		queue->bufs[next] = buf;
		queue->ring[next].first = buf->device_address;
		queue->ring[next].second = command | TX_PAYLEN(buf->size) | buf->size;
		next = after;
	}
	if (sent > 0) {
		write_tail(ixgbe, queue->tail, queue->tail_offset, next);
		queue->next = next;
		queue->packets += sent;
	}
	return sent;
}

struct ixgbe_stats ixgbe_read_stats(const struct ixgbe *ixgbe)
{
	struct ixgbe_stats stats = {0};
	for (uint16_t i = 0; i < ixgbe->rx_count; i++) {
		stats.rx_packets += ixgbe->rx[i].packets;
		stats.rx_errors += ixgbe->rx[i].errors;
	}
	for (uint16_t i = 0; i < ixgbe->tx_count; i++)
		stats.tx_packets += ixgbe->tx[i].packets;
	return stats;
}
