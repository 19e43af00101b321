//! What a port counted.

/// What a port counted since it was opened. Frames are counted where the device counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received and not filtered out.
    pub rx_packets: u64,
    /// Bytes of these frames, without FCS.
    pub rx_bytes: u64,
    /// Frames that found no descriptor or no room in the packet buffer.
    pub rx_dropped: u64,
    /// Frames that were damaged, too short or too long.
    pub rx_errors: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes of these frames, without FCS.
    pub tx_bytes: u64,
}

/// What one receive queue counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Frames given to the program.
    pub packets: u64,
    /// Frames that the device marked as damaged; dropped.
    pub damaged: u64,
    /// Frames whose descriptors said what can't be: no length, a length beyond the buffer, or no
    /// end; dropped.
    pub malformed: u64,
    /// Times that the ring needed buffers and the pool had too few.
    pub starved: u64,
}

/// What one transmit queue counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Frames given to the device.
    pub packets: u64,
    /// Frames refused and dropped: shorter than the device can pad, longer than the port's limit,
    /// or in more buffers than a packet may have.
    pub refused: u64,
    /// Times that the ring was full and frames stayed in the batch.
    pub full: u64,
}

/// What a forwarder in place counted by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InPlaceCounters {
    /// Frames given to the transmitter.
    pub forwarded: u64,
    /// Frames that the program dropped.
    pub dropped: u64,
    /// Frames that the device marked as damaged; dropped.
    pub damaged: u64,
    /// Frames that are not whole in one buffer, or of a length that can't be sent; dropped.
    pub malformed: u64,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether the link is up.
    pub up: bool,
    /// Speed in Mbit/s; 0 while the link is down.
    pub mbits: u32,
}
