// The queues of an open device, shared by initialisation and data path.
#ifndef QUEUES_H
#define QUEUES_H

#include <stdint.h>

#include "ixgbe.h"
#include "registers.h"

// Sent packets are reported and taken back so many at a time.
#define TX_CLEAN_BATCH 32

struct ixgbe_rx_queue {
	volatile struct descriptor *ring;
	struct pkt_buf **bufs; // whose buffer each descriptor has
	volatile uint32_t *tail;
	uint32_t tail_offset;
	uint16_t mask;
	uint16_t next; // the next descriptor that the device will write back
	uint64_t packets;
	uint64_t errors;
};

struct ixgbe_tx_queue {
	volatile struct descriptor *ring;
	struct pkt_buf **bufs;
	volatile uint32_t *tail;
	uint32_t tail_offset;
	uint16_t mask;
	uint16_t next;  // the next descriptor to be written
	uint16_t clean; // the oldest one whose buffer was not taken back
	uint64_t packets;
};

#endif
