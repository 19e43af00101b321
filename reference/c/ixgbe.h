// A user-space driver for Intel's 82599: the paper's baseline, in C.
#ifndef IXGBE_H
#define IXGBE_H

#include <stdint.h>

#include "device.h"
#include "memory.h"

#define IXGBE_MAX_QUEUES 64

struct ixgbe_config {
	uint16_t rx_queues; // 1 to 64; the device spreads over them only if RSS is set up
	uint16_t tx_queues; // 1 to 64
	uint16_t ring;      // descriptors of each ring: a power of two from 64 to 4096
	struct mempool *pool; // where received packets go
};

struct ixgbe_rx_queue;
struct ixgbe_tx_queue;

struct ixgbe {
	struct device *device;
	struct dma_memory rings;
	struct mempool *pool;
	uint16_t rx_count;
	uint16_t tx_count;
	struct ixgbe_rx_queue *rx;
	struct ixgbe_tx_queue *tx;
	uint8_t mac[6];
};

struct ixgbe_stats {
	uint64_t rx_packets;
	uint64_t tx_packets;
	uint64_t rx_errors; // damaged, or in several buffers
};

// Resets a device, sets it up and starts its queues. 0 or -errno; a message says what was wrong.
int ixgbe_open(struct ixgbe *ixgbe, struct device *device, const struct ixgbe_config *config);

// Stops the device and gives all buffers back. Queues of other devices whose packets are of this
// device's pool must be closed too before the pool is destroyed.
void ixgbe_close(struct ixgbe *ixgbe);

// Waits up to `millis` for the link. 1 if it is up.
int ixgbe_wait_for_link(struct ixgbe *ixgbe, uint32_t millis);

// Takes up to `count` received packets, which are the caller's from then on, and returns how many.
uint32_t ixgbe_rx_batch(struct ixgbe *ixgbe, uint16_t queue, struct pkt_buf *bufs[], uint32_t count);

// Hands packets to the device, as many as the ring has room for, and returns how many; the driver
// frees them when they are sent. The others stay the caller's.
uint32_t ixgbe_tx_batch(struct ixgbe *ixgbe, uint16_t queue, struct pkt_buf *bufs[], uint32_t count);

// What all queues have counted.
struct ixgbe_stats ixgbe_read_stats(const struct ixgbe *ixgbe);

#endif
