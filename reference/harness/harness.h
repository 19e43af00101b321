// What a driver under measurement gives the harness.
#ifndef HARNESS_H
#define HARNESS_H

#include <stdint.h>

#include "fake_nic.h"

// Brings the driver up on the device, one queue each way, with rings of `ring` descriptors. `mode`
// is the subject's name, for a program that has several. 0 or a negative number.
int subject_open(struct fake_nic *nic, const char *mode, uint32_t ring);

// Receives up to `batch` frames, increments byte NIC_TOUCHED of each, and sends them. Returns how
// many were sent.
uint32_t subject_forward(uint32_t batch);

// Whether the subject's memory lies on hugepages; for the record.
int subject_on_hugepages(void);

#endif
