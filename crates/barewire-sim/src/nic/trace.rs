//! What the record says of registers and descriptors of the 82599 ([`Trace`]).

use std::fmt;
use std::io::{self, Write};

use barewire_spec::ixgbe::descriptor::rx::Status;
use barewire_spec::ixgbe::descriptor::tx::{DTYP_CONTEXT, Data};
use barewire_spec::ixgbe::lookup;

use super::Nic;
use super::doorbell::Direction;
use super::model::Model;
use super::queue::DESCRIPTOR;
use crate::memory::Hint;
use crate::time::Nanos;
use crate::trace::Trace;

/// Descriptors of one queue that are shown of one step; a step moves fewer frames.
const MOST: usize = 256;

impl Trace {
    /// Records an access to a register.
    pub(super) fn register(&mut self, now: Nanos, access: &str, offset: u32, value: u32) {
        match lookup(offset) {
            Some((register, _)) if register.count() == 1 => self.line(
                now,
                access,
                format_args!("{} = {value:#010x}", register.name),
            ),
            Some((register, index)) => self.line(
                now,
                access,
                format_args!("{}[{index}] = {value:#010x}", register.name),
            ),
            None => self.line(
                now,
                access,
                format_args!("BAR0+{offset:#x} = {value:#010x}"),
            ),
        }
    }

    /// Records a tail that was written without a lock.
    pub(super) fn tail(&mut self, now: Nanos, direction: Direction, queue: usize, tail: u32) {
        let name = match direction {
            Direction::Receive => "RDT",
            Direction::Transmit => "TDT",
        };
        self.line(
            now,
            "doorbell",
            format_args!("{name}[{queue}] = {tail:#010x}"),
        );
    }
}

/// A queue with descriptors to use, before a step.
pub(super) struct Before {
    direction: Direction,
    queue: usize,
    head: u32,
    descriptors: Vec<[u64; 2]>,
}

impl Nic {
    /// Writes every event from now on to `output`, as text. It slows the device down.
    pub fn trace(&self, output: impl Write + Send + 'static) {
        self.shared.access().trace = Some(Box::new(Trace::new(output)));
    }

    /// Ends the record and writes what is buffered.
    ///
    /// # Errors
    /// The first that occurred in writing it.
    pub fn end_trace(&self) -> io::Result<()> {
        let trace = self.shared.access().trace.take();
        trace.map_or(Ok(()), |trace| trace.end())
    }
}

impl Model {
    /// What the queues have to do, if that is to be recorded.
    pub(super) fn before_step(&self) -> Vec<Before> {
        if self.trace.is_none() {
            return Vec::new();
        }
        let receive = self.rx.iter().map(|queue| &queue.ring);
        let transmit = self.tx.iter().map(|queue| &queue.ring);
        let rings = receive.enumerate().map(|ring| (Direction::Receive, ring));
        let rings = rings.chain(transmit.enumerate().map(|ring| (Direction::Transmit, ring)));
        rings
            .filter(|(_, (_, ring))| ring.has_work())
            .map(|(direction, (queue, ring))| {
                let places = (0..ring.available().min(MOST)).map(|ahead| {
                    let ahead = u32::try_from(ahead).unwrap_or(0);
                    self.descriptor(ring.base, (ring.head + ahead) % ring.count.max(1))
                });
                Before {
                    direction,
                    queue,
                    head: ring.head,
                    descriptors: places.collect(),
                }
            })
            .collect()
    }

    /// Records which descriptors the queues have used since `before`.
    pub(super) fn after_step(&mut self, before: &[Before]) {
        let Some(mut trace) = self.trace.take() else {
            return;
        };
        for queue in before {
            let ring = match queue.direction {
                Direction::Receive => &self.rx[queue.queue].ring,
                Direction::Transmit => &self.tx[queue.queue].ring,
            };
            let mut at = queue.head;
            for old in &queue.descriptors {
                if at == ring.head {
                    break;
                }
                let address = ring.base.wrapping_add(u64::from(at) * DESCRIPTOR);
                let now = self.now;
                match queue.direction {
                    Direction::Transmit => trace.line(
                        now,
                        "DMA",
                        format_args!(
                            "TX[{}] descriptor {at} at {address:#x}: {}",
                            queue.queue,
                            Sent(*old)
                        ),
                    ),
                    Direction::Receive => trace.line(
                        now,
                        "DMA",
                        format_args!(
                            "RX[{}] descriptor {at} at {address:#x}: {}",
                            queue.queue,
                            Received(old[0], self.descriptor(ring.base, at)[1])
                        ),
                    ),
                }
                at = (at + 1) % ring.count.max(1);
            }
        }
        self.trace = Some(trace);
    }

    /// A descriptor as it is in memory; zeros where there is none.
    fn descriptor(&self, base: u64, index: u32) -> [u64; 2] {
        let address = base.wrapping_add(u64::from(index) * DESCRIPTOR);
        let mut bytes = [0; 16];
        let read = self
            .iommu
            .read_pieces(&mut Hint::default(), address, &mut bytes);
        if read.is_err() {
            return [0; 2];
        }
        bytes
            .as_chunks::<8>()
            .0
            .first_chunk()
            .map_or([0; 2], |words: &[[u8; 8]; 2]| words.map(u64::from_le_bytes))
    }
}

/// A transmit descriptor, for people.
struct Sent([u64; 2]);

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.0;
        let data = Data::from_bits(high);
        if data.dext() && data.dtyp() == DTYP_CONTEXT {
            return write!(f, "context {low:#018x} {high:#018x}");
        }
        let kind = if data.dext() {
            "sends"
        } else {
            "sends, legacy,"
        };
        write!(f, "{kind} {} bytes from {low:#x}", data.dtalen())?;
        flags(
            f,
            &[
                (data.eop(), "EOP"),
                (data.ifcs(), "IFCS"),
                (data.rs(), "RS"),
                (data.vle(), "VLE"),
                (data.tse(), "TSE"),
            ],
        )
    }
}

/// Where a buffer was, and what the device wrote into the descriptor's second word.
struct Received(u64, u64);

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = Status::from_bits(self.1);
        write!(f, "{} bytes into {:#x}", status.pkt_len(), self.0)?;
        flags(
            f,
            &[
                (status.dd(), "DD"),
                (status.eop(), "EOP"),
                (status.vp(), "VP"),
                (status.ipcs(), "IPCS"),
                (status.l4i(), "L4I"),
            ],
        )
    }
}

fn flags(f: &mut fmt::Formatter<'_>, flags: &[(bool, &str)]) -> fmt::Result {
    let set: Vec<_> = flags
        .iter()
        .filter_map(|(set, name)| set.then_some(*name))
        .collect();
    write!(f, " ({})", set.join(" "))
}
