// A device that another process serves on a Unix socket, by the vfio-user protocol.
#ifndef VFIO_USER_H
#define VFIO_USER_H

#include "device.h"

// Connects to the device at `path`. NULL after a message when that fails.
struct device *vfio_user_connect(const char *path);
void vfio_user_disconnect(struct device *device);

#endif
