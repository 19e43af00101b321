#define _GNU_SOURCE
#include "fake_nic.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../c/registers.h"

// What only the device side needs to know.
#define EERD 0x10014u
#define EERD_START (1u << 0)
#define EERD_DONE (1u << 1)
#define EEPROM_CHECKSUM 0x3fu
#define EEPROM_SUM 0xbabau
#define EEC_PRESENT (1u << 8)
#define MSCA 0x0425cu
#define MSCA_COMMAND (1u << 30)
// the same register as SRRCTL(0), at the place that the 82598 had it
#define SRRCTL_82598 0x02100u
#define SECRXSTAT 0x08d04u
#define SECRXSTAT_READY (1u << 0)
#define LINKS_10G (3u << 28)
#define LINKS_NOW (1u << 7)
#define ANLP1 0x042b0u
#define ANLP1_NEGOTIATING (1u << 16)

// legacy descriptors (82599 datasheet, sections 7.1.5, 7.2.3.2.1)
#define LEGACY_RX_STATUS (3ull << 32) // DD and EOP
#define LEGACY_TX_LENGTH(second) ((uint32_t)((second) & 0xffff))

#define SEQUENCE_AT 16

int fake_nic_create(struct fake_nic *nic)
{
	memset(nic, 0, sizeof(*nic));
	nic->bar_fd = memfd_create("fake-82599", MFD_CLOEXEC);
	if (nic->bar_fd < 0 || ftruncate(nic->bar_fd, (off_t)NIC_BAR_SIZE) < 0)
		return -errno;
	void *bar = mmap(NULL, NIC_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, nic->bar_fd, 0);
	if (bar == MAP_FAILED)
		return -errno;
	nic->bar = bar;
	*nic_reg(nic, RAL0) = 0x57420200u;
	*nic_reg(nic, RAH0) = 0x80000100u;
	fake_nic_answer(nic);
	return 0;
}

void fake_nic_answer(struct fake_nic *nic)
{
	volatile uint32_t *ctrl = nic_reg(nic, CTRL);
	volatile uint32_t *eerd = nic_reg(nic, EERD);

	if (*ctrl & (CTRL_RST | CTRL_LRST))
		*ctrl &= ~(CTRL_RST | CTRL_LRST);
	*nic_reg(nic, EEC) |= EEC_AUTO_RD | EEC_PRESENT;
	*nic_reg(nic, RDRXCTL) |= RDRXCTL_DMAIDONE;
	*nic_reg(nic, SECRXSTAT) |= SECRXSTAT_READY;
	*nic_reg(nic, LINKS) = LINKS_UP | LINKS_10G | LINKS_NOW;
	*nic_reg(nic, ANLP1) = ANLP1_NEGOTIATING;
	if (*nic_reg(nic, MSCA) & MSCA_COMMAND)
		*nic_reg(nic, MSCA) &= ~MSCA_COMMAND;
	if ((*eerd & EERD_START) && !(*eerd & EERD_DONE)) {
		// an EEPROM of zeros, with the checksum that makes it whole
		uint32_t word = *eerd >> 2 & 0x3fff;
		uint32_t value = word == EEPROM_CHECKSUM ? EEPROM_SUM : 0;
		*eerd = value << 16 | word << 2 | EERD_DONE;
	}
}

static uint64_t address_of(const struct fake_nic *nic, uint32_t low, uint32_t high)
{
	return (uint64_t)*nic_reg(nic, high) << 32 | *nic_reg(nic, low);
}

// Looks at a frame that leaves.
static void check(struct fake_nic *nic, const uint8_t *frame, uint32_t length, uint64_t command)
{
	uint64_t sequence;
	memcpy(&sequence, frame + SEQUENCE_AT, sizeof(sequence));
	uint8_t touched = (uint8_t)(sequence + 1);
	int good = sequence == nic->sent && frame[NIC_TOUCHED] == touched && length == NIC_FRAME &&
		   (command & TX_EOP) && (command & TX_IFCS);
	if (!good && nic->wrong++ < 4)
		fprintf(stderr, "frame %lu: sequence number %lu, byte %u is %#x and should be %#x, %u bytes, command %#lx\n",
			nic->sent, sequence, NIC_TOUCHED, frame[NIC_TOUCHED], touched, length, command);
}

static void send(struct fake_nic *nic)
{
	volatile struct descriptor *ring = (volatile struct descriptor *)address_of(nic, TDBAL(0), TDBAH(0));
	uint32_t count = *nic_reg(nic, TDLEN(0)) / sizeof(struct descriptor);
	uint32_t head = *nic_reg(nic, TDH(0));
	uint32_t tail = *nic_reg(nic, TDT(0));
	uint32_t write_back = *nic_reg(nic, TDWBAL(0));

	atomic_thread_fence(memory_order_acquire);
	while (head != tail) {
		volatile struct descriptor *descriptor = &ring[head];
		uint64_t second = descriptor->second;
		head = head + 1 == count ? 0 : head + 1;
		if (nic->checking) {
			uint32_t length = second & TX_DEXT ? (uint32_t)(second >> 46) : LEGACY_TX_LENGTH(second);
			check(nic, (const uint8_t *)descriptor->first, length, second);
		}
		nic->sent++;
		if (!(second & TX_RS))
			continue;
		if (write_back & TDWBAL_HEAD_WB)
			*(volatile uint32_t *)(address_of(nic, TDWBAL(0), TDWBAH(0)) & ~3ull) = head;
		else
			descriptor->second = second | TX_DD;
	}
	*nic_reg(nic, TDH(0)) = head;
}

static void write_frame(struct fake_nic *nic, uint8_t *frame)
{
	memset(frame, 0, NIC_FRAME);
	frame[0] = 2;
	frame[NIC_TOUCHED] = (uint8_t)nic->received;
	memcpy(frame + SEQUENCE_AT, &nic->received, sizeof(nic->received));
}

static uint32_t receive(struct fake_nic *nic, uint32_t frames)
{
	volatile struct descriptor *ring = (volatile struct descriptor *)address_of(nic, RDBAL(0), RDBAH(0));
	uint32_t count = *nic_reg(nic, RDLEN(0)) / sizeof(struct descriptor);
	uint32_t head = *nic_reg(nic, RDH(0));
	uint32_t tail = *nic_reg(nic, RDT(0));
	uint32_t srrctl = *nic_reg(nic, SRRCTL(0)) | *nic_reg(nic, SRRCTL_82598);
	int legacy = (srrctl & SRRCTL_DESCTYPE_MASK) == 0;
	uint32_t done;

	atomic_thread_fence(memory_order_acquire);
	for (done = 0; done < frames && head != tail; done++) {
		volatile struct descriptor *descriptor = &ring[head];
		if (nic->checking)
			write_frame(nic, (uint8_t *)descriptor->first);
		nic->received++;
		if (legacy) {
			descriptor->second = LEGACY_RX_STATUS | NIC_FRAME;
		} else {
			descriptor->first = 0; // no RSS hash, no packet type
			atomic_thread_fence(memory_order_release);
			descriptor->second = (uint64_t)NIC_FRAME << 32 | RX_DD | RX_EOP;
		}
		head = head + 1 == count ? 0 : head + 1;
	}
	*nic_reg(nic, RDH(0)) = head;
	return done;
}

uint32_t fake_nic_step(struct fake_nic *nic, uint32_t frames)
{
	send(nic);
	return receive(nic, frames);
}
