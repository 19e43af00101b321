//! What every message begins with.

use super::fields::Fields;
use super::{DecodeError, HEADER_BYTES, MAX_MESSAGE};

const TYPE: u32 = 0xF;
const REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

/// What a message asks for or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Command {
    /// `VFIO_USER_VERSION`: the first message.
    Version = 1,
    /// `VFIO_USER_DMA_MAP`: memory of the client that the device may reach.
    DmaMap = 2,
    /// `VFIO_USER_DMA_UNMAP`: memory that it may not reach any more.
    DmaUnmap = 3,
    /// `VFIO_USER_DEVICE_GET_INFO`.
    DeviceGetInfo = 4,
    /// `VFIO_USER_DEVICE_GET_REGION_INFO`.
    DeviceGetRegionInfo = 5,
    /// `VFIO_USER_DEVICE_GET_REGION_IO_FDS`.
    DeviceGetRegionIoFds = 6,
    /// `VFIO_USER_DEVICE_GET_IRQ_INFO`.
    DeviceGetIrqInfo = 7,
    /// `VFIO_USER_DEVICE_SET_IRQS`.
    DeviceSetIrqs = 8,
    /// `VFIO_USER_REGION_READ`.
    RegionRead = 9,
    /// `VFIO_USER_REGION_WRITE`.
    RegionWrite = 10,
    /// `VFIO_USER_DMA_READ`: the server reads memory of the client.
    DmaRead = 11,
    /// `VFIO_USER_DMA_WRITE`: the server writes memory of the client.
    DmaWrite = 12,
    /// `VFIO_USER_DEVICE_RESET`.
    DeviceReset = 13,
    /// `VFIO_USER_DIRTY_PAGES` of older versions of the protocol.
    DirtyPages = 14,
    /// `VFIO_USER_REGION_WRITE_MULTI`: several writes in one message.
    RegionWriteMulti = 15,
    /// `VFIO_USER_DEVICE_FEATURE`.
    DeviceFeature = 16,
    /// `VFIO_USER_MIG_DATA_READ`.
    MigrationDataRead = 17,
    /// `VFIO_USER_MIG_DATA_WRITE`.
    MigrationDataWrite = 18,
}

impl Command {
    const ALL: [Self; 18] = [
        Self::Version,
        Self::DmaMap,
        Self::DmaUnmap,
        Self::DeviceGetInfo,
        Self::DeviceGetRegionInfo,
        Self::DeviceGetRegionIoFds,
        Self::DeviceGetIrqInfo,
        Self::DeviceSetIrqs,
        Self::RegionRead,
        Self::RegionWrite,
        Self::DmaRead,
        Self::DmaWrite,
        Self::DeviceReset,
        Self::DirtyPages,
        Self::RegionWriteMulti,
        Self::DeviceFeature,
        Self::MigrationDataRead,
        Self::MigrationDataWrite,
    ];

    /// The command with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// The command's number.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks.
    Request {
        /// The sender wants no reply.
        posted: bool,
    },
    /// It answers.
    Reply {
        /// The request failed, for this reason: an `errno`, or 0 where the peer gave none.
        error: Option<u32>,
    },
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by whoever asked; the reply has the same.
    pub id: u16,
    /// The number of the command. It may be one that is not known here: see [`Header::command`].
    pub number: u16,
    /// Bytes of the message, header included: [`HEADER_BYTES`] to [`MAX_MESSAGE`].
    pub size: usize,
    /// Request or reply.
    pub kind: Kind,
}

impl Header {
    /// The command, if it is a known one.
    pub fn command(&self) -> Option<Command> {
        Command::from_number(self.number)
    }

    /// Whether the sender waits for a reply.
    pub fn wants_reply(&self) -> bool {
        self.kind == Kind::Request { posted: false }
    }

    /// The header as bytes. A size that 32 bits can't hold becomes the largest that they can.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let (flags, error) = match self.kind {
            Kind::Request { posted: false } => (0, 0),
            Kind::Request { posted: true } => (NO_REPLY, 0),
            Kind::Reply { error: None } => (REPLY, 0),
            Kind::Reply { error: Some(errno) } => (REPLY | ERROR, errno),
        };
        let size = u32::try_from(self.size).unwrap_or(u32::MAX);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&self.id.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.number.to_ne_bytes());
        bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        bytes[12..].copy_from_slice(&error.to_ne_bytes());
        bytes
    }

    /// Reads a header. Flags that are not known are left out of account.
    ///
    /// # Errors
    /// [`DecodeError`] for a size outside of [`HEADER_BYTES`] to [`MAX_MESSAGE`], and for a type
    /// that is neither request nor reply. Where the next message begins can't be known then.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("a header", bytes);
        let id = fields.u16()?;
        let number = fields.u16()?;
        let size = fields.u32()?;
        let flags = fields.u32()?;
        let errno = fields.u32()?;
        let size = super::fields::at_most("the size of a message", size.into(), MAX_MESSAGE)?;
        if size < HEADER_BYTES {
            return Err(DecodeError::Short {
                what: "a message",
                needed: HEADER_BYTES,
                found: size,
            });
        }
        let kind = match flags & TYPE {
            0 => Kind::Request {
                posted: flags & NO_REPLY != 0,
            },
            REPLY => Kind::Reply {
                error: (flags & ERROR != 0).then_some(errno),
            },
            other => {
                return Err(DecodeError::Meaningless {
                    what: "the type of a message",
                    value: other.into(),
                });
            }
        };
        Ok(Self {
            id,
            number,
            size,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            any::<bool>().prop_map(|posted| Kind::Request { posted }),
            any::<Option<u32>>().prop_map(|error| Kind::Reply { error }),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(id: u16, number: u16, size in HEADER_BYTES..=MAX_MESSAGE, kind in kind()) {
            let header = Header { id, number, size, kind };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes(bytes: [u8; HEADER_BYTES]) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert!((HEADER_BYTES..=MAX_MESSAGE).contains(&header.size));
                prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
            }
        }
    }

    #[test]
    fn as_the_specification_lays_it_out() {
        let header = Header {
            id: 0x1234,
            number: Command::RegionRead.number(),
            size: 32,
            kind: Kind::Reply { error: Some(22) },
        };
        let mut expected = Vec::new();
        expected.extend_from_slice(&0x1234u16.to_ne_bytes());
        expected.extend_from_slice(&9u16.to_ne_bytes());
        expected.extend_from_slice(&32u32.to_ne_bytes());
        expected.extend_from_slice(&0x21u32.to_ne_bytes());
        expected.extend_from_slice(&22u32.to_ne_bytes());
        assert_eq!(header.encode()[..], expected);
    }

    #[test]
    fn commands_have_their_numbers() {
        for number in 0..=u16::MAX {
            match Command::from_number(number) {
                Some(command) => assert_eq!(command.number(), number),
                None => assert!(number == 0 || number > 18),
            }
        }
    }

    #[test]
    fn a_size_that_makes_no_sense_is_refused() {
        for size in [0u32, 15, u32::try_from(MAX_MESSAGE).unwrap() + 1, u32::MAX] {
            let mut bytes = [0; HEADER_BYTES];
            bytes[4..8].copy_from_slice(&size.to_ne_bytes());
            assert!(Header::decode(&bytes).is_err(), "{size}");
        }
    }
}
