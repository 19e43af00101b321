// An 82599 whose registers are plain memory. It does nothing of its own accord: between two timed
// sections the harness lets it send what the driver handed over and receive new frames.
#ifndef FAKE_NIC_H
#define FAKE_NIC_H

#include <stddef.h>
#include <stdint.h>

#define NIC_BAR_SIZE ((size_t)512 << 10)
#define NIC_FRAME 60
// The byte of a frame that a forwarder increments: the last one of the destination address.
#define NIC_TOUCHED 5

struct fake_nic {
	volatile uint8_t *bar;
	int bar_fd; // a memfd, for a driver that maps the registers itself
	// With checks on, frames are written and what is sent is looked at.
	int checking;
	uint64_t received; // sequence number of the next frame
	uint64_t sent;
	uint64_t wrong;
};

// Maps the registers. 0 or -errno.
int fake_nic_create(struct fake_nic *nic);

static inline volatile uint32_t *nic_reg(const struct fake_nic *nic, uint32_t offset)
{
	return (volatile uint32_t *)(nic->bar + offset);
}

// Answers whatever a driver waits for while it starts: resets end, the EEPROM is read, the link is
// up. To be called after each register write, or all the time from a thread.
void fake_nic_answer(struct fake_nic *nic);

// Sends what the driver handed over on queue 0, then receives up to `frames` frames there, as many
// as there are descriptors for, and returns how many.
uint32_t fake_nic_step(struct fake_nic *nic, uint32_t frames);

#endif
