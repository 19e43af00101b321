//! Frames that a device writes and looks at again when they leave: in order, touched, of the right
//! length.

use super::regions::Regions;

/// The byte of a frame that the forwarder increments: the last one of the destination address.
pub(super) const TOUCHED: usize = 5;

/// Bytes of a frame without FCS.
pub(super) const FRAME: u16 = 60;
/// Where a frame's sequence number stands.
const SEQUENCE: usize = 16;

/// The frames of a check.
#[derive(Debug, Default)]
pub(super) struct Frames {
    checking: bool,
    /// Sequence numbers of the next frame that comes and that leaves.
    next_in: u64,
    next_out: u64,
    wrong: u64,
}

impl Frames {
    /// Whether frames are written and looked at from now on; returns how many were wrong so far.
    pub(super) fn check(&mut self, on: bool) -> u64 {
        std::mem::replace(
            self,
            Self {
                checking: on,
                ..Self::default()
            },
        )
        .wrong
    }

    /// A frame comes, and is written to this address.
    pub(super) fn arrive(&mut self, regions: &Regions, address: u64) {
        if !self.checking {
            return;
        }
        let mut frame = [0; FRAME as usize];
        let number = self.next_in.to_le_bytes();
        frame[0] = 2;
        frame[TOUCHED] = number[0];
        frame[SEQUENCE..SEQUENCE + 8].copy_from_slice(&number);
        self.next_in += 1;
        self.wrong += u64::from(!regions.write(address, &frame));
    }

    /// A frame leaves, from this address, if it is `whole`: of the right length, with nothing to be
    /// done about it.
    pub(super) fn leave(&mut self, regions: &Regions, address: u64, whole: bool) {
        if !self.checking {
            return;
        }
        let frame = regions.read::<{ FRAME as usize }>(address);
        let number = self.next_out.to_le_bytes();
        let good = frame.is_some_and(|frame| {
            frame[SEQUENCE..SEQUENCE + 8] == number && frame[TOUCHED] == number[0].wrapping_add(1)
        });
        self.next_out += 1;
        self.wrong += u64::from(!(good && whole));
    }
}
