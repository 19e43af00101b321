// How a device is reached: its registers, its configuration space, its view of memory.
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>

struct dma_memory;
struct device;

struct device_ops {
	uint32_t (*read32)(struct device *device, uint32_t offset);
	void (*write32)(struct device *device, uint32_t offset, uint32_t value);
	// Where a tail register is mapped; NULL if it is reached through write32 only.
	volatile uint32_t *(*doorbell)(struct device *device, uint32_t offset);
	// Lets the device write to memory of its own accord, or not.
	int (*bus_master)(struct device *device, int on);
	// Shows memory to the device, at the address it has in this process. 0 or -errno.
	int (*map)(struct device *device, const struct dma_memory *memory);
	void (*unmap)(struct device *device, const struct dma_memory *memory);
};

struct device {
	const struct device_ops *ops;
	const char *name;
};

#endif
